"""What a saver stores: opaque rows, and the transactions that write them.

A saver never looks into a blob and never decides anything about a run; it guards order (compare-and-set) and keeps
bytes. What the bytes mean is defined in `format`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Status = Literal["running", "interrupted", "failed", "done"]
"""How the last run of a namespace stands; a process that is killed leaves `running` behind."""


class CheckpointRow(NamedTuple):
    """One checkpoint of a lineage: what changed since its base.

    `base` is the id of the checkpoint that the changes build on: the parent; an earlier ancestor, so that reading skips
    the rows between; or the row itself, when it holds the whole state. The rows from there to this one, from base to
    base, rebuild the state.
    """

    id: str
    parent: str | None
    base: str
    blob: bytes


class RecordRow(NamedTuple):
    """One outcome inside a superstep that is not committed yet: a result, an error, a question, an answer.

    A record belongs to the run that wrote it and to the checkpoint the superstep started from, so it cannot be seen
    from a fork; `id` is unique among those, and a later record with the same id replaces the earlier one.
    """

    checkpoint: str
    run: str
    id: str
    blob: bytes


class Head(NamedTuple):
    """Where a namespace of a thread stands."""

    checkpoint: str
    run: str
    status: Status
    info: bytes
    """Opaque facts about the run."""


class Known(NamedTuple):
    """A checkpoint whose state a reader has in memory.

    `joint` is the nearest checkpoint that later ones may build on instead of their parent; it must still be there.
    """

    id: str
    joint: str


@dataclass(slots=True)  # not frozen: that would make it four times as slow to make
class Loaded:
    """One checkpoint with all that is needed to go on from it.

    `epoch` counts the claims on the thread (0: nobody has written to it), `holder` is the run of the last claim.
    `rows` leads from a whole state to the checkpoint asked for, oldest first; it is empty when the checkpoint does not
    exist. `records` are those of the checkpoint: of the head's run when it is the head, else of the last run that
    started from it. With `since`, `rows` begins with the checkpoint that is known, and leads from parent to parent.
    """

    epoch: int
    holder: str | None
    head: Head | None
    rows: tuple[CheckpointRow, ...]
    records: tuple[RecordRow, ...]
    since: bool = False


@dataclass(slots=True)  # not frozen, as above
class Commit:
    """One transaction on one namespace of a thread: all of it is stored, or nothing.

    Args:
        thread_id: the thread.
        ns: the namespace, `""` for the root.
        run: id of the run that writes.
        epoch: the thread's epoch as this run knows it; any other epoch means that another run took the thread over.
        claim: take the thread over: the epoch becomes `epoch + 1` and `run` its holder. Without it, `run` must be the
            holder.
        expect: the namespace's head as this run knows it; None when it has none. Compared when `checkpoint` is given,
            and by a claim that names it.
        checkpoint: the new head.
        earlier: the checkpoint before it, when both are stored at once.
        records: outcomes to keep.
        forget: ids of records (of this run, at checkpoint `forget_at`) that are no longer wanted, or "*" for all;
            they go before `records` come.
        status, info: the run's standing, stored in the head, if there is one; None leaves them as they are.
    """

    thread_id: str
    ns: str
    run: str
    epoch: int
    claim: bool = False
    expect: str | None = None
    checkpoint: CheckpointRow | None = None
    earlier: CheckpointRow | None = None
    records: tuple[RecordRow, ...] = ()
    forget: tuple[str, ...] | Literal["*"] = ()
    forget_at: str | None = None
    status: Status | None = None
    info: bytes | None = None

    @property
    def compares(self) -> bool:
        """Whether the head must be the expected one."""
        return self.checkpoint is not None or (self.claim and self.expect is not None)

    @property
    def joints(self) -> list[str]:
        """The ids of checkpoints, other than the head, that new ones build on; housekeeping may have removed them."""
        if self.earlier is None and (self.checkpoint is None or self.checkpoint.base == self.checkpoint.parent):
            return []  # mostly
        rows = (self.earlier, self.checkpoint)
        return [row.base for row in rows if row is not None and row.base != row.parent and row.base != row.id]


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of one namespace when a thread is reorganised (pruned, copied, cleared of runs).

    Args:
        ns: the namespace.
        expect: its head as it was read; None when it has none.
        head: its head afterwards; None removes the namespace with all it holds.
        put: checkpoints to store or to replace.
        drop: ids of checkpoints to remove, or "*" for all that `put` does not name; their records go with them.
        records: records to keep.
        runs: ids of runs whose records go.
    """

    ns: str
    expect: str | None
    head: Head | None
    put: tuple[CheckpointRow, ...] = ()
    drop: tuple[str, ...] | Literal["*"] = ()
    records: tuple[RecordRow, ...] = ()
    runs: tuple[str, ...] = ()
