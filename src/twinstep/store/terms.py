"""Terms: numbers that stand for a field with a value, by which databases find what an equality filter asks for.

Each top-level field of a value that holds a plain value (a text, number, boolean or None) has a term. Values that
`filters.same` takes for equal have the same term; different ones hardly ever, and filters are decided on the values
themselves anyway, so that terms only say which items may match.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from numbers import Complex, Number, Real
from typing import Any, Final

from twinstep.store.filters import has_operators

_JSON_TYPES: Final = (str, int, float, bool, type(None), dict, list, tuple)


def is_json_like(value: Mapping[str, Any]) -> bool:
    """Tell whether the fields of a value come back from the codec with the very types that they have."""
    return all(type(each) in _JSON_TYPES for each in value.values())


def terms_of(value: Mapping[str, Any]) -> list[int]:
    """Return the terms of a stored value."""
    found = ((name, _plain_bytes(each)) for name, each in value.items())
    return sorted({_term(name, data) for name, data in found if data is not None})


def needed_terms(condition: Mapping[str, Any]) -> list[list[int]]:
    """Return lists of terms, of each of which an item that fulfils a filter has one; the filter may ask for more."""
    found: list[list[int]] = []
    for name, wanted in condition.items():
        if name == "$and":
            for part in wanted:
                found += needed_terms(part)
        elif not name.startswith("$"):
            for operands in _equalities(wanted):
                terms = _terms_for(name, operands)
                found += [] if terms is None else [terms]
    return found


def _equalities(wanted: Any) -> Iterable[Iterable[Any]]:
    """Yield collections of values, of each of which a field must have one."""
    if has_operators(wanted):
        if "$eq" in wanted:
            yield (wanted["$eq"],)
        if "$in" in wanted:
            yield wanted["$in"]
    elif not isinstance(wanted, Mapping):
        yield (wanted,)


def _terms_for(name: str, operands: Iterable[Any]) -> list[int] | None:
    """Return the terms of a field that has one of some values, or None if one of these has no term."""
    found = [_plain_bytes(operand) for operand in operands]
    return None if None in found else sorted({_term(name, data) for data in found if data is not None})


def _term(name: str, data: bytes) -> int:
    digest = blake2b(name.encode(errors="surrogatepass") + b"\0" + data, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _plain_bytes(value: Any) -> bytes | None:
    """Return bytes that equal plain values share, or None for any other value."""
    if isinstance(value, str):
        return b"s" + str.__str__(value).encode(errors="surrogatepass")
    if value is None or isinstance(value, bool):
        return b"n" if value is None else b"t" if value else b"f"
    return b"d" + struct.pack("<d", _as_float(value)) if isinstance(value, Number) else None


def _as_float(number: Any) -> float:
    """Return the float next to a number; those that are equal across types have the same."""
    real: Any = number.real if isinstance(number, Complex) and not isinstance(number, Real) else number
    try:
        return float(real) + 0.0  # -0.0 equals 0.0
    except OverflowError:
        return math.inf if real > 0 else -math.inf
    except (TypeError, ValueError):  # a signalling NaN, a unit of time
        return math.nan
