"""Channels that keep the last value written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from twinstep.channels.base import MISSING, BaseChannel, Update, Value, replacement
from twinstep.errors import InvalidUpdateError
from twinstep.types import Overwrite


class LastValue(BaseChannel[Value, Update]):
    """Keep the value of the one write that a superstep may bring."""

    __slots__ = ()
    value: Any

    def update(self, values: Sequence[Update]) -> bool:
        if not values:
            return False
        value: Any = values[0]
        self.value = value if len(values) == 1 and type(value) is not Overwrite else self.preview(values)
        return True

    def preview(self, values: Sequence[Update]) -> Any:
        if len(values) > 1:
            raise InvalidUpdateError(
                f"At key '{self.key}': {len(values)} values were written in one superstep, it can take one. Give the "
                f"key a reducer, e.g. Annotated[list, operator.add], or let only one node write it. "
                "(INVALID_CONCURRENT_GRAPH_UPDATE)"
            )
        value: Any = values[0]
        return value.value if type(value) is Overwrite else value


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


class LastValueAfterFinish(BaseChannel[Value, Update]):
    """Keep the last write hidden until nothing else is due, then show it until a node has used it."""

    __slots__ = ("finished",)
    consumable = True
    late = True
    finished: bool
    value: Any

    def __init__(self, typ: Any = Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.finished = False

    def blank(self) -> Self:
        new = super().blank()
        new.finished = False
        return new

    def update(self, values: Sequence[Update]) -> bool:
        if not values:
            return False
        self.finished = False
        self.value = values[-1]
        return True

    def peek(self) -> Any:
        return self.value if self.finished else MISSING

    def consume(self) -> bool:
        if not self.finished:
            return False
        self.finished, self.value = False, MISSING
        return True

    def finish(self) -> bool:
        if self.finished or self.value is MISSING:
            return False
        self.finished = True
        return True

    def checkpoint(self) -> Any:
        return MISSING if self.value is MISSING else [self.value, self.finished]

    def from_checkpoint(self, checkpoint: Any) -> Self:
        new = self.blank()
        if checkpoint is not MISSING:
            new.value, new.finished = checkpoint
        return new
