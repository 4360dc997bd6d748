"""The shapes in which users of a saver see checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypedDict

from twinstep.ids import id_time, new_id
from twinstep.types import RunnableConfig

RESUME = "__resume__"
"""The channel under which the answer to a question appears among pending writes."""

ChannelVersions = dict[str, str | int | float]
PendingWrite = tuple[str, str, Any]
"""Task id, channel, value."""


class Checkpoint(TypedDict):
    """A state at one point of a thread.

    `channel_versions` names for each channel the checkpoint that stored its value; `updated_channels` are those whose
    update may start a node next.
    """

    v: int
    id: str
    ts: str
    channel_values: dict[str, Any]
    channel_versions: ChannelVersions
    updated_channels: list[str] | None


class CheckpointMetadata(TypedDict, total=False):
    """How a checkpoint came about; what the caller asked to keep stands beside these keys.

    `status` tells how the run stands (running, interrupted, failed, done); only the latest checkpoint has it.
    """

    source: str
    step: int
    run_id: str
    status: str


class CheckpointTuple(NamedTuple):
    """A checkpoint with all that belongs to it."""

    config: RunnableConfig
    checkpoint: Checkpoint
    metadata: dict[str, Any]
    parent_config: RunnableConfig | None = None
    pending_writes: list[PendingWrite] | None = None


def empty_checkpoint() -> Checkpoint:
    """Return a checkpoint without channels, with a new id."""
    id = new_id()
    return Checkpoint(v=1, id=id, ts=timestamp(id), channel_values={}, channel_versions={}, updated_channels=None)


def copy_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Return a copy that shares nothing with the checkpoint."""
    return deepcopy(checkpoint)


def get_checkpoint_id(config: Mapping[str, Any]) -> str | None:
    """Return the id of the checkpoint a config points to; None stands for the latest."""
    id: str | None = config.get("configurable", {}).get("checkpoint_id")
    return id


def timestamp(id: str) -> str:
    """Return the time at which an id was made, in ISO 8601 and UTC."""
    return datetime.fromtimestamp(id_time(id), UTC).isoformat()


def config_of(thread_id: str, ns: str, checkpoint_id: str | None) -> RunnableConfig:
    """Return the config that points to a checkpoint."""
    options = {"thread_id": thread_id, "checkpoint_ns": ns}
    return {"configurable": options if checkpoint_id is None else {**options, "checkpoint_id": checkpoint_id}}
