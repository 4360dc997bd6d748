"""A channel that folds all writes of a superstep at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from twinstep.channels.base import Update, Value
from twinstep.channels.binop import Folding


class DeltaChannel(Folding[Value, Update]):
    """Fold all writes of a superstep at once with `reducer(value, writes)`.

    The reducer must be associative over batches: `reducer(reducer(s, xs), ys) == reducer(s, xs + ys)`.
    `snapshot_frequency` is accepted for compatibility; the journal bounds replay by size on its own.
    """

    __slots__ = ("reducer",)
    value: Any

    def __init__(
        self, reducer: Callable[[Any, list[Any]], Any], typ: Any = list, *, snapshot_frequency: int = 100, key: str = ""
    ) -> None:
        super().__init__(typ, key)
        self.reducer: Callable[[Any, list[Any]], Any] = reducer

    def blank(self) -> Self:
        new = super().blank()
        new.reducer = self.reducer
        return new

    def _kind(self) -> tuple[Any, ...]:
        return (self.typ, self.reducer)

    def fold(self, values: Sequence[Any]) -> None:
        self.value = self.reducer(self.value, list(values))
