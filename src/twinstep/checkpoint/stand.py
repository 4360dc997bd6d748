"""How a namespace stands in the tables of the journal, and what a commit makes of its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twinstep.checkpoint.columns import pack, seal_of_head, unpack
from twinstep.checkpoint.journal import NEAR
from twinstep.checkpoint.rows import CheckpointRow, Commit, Head, Known, Loaded, RecordRow

NEWEST: Final = ""
"""Stored as the head's checkpoint: it is the newest one of the namespace."""
MOST: Final = 16 * 1024
"""Bytes of rows, and of records, that are remembered of a namespace."""


class Tail:
    """The last rows of a namespace, oldest first, and what is on record at the last of them.

    Attributes:
        rows: each the parent of the next one.
        run: the run that the head names.
        records: those of this run at the last row, by id; None when they are not known.
        joint: a checkpoint before the rows that is there too.
    """

    __slots__ = ("_recorded", "_size", "joint", "records", "rows", "run")

    def __init__(self) -> None:
        self.rows: list[CheckpointRow] = []
        self.run: str = ""
        self.records: dict[str, RecordRow] | None = None
        self.joint: str = ""
        self._size = self._recorded = 0

    def begin(self, loaded: Loaded, known: Known | None) -> None:
        """Take note of what was read of the head."""
        if loaded.head is not None:
            self._add(loaded.rows)
            self.run, self.records = loaded.head.run, {}
            self._record(loaded.records)
        if known is not None and loaded.since:
            self.joint = known.joint

    def follow(self, commit: Commit, head: Head) -> None:
        """Take note of what a commit has stored, and of the head since then."""
        row = commit.checkpoint
        if row is not None:
            self._add((row,) if commit.earlier is None else (commit.earlier, row))
            self.records, self._recorded = {}, 0
        elif head.run != self.run:
            self.records = None
        self.run = head.run
        if (commit.records or commit.forget) and self.records is not None and self.rows:
            at = self.rows[-1].id
            if commit.forget_at == at and commit.run == self.run:
                for id in list(self.records) if commit.forget == "*" else commit.forget:
                    self.records.pop(id, None)
            self._record([row for row in commit.records if row.checkpoint == at and row.run == self.run])

    def _add(self, rows: Sequence[CheckpointRow]) -> None:
        for row in rows:
            self.rows.append(row)
            self._size += len(row.blob)
        while self._size > MOST:
            self._size -= len(self.rows.pop(0).blob)

    def _record(self, rows: Sequence[RecordRow]) -> None:
        assert self.records is not None
        for row in rows:
            self.records[row.id] = row
            self._recorded += len(row.blob)
        if self._recorded > MOST:
            self.records = None

    def since(self, known: Known | None) -> tuple[CheckpointRow, ...]:
        """Return the rows from a known checkpoint to the last, or those that rebuild it; none if one is missing."""
        found: list[CheckpointRow] = []
        if known is not None and self.joint != known.joint:
            if all(row.id != known.joint for row in self.rows):
                return ()
            self.joint = known.joint
        wanted = self.rows[-1].id if self.rows else ""
        for row in reversed(self.rows[-NEAR:] if known is not None else self.rows):
            if row.id == wanted:
                found.append(row)
                if row.id == (known.id if known is not None else row.base):
                    return tuple(reversed(found))
                wanted = (row.parent or "") if known is not None else row.base
        return ()


@dataclass(slots=True)
class Stand:
    """How a thread and one namespace of it stand.

    Attributes:
        epoch, holder: the claims on the thread.
        thread, n: numbers of the rows of the thread and the head, None when there is no such row.
        stored: the head as its row has it; a row without one is damaged.
        newest: the packed id of the namespace's newest checkpoint.
        tail: its last rows, for a saver that answers from them.
    """

    epoch: int = 0
    holder: str | None = None
    thread: int | None = None
    n: int | None = None
    stored: Head | None = None
    newest: bytes = b""
    tail: Tail = field(default_factory=Tail)

    @property
    def at(self) -> bytes:
        """The packed id of the head's checkpoint; empty when there is none."""
        stored = self.stored
        return b"" if stored is None else self.newest if stored.checkpoint == NEWEST else pack(stored.checkpoint)

    @property
    def head(self) -> Head | None:
        """The head, if there is one."""
        return None if self.stored is None else Head(unpack(self.at), *self.stored[1:])

    def fits(self, commit: Commit) -> bool:
        """Tell whether a commit follows from it; if not, another run wrote since the commit's run read."""
        if self.epoch != commit.epoch or not (commit.claim or self.holder == commit.run):
            return False
        if commit.compares:
            return self.at == (b"" if commit.expect is None else pack(commit.expect))
        return self.stored is not None or not commit.records

    def head_after(self, commit: Commit) -> Head | None:
        """Return what is stored as the head after a commit.

        While a run works it leaves the head to its newest checkpoint, so that most commits have no head to store.
        """
        row, stored, status, info = commit.checkpoint, self.stored, commit.status, commit.info
        if stored is not None:
            if row is None and status is None and info is None:
                return stored
            status = status or stored.status
            info = stored.info if info is None else info
        elif row is None:
            return None
        if row is None:
            checkpoint = unpack(self.at)
        elif status in ("running", None) and pack(row.id) > self.newest:
            checkpoint = NEWEST
        else:
            checkpoint = row.id
        return Head(checkpoint, commit.run, status or "running", info or b"")

    def loaded(self, known: Known | None) -> Loaded | None:
        """Return what reading the head would find, if all of it is remembered."""
        head, tail = self.head, self.tail
        if head is None:
            return Loaded(self.epoch, self.holder, None, (), ())
        rows = tail.since(known)
        if not rows or rows[-1].id != head.checkpoint or tail.records is None:
            return None
        records = tuple(sorted(tail.records.values()))
        return Loaded(self.epoch, self.holder, head, rows, records, known is not None)

    def signature(self, thread_id: str, ns: str) -> tuple[Any, ...]:
        """Return what the statement "verify" compares with the tables."""
        head = self.stored
        assert head is not None
        seal = seal_of_head(thread_id, ns, head)
        return self.thread, self.epoch, self.holder, self.n, pack(head.checkpoint), seal, self.n, self.newest
