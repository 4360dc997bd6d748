"""A channel whose value is never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from twinstep.channels.base import MISSING, Update, Value
from twinstep.channels.ephemeral_value import Guarded


class UntrackedValue(Guarded[Value, Update]):
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
