import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from twinstep.store.base import BaseStore
from twinstep.store.memory import InMemoryStore


@pytest.fixture(params=[InMemoryStore], ids=["memory"])
def store(request: pytest.FixtureRequest) -> BaseStore:
    """One store of each backend."""
    made: BaseStore = request.param()
    return made


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, store: BaseStore) -> Callable[..., Any]:
    """Call a method of the store by its name, in both lanes."""

    def run(method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return getattr(store, method)(*args, **kwargs)
        return asyncio.run(getattr(store, "a" + method)(*args, **kwargs))

    return run
