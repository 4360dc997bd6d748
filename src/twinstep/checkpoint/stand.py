"""How a namespace stands in the tables of the journal, and what a commit makes of its head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from twinstep.checkpoint.columns import pack, seal_of_head, unpack
from twinstep.checkpoint.rows import Commit, Head

NEWEST: Final = ""
"""Stored as the head's checkpoint: it is the newest one of the namespace."""


@dataclass(slots=True)
class Stand:
    """How a thread and one namespace of it stand.

    Attributes:
        epoch, holder: the claims on the thread.
        thread, n: numbers of the rows of the thread and the head, None when there is no such row.
        stored: the head as its row has it; a row without one is damaged.
        newest: the packed id of the namespace's newest checkpoint.
    """

    epoch: int = 0
    holder: str | None = None
    thread: int | None = None
    n: int | None = None
    stored: Head | None = None
    newest: bytes = b""

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

    def signature(self, thread_id: str, ns: str) -> tuple[Any, ...]:
        """Return what the statement "verify" compares with the tables."""
        head = self.stored
        assert head is not None
        seal = seal_of_head(thread_id, ns, head)
        return self.thread, self.epoch, self.holder, self.n, pack(head.checkpoint), seal, self.n, self.newest
