"""An older path of `twinstep.config`."""

from __future__ import annotations

from typing import Any

from twinstep.config import get_config, get_store, get_stream_writer
from twinstep.pregel.compiled import merged
from twinstep.types import RunnableConfig

__all__ = ["ensure_config", "get_config", "get_store", "get_stream_writer", "patch_configurable"]


def ensure_config(*configs: RunnableConfig | None) -> RunnableConfig:
    """Return one config of several, in which later ones win."""
    return merged(*configs)


def patch_configurable(config: RunnableConfig | None, patch: dict[str, Any]) -> RunnableConfig:
    """Return a config with some values of `configurable` replaced."""
    return merged(config, {"configurable": patch})
