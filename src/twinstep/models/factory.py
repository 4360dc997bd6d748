"""Models by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from twinstep.errors import TwinstepError, did_you_mean
from twinstep.models.base import Model
from twinstep.models.function import FunctionModel
from twinstep.models.langchain import LangChainModel, is_langchain
from twinstep.models.protocol import ChatModel

PROVIDERS = {
    "openai": ("twinstep.models.openai", "OpenAIModel"),
    "anthropic": ("twinstep.models.anthropic", "AnthropicModel"),
}
RESPONSES = "twinstep.models.openai_responses", "ResponsesModel"
"""The module and class for each provider, and for the other API of OpenAI."""
_PREFIXES = {"gpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "claude": "anthropic"}


class UnknownModelError(TwinstepError, ValueError):
    """No adapter is known for what was given as a model."""


def init_chat_model(model: str, *, model_provider: str | None = None, **options: Any) -> Model:
    """Return a model by name.

    Args:
        model: `provider:name`, such as `openai:gpt-4o-mini` or `anthropic:claude-sonnet-4-5`; the provider can be left
            out where the name tells it.
        model_provider: `openai` or `anthropic`, in place of the prefix.
        options: of the client (`api_key`, `base_url`, `timeout`, `max_retries`), of every request (`temperature`), and
            `tags`. With `use_responses_api=True` a model of `openai` is asked through the responses API.

    Raises:
        UnknownModelError: the provider is not known.
        ImportError: the provider's SDK is not installed.
    """
    provider, _, name = model.rpartition(":") if model_provider is None else (model_provider, ":", model)
    if model_provider is None and provider not in PROVIDERS:
        guess = next((known for prefix, known in _PREFIXES.items() if model.startswith(prefix)), None)
        provider, name = (guess, model) if guess is not None else (provider, name)
    if provider not in PROVIDERS:
        raise UnknownModelError(
            f"No provider is known for the model {model!r}; write 'provider:name' with one of {', '.join(PROVIDERS)}, "
            "or pass model_provider=...." + did_you_mean(provider, PROVIDERS)
        )
    use_responses = provider == "openai" and options.pop("use_responses_api", False)
    module, cls = RESPONSES if use_responses else PROVIDERS[provider]
    found: Model = getattr(import_module(module), cls)(name, **options)
    return found


def as_chat_model(value: Any) -> ChatModel:
    """Return a model: from its name, a function, a model of LangChain, or a model object as it is.

    Raises:
        UnknownModelError: it is none of these.
    """
    if isinstance(value, str):
        return init_chat_model(value)
    if is_langchain(value):
        return LangChainModel(value)
    if isinstance(value, ChatModel):
        return value
    if callable(value):
        return FunctionModel(value)
    raise UnknownModelError(f"Not a chat model: {value!r}. Give a model, the name of one, or a function of messages.")
