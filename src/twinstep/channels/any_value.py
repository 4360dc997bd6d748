"""A channel for writes that are taken to be equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinstep.channels.base import MISSING, BaseChannel, Update, Value, replacement


class AnyValue(BaseChannel[Value, Update]):
    """Keep the last of many writes, which are taken to be equal; a superstep without writes clears it."""

    __slots__ = ()
    transient = True
    value: Any

    def update(self, values: Sequence[Update]) -> bool:
        if values:
            mark = replacement(self.key, values)
            self.value = values[-1] if mark is None else mark.value
            return True
        had = self.value is not MISSING
        self.value = MISSING
        return had
