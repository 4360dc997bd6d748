"""The saver that keeps everything in the memory of the process, encoded like any other saver would."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.journal import NEAR, conflict, edit_conflict
from twinstep.checkpoint.rows import CheckpointRow, Commit, Edit, Head, Known, Loaded, RecordRow
from twinstep.serde import Serializer

Records = dict[str, dict[str, dict[str, RecordRow]]]
"""By checkpoint, run (the last to write comes last) and id."""


class _Space:
    """One namespace of a thread."""

    __slots__ = ("head", "records", "rows")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.rows: dict[str, CheckpointRow] = {}
        self.records: Records = {}

    def keep(self, records: Sequence[RecordRow]) -> None:
        for row in records:
            runs = self.records.setdefault(row.checkpoint, {})
            kept = runs[row.run] = runs.pop(row.run, {})
            kept[row.id] = row

    def forget(self, checkpoint: str | None, run: str, ids: Sequence[str]) -> None:
        """Remove records of a run at a checkpoint; "*" stands for all."""
        runs = self.records.get(checkpoint or "", {})
        kept = runs.get(run, {})
        for id in list(kept) if ids == "*" else ids:
            kept.pop(id, None)
        if not kept:
            runs.pop(run, None)
        if not runs:
            self.records.pop(checkpoint or "", None)

    def lineage(self, id: str) -> tuple[CheckpointRow, ...]:
        """Return the rows from a whole state to a checkpoint; a gap or a circle ends them early."""
        rows: dict[str, CheckpointRow] = {}
        row = self.rows.get(id)
        while row is not None and row.id not in rows:
            rows[row.id] = row
            row = self.rows.get(row.base)
        return tuple(reversed(rows.values()))

    def since(self, known: Known, id: str) -> tuple[CheckpointRow, ...]:
        """Return the rows from a known checkpoint to another, from parent to parent; none when that is too far."""
        rows: list[CheckpointRow] = []
        row = self.rows.get(id) if known.joint in self.rows else None
        while row is not None and len(rows) < NEAR:
            rows.append(row)
            if row.id == known.id:
                return tuple(reversed(rows))
            row = self.rows.get(row.parent or "")
        return ()

    def recorded(self, id: str) -> tuple[RecordRow, ...]:
        """Return the records that belong to a checkpoint, by id."""
        runs = self.records.get(id)
        if not runs:
            return ()
        last = self.head.run if id == self.head.checkpoint else next(reversed(runs))
        kept = runs.get(last, {})
        return tuple(kept[key] for key in sorted(kept))

    def edit(self, edit: Edit, head: Head) -> None:
        self.head = head
        if edit.drop == "*":
            self.rows = {}
        for id in edit.drop if edit.drop != "*" else ():
            self.rows.pop(id, None)
        self.rows.update((row.id, row) for row in edit.put)
        for checkpoint, runs in list(self.records.items()):
            for run in list(runs) if checkpoint not in self.rows else edit.runs:
                self.forget(checkpoint, run, "*")
        self.keep(edit.records)


class _Thread:
    """One thread: the claims on it, and its namespaces."""

    __slots__ = ("epoch", "holder", "spaces")

    def __init__(self) -> None:
        self.epoch = 0
        self.holder: str | None = None
        self.spaces: dict[str, _Space] = {}


class InMemorySaver(BaseCheckpointSaver):
    """Keeps checkpoints in memory; they are gone when the process ends.

    Values are stored encoded, so what a caller reads is its own copy. May be used from several threads and event
    loops at once; a forked child goes on with a copy of its own.

    Example:
        >>> saver = InMemorySaver()
        >>> saver.get_tuple({"configurable": {"thread_id": "1"}}) is None
        True
    """

    blocking = False

    def __init__(self, *, serde: Serializer | None = None) -> None:
        super().__init__(serde=serde)
        self._threads: dict[str, _Thread] = {}
        self._lock = threading.Lock()

    def works_on(self, thread_id: str) -> bool:
        """Tell whether a run works on a thread: they are all of this process."""
        return thread_id in self._live

    def load(self, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None) -> Loaded:
        """Read the head of a namespace, or one of its checkpoints."""
        with self._lock:
            thread = self._threads.get(thread_id)
            if thread is None:
                return Loaded(0, None, None, (), ())
            space = thread.spaces.get(ns)
            if space is None:
                return Loaded(thread.epoch, thread.holder, None, (), ())
            id = checkpoint_id or space.head.checkpoint
            near = space.since(known, id) if known is not None else ()
            rows = near or space.lineage(id)
            records = space.recorded(rows[-1].id) if rows else ()
            return Loaded(thread.epoch, thread.holder, space.head, rows, records, bool(near))

    def commit(self, commit: Commit) -> None:
        """Store one transaction."""
        with self._lock:
            thread = self._threads.get(commit.thread_id)
            space = self._check(commit, thread)
            if thread is None:
                thread = self._threads[commit.thread_id] = _Thread()
            if commit.claim:
                thread.epoch, thread.holder = commit.epoch + 1, commit.run
            row = commit.checkpoint
            if space is None and row is not None:
                space = thread.spaces[commit.ns] = _Space(Head(row.id, commit.run, "running", b""))
            if space is not None:
                _store(space, commit)

    def _check(self, commit: Commit, thread: _Thread | None) -> _Space | None:
        """Return the commit's namespace, if it exists and the commit may change it."""
        epoch, holder = (thread.epoch, thread.holder) if thread else (0, None)
        space = thread.spaces.get(commit.ns) if thread else None
        head = space.head.checkpoint if space else None
        fenced = epoch != commit.epoch or not (commit.claim or holder == commit.run)
        moved = head != commit.expect if commit.compares else bool(commit.records) and head is None
        joints = commit.joints
        gone = bool(joints) and space is not None and not space.rows.keys() >= {*joints}
        if fenced or moved or gone:
            raise conflict(commit, holder)
        return space

    def checkpoints(
        self, thread_id: str, ns: str, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[CheckpointRow]:
        """Return rows of a namespace, newest first, whose id is smaller than `before`."""
        with self._lock:
            thread = self._threads.get(thread_id)
            space = thread.spaces.get(ns) if thread else None
            rows = space.rows if space else {}
            ids = sorted((id for id in rows if before is None or id < before), reverse=True)
            return [rows[id] for id in ids[:limit]]

    def threads(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Return every thread id with its namespaces."""
        with self._lock:
            return [(id, list(thread.spaces)) for id, thread in self._threads.items()]

    def edit(self, thread_id: str, epoch: int, edits: Sequence[Edit]) -> None:
        """Rewrite namespaces of a thread in one transaction, on behalf of no run."""
        with self._lock:
            thread = self._threads.get(thread_id) or _Thread()
            heads = {ns: space.head.checkpoint for ns, space in thread.spaces.items()}
            if thread.epoch != epoch or any(heads.get(edit.ns) != edit.expect for edit in edits):
                raise edit_conflict(thread_id, thread.holder)
            thread.epoch = thread.epoch or 1
            for edit in edits:
                if edit.head is None:
                    thread.spaces.pop(edit.ns, None)
                else:
                    thread.spaces.setdefault(edit.ns, _Space(edit.head)).edit(edit, edit.head)
            if thread.spaces:
                self._threads[thread_id] = thread
            else:
                self._threads.pop(thread_id, None)

    def delete(self, thread_id: str) -> None:
        """Remove a thread with all its namespaces, checkpoints and records."""
        with self._lock:
            self._threads.pop(thread_id, None)

    def _forked(self) -> None:
        super()._forked()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to close."""


MemorySaver = InMemorySaver
"""The older name."""


def _store(space: _Space, commit: Commit) -> None:
    """Change a namespace as a commit asks that has been checked."""
    row, head = commit.checkpoint, space.head
    for each in (commit.earlier, row):
        if each is not None:
            space.rows[each.id] = each
    if row is not None or commit.status is not None or commit.info is not None:
        info = head.info if commit.info is None else commit.info
        space.head = Head(row.id if row else head.checkpoint, commit.run, commit.status or head.status, info)
    if commit.forget:
        space.forget(commit.forget_at, commit.run, commit.forget)
    if commit.records:
        space.keep(commit.records)
