"""The axis of the model tests: both APIs, served by the stub over real HTTP and asked by the real SDKs."""

from __future__ import annotations

from typing import Any

import pytest

from twinstep.models import Model, init_chat_model
from twinstep.testing import ModelStub

NAMES = {"openai": "gpt-stub", "anthropic": "claude-stub"}


class Provider:
    """One of the providers."""

    def __init__(self, name: str) -> None:
        self.name, self.model_name = name, NAMES[name]
        self.sdk = pytest.importorskip(name)

    def __repr__(self) -> str:
        return self.name

    def url(self, stub: ModelStub) -> str:
        return stub.openai_url if self.name == "openai" else stub.anthropic_url

    def model(self, stub: ModelStub, **options: Any) -> Model:
        given = {"api_key": "k", "base_url": self.url(stub), "max_retries": 0, **options}
        return init_chat_model(f"{self.name}:{self.model_name}", **given)

    def client(self, stub: ModelStub, *, is_async: bool = False) -> Any:
        cls = {"openai": ("OpenAI", "AsyncOpenAI"), "anthropic": ("Anthropic", "AsyncAnthropic")}[self.name][is_async]
        return getattr(self.sdk, cls)(api_key="k", base_url=self.url(stub), max_retries=0)


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> Provider:
    """Both providers."""
    return Provider(request.param)
