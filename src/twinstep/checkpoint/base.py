"""The base of all savers, and the shapes in which they show checkpoints.

Import from here to call a saver or to write one; `twinstep.checkpoint.journal` says what a backend must do.
"""

from __future__ import annotations

from twinstep.checkpoint.access import CheckpointAccess, Strategy
from twinstep.checkpoint.journal import Journal, conflict
from twinstep.checkpoint.tuples import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    copy_checkpoint,
    empty_checkpoint,
    get_checkpoint_id,
)

__all__ = [
    "BaseCheckpointSaver",
    "ChannelVersions",
    "Checkpoint",
    "CheckpointAccess",
    "CheckpointMetadata",
    "CheckpointTuple",
    "Journal",
    "PendingWrite",
    "Strategy",
    "conflict",
    "copy_checkpoint",
    "empty_checkpoint",
    "get_checkpoint_id",
]


class BaseCheckpointSaver(CheckpointAccess):
    """A saver: what `compile(checkpointer=...)` and `entrypoint(checkpointer=...)` accept.

    A backend subclasses it and implements the six methods of `Journal` on opaque rows; everything users call is
    inherited.
    """
