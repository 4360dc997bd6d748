"""Filters over stored values: the one meaning that every backend gives to them.

A filter is a mapping from field names to what is wanted: a value (equality), or operators such as `{"$gte": 3}`, all of
which must hold. A mapping without operators describes the field's own fields in the same way, whatever others it has;
`$eq` compares with the mapping itself. `$and` and `$or` combine lists of filters, `$not` turns one round. Fields are
the top-level keys of a value.

* A field that is missing is not a field that is None: `{"k": None}` matches only items that have `k` with None.
* `$ne`, `$nin` and `$not` are the exact opposites of `$eq`, `$in` and what they hold, so they also match items without
  the field; every other comparison needs it.
* Values compare as in JSON: booleans are not numbers, a tuple equals a list, numbers compare across int and float, and
  nothing else equals a number or a text.
* `$gt $gte $lt $lte` order numbers with numbers and texts with texts (by code point); anything else never matches.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from numbers import Number
from types import NoneType
from typing import Any, Final, TypeAlias, TypeGuard

from twinstep.serde import Serializer

Test: TypeAlias = Callable[[Any], bool]
"""Tells whether a value is what is wanted."""

MISSING: Final = object()
"""Stands for the value of a field that an item does not have."""
_PLAIN: Final = (str, Number, NoneType)
COMBINERS: Final = ("$and", "$or", "$not")
_serializer: Final = Serializer()


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal as JSON values are."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    try:
        equal = left == right
    except Exception:  # arrays of different shapes, for example
        return False
    if isinstance(equal, bool):
        return equal and isinstance(left, _PLAIN) is isinstance(right, _PLAIN)
    return type(left) is type(right) and _serializer.digest(left) == _serializer.digest(right)  # arrays


def order_kind(value: Any) -> type | None:
    """Return the kind of values that `value` can be ordered with, or None when it has no order."""
    if isinstance(value, str):
        return str
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _equals(wanted: Any) -> Test:
    if type(wanted) is str:
        return lambda found: isinstance(found, str) and found == wanted
    return lambda found: same(found, wanted)


def _among(wanted: Any) -> Test:
    tests = [_equals(one) for one in wanted]
    return lambda found: any(test(found) for test in tests)


def _opposite(test: Test) -> Test:
    return lambda found: not test(found)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def test_of(operand: Any) -> Test:
        kind = order_kind(operand)
        return lambda found: order_kind(found) is kind and compare(found, operand)

    return test_of


ORDERINGS: Final[dict[str, Callable[[Any], Test]]] = {
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
}
OPERATORS: Final[dict[str, Callable[[Any], Test]]] = {
    "$eq": _equals,
    "$ne": lambda operand: _opposite(_equals(operand)),
    "$in": _among,
    "$nin": lambda operand: _opposite(_among(operand)),
    "$not": lambda operand: _opposite(_field_matcher(operand)),
    "$exists": lambda operand: lambda found: (found is not MISSING) is operand,
    **ORDERINGS,
}
"""Each operator: it makes of its operand a test of a field's value, or of MISSING."""


def has_operators(wanted: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Tell whether what a filter wants of a field is a mapping of operators and not a value."""
    return isinstance(wanted, Mapping) and any(isinstance(key, str) and key.startswith("$") for key in wanted)


def matcher(condition: Mapping[str, Any]) -> Test:
    """Return the test of a stored value for a filter that `validate.check_filter` has accepted."""
    return _all([_part(name, wanted) for name, wanted in condition.items()])


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _part(name: str, wanted: Any) -> Test:
    if name == "$and":
        return _all([matcher(part) for part in wanted])
    if name == "$or":
        tests = [matcher(part) for part in wanted]
        return lambda value: any(test(value) for test in tests)
    if name == "$not":
        return _opposite(matcher(wanted))
    of_field = _field_matcher(wanted)
    return lambda value: of_field(value.get(name, MISSING))


def _field_matcher(wanted: Any) -> Test:
    """Return the test of a field's value, or MISSING, for what a filter wants of it."""
    if has_operators(wanted):
        return _all([OPERATORS[symbol](operand) for symbol, operand in wanted.items()])
    if isinstance(wanted, Mapping):
        inner = matcher(wanted)
        return lambda found: isinstance(found, Mapping) and inner(found)
    return _equals(wanted)
