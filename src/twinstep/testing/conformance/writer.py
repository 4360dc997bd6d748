"""What the suites share: both lanes, and writing to a saver as a run does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver, Checkpoint, empty_checkpoint
from twinstep.checkpoint.rows import CheckpointRow, Commit, RecordRow
from twinstep.ids import new_id
from twinstep.types import RunnableConfig


class Lane:
    """A saver whose methods are called in their asynchronous form, where there is one."""

    def __init__(self, saver: BaseCheckpointSaver) -> None:
        self.saver: BaseCheckpointSaver = saver

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.saver, f"a{name}", None)
        return (
            getattr(self.saver, name) if method is None else lambda *args, **kw: asyncio.run(_result(method, args, kw))
        )


async def _result(method: Any, args: Any, kw: Any) -> Any:
    found = method(*args, **kw)
    return [each async for each in found] if isinstance(found, AsyncIterator) else await found


class Run:
    """A run that has claimed a thread and writes checkpoints and records to it."""

    def __init__(self, saver: Any, thread_id: str = "t", ns: str = "", run: str | None = None) -> None:
        self.saver: Any = saver
        self.thread_id: str = thread_id
        self.ns: str = ns
        self.id: str = run or new_id()
        loaded = saver.load(thread_id, ns)
        self.epoch: int = loaded.epoch
        self.head: str | None = loaded.head.checkpoint if loaded.head else None
        self.write(claim=True)
        self.epoch += 1

    def write(self, **parts: Any) -> None:
        self.saver.commit(Commit(self.thread_id, self.ns, self.id, self.epoch, **parts))

    def step(
        self, blob: bytes = b"state", *, whole: bool = False, parent: str | None = None, **parts: Any
    ) -> CheckpointRow:
        """Commit one more checkpoint and return its row."""
        id, parent = new_id(), parent or self.head
        row = CheckpointRow(id, parent, id if whole or parent is None else parent, blob)
        self.write(expect=self.head, checkpoint=row, **parts)
        self.head = id
        return row

    def record(self, id: str, blob: bytes = b"result", **parts: Any) -> RecordRow:
        """Put one outcome on record and return its row."""
        row = RecordRow(self.head or "", self.id, id, blob)
        self.write(records=(row,), **parts)
        return row


def thread(thread_id: Any = "1", **more: Any) -> RunnableConfig:
    """Return the config of a thread."""
    return {"configurable": {"thread_id": thread_id, **more}}


def values(saver: BaseCheckpointSaver) -> dict[str, Any] | None:
    """Return the channel values of the thread "1"."""
    found = saver.get(thread())
    return found and found["channel_values"]


def put(saver: Any, config: RunnableConfig, metadata: dict[str, Any] | None = None, **values: Any) -> RunnableConfig:
    """Put a checkpoint with these channel values and return its config."""
    checkpoint: Checkpoint = {**empty_checkpoint(), "channel_values": values}
    stored: RunnableConfig = saver.put(config, checkpoint, metadata or {}, {})
    return stored


def id_of(config: RunnableConfig) -> str:
    """Return the id of the checkpoint a config points to."""
    id: str = config.get("configurable", {})["checkpoint_id"]
    return id


class Conformance:
    """Base of the suites: runs each test in both lanes. Give a fixture `saver` that returns an empty saver."""

    @pytest.fixture(params=["sync", "async"])
    def lane(self, request: pytest.FixtureRequest, saver: BaseCheckpointSaver) -> Any:
        """The saver, called in one of the two ways."""
        return saver if request.param == "sync" else Lane(saver)
