"""A channel of many values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from twinstep.channels.base import MISSING, BaseChannel, Value, replacement


class Topic(BaseChannel[Sequence[Value], Value | list[Value]]):
    """Collect the values of a superstep; lists are flattened.

    Args:
        typ: type of one value.
        accumulate: keep the values of earlier supersteps too.
    """

    __slots__ = ("accumulate",)
    transient = True
    value: Any

    def __init__(self, typ: Any = Any, accumulate: bool = False, key: str = "") -> None:
        super().__init__(typ, key)
        self.accumulate: bool = accumulate

    def blank(self) -> Self:
        new = super().blank()
        new.accumulate = self.accumulate
        return new

    def _kind(self) -> tuple[Any, ...]:
        return (self.typ, self.accumulate)

    def update(self, values: Sequence[Value | list[Value]]) -> bool:
        if not values and self.accumulate:
            return False
        flat: list[Any] = []
        mark = replacement(self.key, values)
        if mark is not None:
            self.value, values = MISSING, [mark.value]
        for value in values:
            if isinstance(value, list):
                flat.extend(value)
            else:
                flat.append(value)
        had = self.value is not MISSING
        if self.accumulate and had:
            flat = [*self.value, *flat]
        self.value = flat or MISSING
        return had or bool(flat)
