"""Channels that wait for a set of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from twinstep.channels.base import MISSING, BaseChannel
from twinstep.errors import InvalidUpdateError, did_you_mean


class NamedBarrierValue(BaseChannel[None, str]):
    """Become available when every name has been written, until a node has used it."""

    __slots__ = ("names", "seen")
    consumable = True

    def __init__(self, typ: Any = str, names: Iterable[str] = (), key: str = "") -> None:
        super().__init__(typ, key)
        self.names = frozenset(names)
        self.seen: frozenset[str] = frozenset()

    def blank(self) -> Self:
        new = super().blank()
        new.names, new.seen = self.names, frozenset()
        return new

    def _kind(self) -> tuple[Any, ...]:
        return (self.typ, self.names)

    def update(self, values: Sequence[str]) -> bool:
        for name in values:
            if name not in self.names:
                known = ", ".join(sorted(self.names))
                raise InvalidUpdateError(
                    f"At join '{self.key}': '{name}' is not among the names it waits for ({known})."
                    + did_you_mean(name, self.names)
                )
        grown = self.seen.union(values)
        changed, self.seen = grown != self.seen, grown
        return changed

    def peek(self) -> Any:
        return None if self.seen == self.names else MISSING

    def consume(self) -> bool:
        if not self.is_available():
            return False
        self.seen = frozenset()
        return True

    def checkpoint(self) -> Any:
        return sorted(self.seen) if self.seen else MISSING

    def from_checkpoint(self, stored: Any) -> Self:
        new = self.blank()
        if stored is not MISSING:
            new.seen = frozenset(stored)
        return new


class NamedBarrierValueAfterFinish(NamedBarrierValue):
    """Become available when every name has been written and nothing else is due."""

    __slots__ = ("finished",)
    late = True

    def __init__(self, typ: Any = str, names: Iterable[str] = (), key: str = "") -> None:
        super().__init__(typ, names, key)
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
        if self.finished or self.seen != self.names:
            return False
        self.finished = True
        return True

    def checkpoint(self) -> Any:
        return [sorted(self.seen), self.finished] if self.seen else MISSING

    def from_checkpoint(self, stored: Any) -> Self:
        new = self.blank()
        if stored is not MISSING:
            new.seen, new.finished = frozenset(stored[0]), stored[1]
        return new
