"""Channels whose value does not outlive a superstep, or a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from twinstep.channels.base import MISSING, BaseChannel, Update, Value, replacement
from twinstep.errors import InvalidUpdateError
from twinstep.types import Overwrite


class _Guarded(BaseChannel[Value, Update]):
    """A channel that refuses several writes in one superstep unless `guard` is false (then the last one counts)."""

    __slots__ = ("guard",)

    def __init__(self, typ: Any = Any, guard: bool = True, key: str = "") -> None:
        self.typ: Any = typ
        self.key: str = key
        self.value: Any = MISSING
        self.guard: bool = guard

    def blank(self) -> Self:
        new = super().blank()
        new.guard = self.guard
        return new

    def _kind(self) -> tuple[Any, ...]:
        return (self.typ, self.guard)

    def _taken(self, values: Sequence[Update]) -> Any:
        """Return what is kept of the values of a superstep."""
        if len(values) > 1 and self.guard:
            raise InvalidUpdateError(
                f"At key '{self.key}': {len(values)} values were written in one superstep, "
                f"{type(self).__name__}(guard=True) can take one. Use guard=False to keep the last."
            )
        mark = replacement(self.key, values)
        return values[-1] if mark is None else mark.value


class EphemeralValue(_Guarded[Value, Update]):
    """Show a value in the superstep after the one that wrote it, and no longer."""

    __slots__ = ()
    transient = True
    value: Any

    def update(self, values: Sequence[Update]) -> bool:
        if values:
            value: Any = values[0]
            self.value = value if len(values) == 1 and type(value) is not Overwrite else self._taken(values)
            return True
        had = self.value is not MISSING
        self.value = MISSING
        return had


class UntrackedValue(_Guarded[Value, Update]):
    """Keep a value for the run and never store it, so that it may be anything: a lock, a client, a function."""

    __slots__ = ()
    saved = False
    value: Any

    def update(self, values: Sequence[Update]) -> bool:
        if not values:
            return False
        self.value = self._taken(values)
        return True

    def checkpoint(self) -> Any:
        return MISSING

    def copy(self) -> Self:
        new = self.blank()
        new.value = self.value
        return new
