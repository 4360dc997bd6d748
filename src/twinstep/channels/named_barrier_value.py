"""Channels that wait for a set of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from twinstep.channels.base import MISSING, BaseChannel
from twinstep.errors import InvalidUpdateError, did_you_mean


class NamedBarrierValue(BaseChannel[None, str]):
    """Become available when enough names have been written, until a node has used it.

    Args:
        names: the names it waits for.
        quorum: how many of them are enough; all by default. The others may still come when it has been used: each of
            them is let pass once, before it counts again.
    """

    __slots__ = ("late_names", "names", "quorum", "seen")
    consumable = True

    def __init__(self, typ: Any = str, names: Iterable[str] = (), key: str = "", quorum: int | None = None) -> None:
        super().__init__(typ, key)
        self.names: frozenset[str] = frozenset(names)
        self.quorum: int = len(self.names) if quorum is None else quorum
        self.seen: frozenset[str] = frozenset()
        self.late_names: frozenset[str] = frozenset()

    def blank(self) -> Self:
        new = super().blank()
        new.names, new.quorum = self.names, self.quorum
        new.seen = new.late_names = frozenset()
        return new

    def _kind(self) -> tuple[Any, ...]:
        return (self.typ, self.names, self.quorum)

    def update(self, values: Sequence[str]) -> bool:
        before = self.seen, self.late_names
        for name in values:
            if name not in self.names:
                known = ", ".join(sorted(self.names))
                raise InvalidUpdateError(
                    f"At join '{self.key}': '{name}' is not among the names it waits for ({known})."
                    + did_you_mean(name, self.names)
                )
            if name in self.late_names:
                self.late_names -= {name}
            else:
                self.seen |= {name}
        return before != (self.seen, self.late_names)

    def peek(self) -> Any:
        return None if len(self.seen) >= self.quorum else MISSING

    def consume(self) -> bool:
        if not self.is_available():
            return False
        self.seen, self.late_names = frozenset(), self.names - self.seen
        return True

    def checkpoint(self) -> Any:
        if self.late_names:
            return {"seen": sorted(self.seen), "late": sorted(self.late_names)}
        return sorted(self.seen) if self.seen else MISSING

    def from_checkpoint(self, checkpoint: Any) -> Self:
        new = self.blank()
        if isinstance(checkpoint, dict):
            new.seen, new.late_names = frozenset(checkpoint["seen"]), frozenset(checkpoint["late"])
        elif checkpoint is not MISSING:
            new.seen = frozenset(checkpoint)
        return new


class NamedBarrierValueAfterFinish(NamedBarrierValue):
    """Become available when enough names have been written and nothing else is due."""

    __slots__ = ("finished",)
    late = True
    finished: bool

    def __init__(self, typ: Any = str, names: Iterable[str] = (), key: str = "", quorum: int | None = None) -> None:
        super().__init__(typ, names, key, quorum)
        self.finished = False

    def blank(self) -> Self:
        new = super().blank()
        new.finished = False
        return new

    def peek(self) -> Any:
        return super().peek() if self.finished else MISSING

    def consume(self) -> bool:
        used = super().consume()
        self.finished = self.finished and not used
        return used

    def finish(self) -> bool:
        if self.finished or len(self.seen) < self.quorum:
            return False
        self.finished = True
        return True

    def checkpoint(self) -> Any:
        stored = super().checkpoint()
        return stored if stored is MISSING else [stored, self.finished]

    def from_checkpoint(self, checkpoint: Any) -> Self:
        if checkpoint is MISSING:
            return self.blank()
        new = super().from_checkpoint(checkpoint[0])
        new.finished = checkpoint[1]
        return new
