"""What a node may ask for without having it passed: config, store and stream writer of the run it is in."""

from __future__ import annotations

from typing import Any

from twinstep.errors import OutsideRunError
from twinstep.scope import require_scope
from twinstep.types import RunnableConfig, StreamWriter

__all__ = ["RunnableConfig", "get_config", "get_store", "get_stream_writer"]


def get_config() -> RunnableConfig:
    """Return the config of the calling node or task.

    Raises:
        OutsideRunError: called outside of a run.
    """
    config: RunnableConfig = require_scope("get_config()").config()
    return config


def get_store() -> Any:
    """Return the store the run was given.

    Raises:
        OutsideRunError: called outside of a run, or in a run without a store.
    """
    store = require_scope("get_store()").run.store
    if store is None:
        raise OutsideRunError(
            "get_store(): this run has no store; pass one to compile(store=...) or entrypoint(store=...)."
        )
    return store


def get_stream_writer() -> StreamWriter:
    """Return the function that sends a value to the `custom` stream.

    Raises:
        OutsideRunError: called outside of a run.
    """
    return require_scope("get_stream_writer()").write
