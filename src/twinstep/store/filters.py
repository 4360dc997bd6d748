"""Filters over stored values: the one meaning that every backend gives to them.

A filter is a mapping from field names to what is wanted: a value (equality), or operators such as `{"$gte": 3}`, all of
which must hold. A mapping without operators describes the field's own fields in the same way, whatever others it has;
`$eq` compares with the mapping itself. `$and` and `$or` combine lists of filters, `$not` turns one round. Fields are
the top-level keys of a value.

* A field that is missing is not a field that is None: `{"k": None}` matches only items that have `k` with None.
* `$ne`, `$nin` and `$not` are the exact opposites of `$eq`, `$in` and what they hold, so they also match items without
  the field; every other comparison needs it.
* Values compare as in JSON: booleans are not numbers, a tuple equals a list, numbers compare across int and float.
* `$gt $gte $lt $lte` order numbers with numbers and texts with texts (by code point); anything else never matches.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard

MISSING: Final = object()
"""Stands for the value of a field that an item does not have."""
COMBINERS: Final = ("$and", "$or", "$not")


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal as JSON values are."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def order_kind(value: Any) -> type | None:
    """Return the kind of values that `value` can be ordered with, or None when it has no order."""
    if isinstance(value, str):
        return str
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(found: Any, operand: Any) -> bool:
        kind = order_kind(found)
        return kind is not None and kind is order_kind(operand) and compare(found, operand)

    return test


ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
}
OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$eq": same,
    "$ne": lambda found, operand: not same(found, operand),
    "$in": lambda found, operand: any(same(found, one) for one in operand),
    "$nin": lambda found, operand: not any(same(found, one) for one in operand),
    "$not": lambda found, operand: not fulfils(found, operand),
    "$exists": lambda found, operand: (found is not MISSING) is operand,
    **ORDERINGS,
}
"""Each operator as a test of (the field's value or MISSING, the operand)."""


def has_operators(wanted: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Tell whether what a filter wants of a field is a mapping of operators and not a value."""
    return isinstance(wanted, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in wanted)


def matches(condition: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Tell whether a stored value fulfils a filter that `validate.check_filter` has accepted."""
    return all(_holds(name, wanted, value) for name, wanted in condition.items())


def _holds(name: str, wanted: Any, value: Mapping[str, Any]) -> bool:
    if name == "$and":
        return all(matches(part, value) for part in wanted)
    if name == "$or":
        return any(matches(part, value) for part in wanted)
    if name == "$not":
        return not matches(wanted, value)
    return fulfils(value.get(name, MISSING), wanted)


def fulfils(found: Any, wanted: Any) -> bool:
    """Tell whether a field's value, or MISSING, is what a filter wants of it."""
    if has_operators(wanted):
        return all(OPERATORS[symbol](found, operand) for symbol, operand in wanted.items())
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and matches(wanted, found)
    return same(found, wanted)
