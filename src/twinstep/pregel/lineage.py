"""How the state of a run is read back: from which checkpoints, and how much that is."""

from __future__ import annotations

from collections.abc import Mapping

from twinstep.checkpoint.format import EXTEND, SPLICE, Change, Checkpoint

ROW = 64
"""Bytes that a row costs beside its blob, when it is weighed whether replay has grown too long."""
SMALL = 4096
"""Bytes of a row that take as long to read as finding and checking the row itself."""
SLACK = 8192
"""Bytes of replay that are never worth a whole state."""
STRIDE = 64
"""Number of checkpoints after which one may be stored that lets reading skip them."""
ALL = 0
"""Items kept of a value that is no list, or another list."""


class Lineage:
    """The checkpoints that rebuild the state, from base to base.

    Most checkpoints build on their parent. A *joint* builds on the joint before it; the first joint holds the whole
    state. So reading takes time for the size of the state, and not for the number of supersteps.

    Attributes:
        joint: the last joint.
        changed: the channels that changed since, and how many items of their lists are still those of the joint.
    """

    __slots__ = ("_at_joint", "_length", "_rows", "_size", "changed", "joint")

    def __init__(self) -> None:
        self.joint: str | None = None
        self.changed: dict[str, int] = {}
        self._size = self._length = self._rows = 0
        self._at_joint = (0, 0)

    def copy(self) -> Lineage:
        """Return another one that stands at the same checkpoint."""
        new = Lineage()
        new.joint, new.changed, new._at_joint = self.joint, self.changed.copy(), self._at_joint
        new._size, new._length, new._rows = self._size, self._length, self._rows
        return new

    @property
    def long(self) -> bool:
        """Whether reading takes much more than the state is worth, so that it should be stored whole."""
        return self.joint is None or self._length > 2 * self._size + SLACK

    @property
    def weight(self) -> int:
        """The bytes that are read, about; at least half of what the state takes."""
        return self._size + self._length

    @property
    def slow(self) -> bool:
        """Whether reading goes through many small checkpoints since the joint, so that the next should be a joint."""
        return self._rows >= STRIDE and self._length - self._at_joint[1] < self._rows * SMALL

    def note(self, changes: Mapping[str, Change]) -> bool:
        """Take note of what changed since the last checkpoint, and tell whether that was a list that has grown."""
        grown = False
        for name, change in changes.items():
            kept = ALL
            if change[0] in (EXTEND, SPLICE):
                kept, grown = change[1], True
            if kept < self.changed.get(name, kept + 1):
                self.changed[name] = kept
        return grown

    def follow(self, checkpoint: Checkpoint, cost: int) -> None:
        """Take note that a checkpoint follows, whose blob has so many bytes."""
        if checkpoint.base == checkpoint.parent:
            self._rows += 1
            self._add(cost, grown=self.note(checkpoint.changes))
            return
        if checkpoint.base == checkpoint.id:
            self._size, self._length = cost, 0
        else:
            self._size, self._length = self._at_joint
            self._add(cost, grown=self.note(checkpoint.changes))
        self.joint, self._rows, self.changed = checkpoint.id, 0, {}
        self._at_joint = self._size, self._length

    def _add(self, cost: int, *, grown: bool) -> None:
        if grown:
            self._size += cost
        self._length += cost + ROW
