"""Channels that fold what is written into what they hold."""

from __future__ import annotations

import collections.abc
import operator
from collections.abc import Callable, Sequence
from typing import Any, Self, get_origin

from twinstep.channels.base import MISSING, BaseChannel, Update, Value, replacement

_CONCRETE: dict[Any, Callable[[], Any]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}

_LIST = frozenset({list})


def initial(typ: Any) -> Any:
    """Return what a type starts as (`list` -> `[]`, `int` -> `0`), or MISSING when it cannot be made from nothing."""
    kind = get_origin(typ) or typ
    make: Any = _CONCRETE.get(kind, kind)
    try:
        return make()
    except Exception:  # any constructor may refuse in its own way
        return MISSING


class Folding(BaseChannel[Value, Update]):
    """The common part of channels that fold."""

    __slots__ = ()
    value: Any

    def __init__(self, typ: Any = Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value = initial(typ)

    def blank(self) -> Self:
        new = super().blank()
        new.value = initial(self.typ)
        return new

    def update(self, values: Sequence[Update]) -> bool:
        if not values:
            return False
        mark = replacement(self.key, values)
        if mark is not None:
            self.value = mark.value
        else:
            self.fold(values)
        return True

    def fold(self, values: Sequence[Update]) -> None:
        """Take plain writes into the value."""
        raise NotImplementedError


class BinaryOperatorAggregate(Folding[Value, Update]):
    """Fold every write into the value with `operator(value, write)`.

    Starts as `typ()`; when the type cannot be made from nothing, the first write is taken as it is.
    """

    __slots__ = ("operator",)
    value: Any

    def __init__(self, typ: Any, operator: Callable[[Any, Any], Any], key: str = "") -> None:
        super().__init__(typ, key)
        self.operator: Callable[[Any, Any], Any] = operator

    @property
    def keeps_items(self) -> bool:
        return self.operator is operator.add

    def only_grows(self, values: Sequence[Any]) -> bool:
        return self.operator is operator.add and type(self.value) is list and _LIST.issuperset(map(type, values))

    def blank(self) -> Self:
        new = super().blank()
        new.operator = self.operator
        return new

    def _kind(self) -> tuple[Any, ...]:
        return (self.typ, self.operator)

    def fold(self, values: Sequence[Any]) -> None:
        if self.value is MISSING:
            self.value, values = values[0], values[1:]
        fold, value = self.operator, self.value
        if len(values) > 1 and self.only_grows(values):
            # one new list for the whole superstep: folding pair by pair would copy the list for every write
            self.value = list(value)
            for part in values:
                self.value.extend(part)
            return
        for write in values:
            value = fold(value, write)
        self.value = value


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
