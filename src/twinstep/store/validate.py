"""What a store accepts: one set of rules in front of every backend.

The operations of `twinstep.store.base` apply these rules when they are made, so an operation that exists is valid and
backends need no checks of their own. The limits are those that the narrowest backend can hold in one indexed row.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, Final, Literal

from twinstep.errors import EncodingError, InvalidConfigError, InvalidNamespaceError, TwinstepError, did_you_mean
from twinstep.store.filters import COMBINERS, OPERATORS, ORDERINGS, has_operators, order_kind
from twinstep.store.paths import parse_path

RESERVED_ROOT: Final = "twinstep"
MAX_BYTES: Final = 1024
"""The longest key, and the longest namespace with its labels joined by dots, in bytes of UTF-8."""
MAX_FILTER_DEPTH: Final = 32
_MAX_COUNT: Final = 2**63 - 1
_MAX_MINUTES: Final = 10**11
_EXAMPLE: Final = "Pass a tuple of labels such as ('users', '42')."


class NotProvided(Enum):
    """The type of `NOT_PROVIDED`."""

    NOT_PROVIDED = "not provided"


NOT_PROVIDED: Final = NotProvided.NOT_PROVIDED
"""Says that the caller named no time to live, which is not the same as None: keep for ever."""


def short(value: Any) -> str:
    """Return a value as a text that fits into a message."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python writes out
        return f"a value of type {type(value).__name__}"


def check_namespace(namespace: Any) -> None:
    """Refuse what cannot name the place of an item.

    Raises:
        InvalidNamespaceError: it is no tuple, is empty, too long or reserved, or has a label that is not allowed.
    """
    check_prefix(namespace)
    if not namespace:
        raise InvalidNamespaceError(f"A namespace needs at least one label. {_EXAMPLE}")


def check_prefix(prefix: Any) -> None:
    """Refuse what cannot be the beginning of a namespace; the empty tuple stands for all of them."""
    check_path(prefix)
    if prefix and prefix[0] == RESERVED_ROOT:
        raise InvalidNamespaceError(f"Namespaces under '{RESERVED_ROOT}' belong to the library. Choose another root.")


def check_path(path: Any) -> None:
    """Refuse what cannot be a part of a namespace."""
    if not isinstance(path, tuple):
        raise InvalidNamespaceError(f"{short(path)} is a {type(path).__name__}, not a namespace. {_EXAMPLE}")
    if sum(_label_size(label, path) + 1 for label in path) > MAX_BYTES + 1:
        raise InvalidNamespaceError(f"Namespace {short(path)} is longer than {MAX_BYTES} bytes. Shorten its labels.")


def _label_size(label: Any, path: tuple[Any, ...]) -> int:
    if isinstance(label, str) and label.isascii() and label and "." not in label and "\0" not in label:
        return len(label)
    where = f"Label {short(label)} of namespace {short(path)}"
    if not isinstance(label, str):
        raise InvalidNamespaceError(f"{where} is a {type(label).__name__}, not a str. {_EXAMPLE}")
    if not label or "." in label:
        raise InvalidNamespaceError(f"{where} must be a text without dots that is not empty.")
    return _text_size(label, where, InvalidNamespaceError)


def _text_size(text: str, where: str, error: type[TwinstepError]) -> int:
    """Return the bytes of a text, or raise `error` when a database could not hold it."""
    if "\0" in text:
        raise error(f"{where} holds a NUL character, which databases refuse. Remove it.")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise error(f"{where} holds a lone surrogate, which is no text. Decode it with the right codec.") from None


def check_key(key: Any) -> None:
    """Refuse what cannot be the key of an item.

    Raises:
        InvalidConfigError: it is no str, is too long, or holds a NUL or a lone surrogate.
    """
    if isinstance(key, str) and key.isascii() and len(key) <= MAX_BYTES and "\0" not in key:
        return
    where = f"Store key {short(key)}"
    if not isinstance(key, str):
        raise InvalidConfigError(f"{where} is a {type(key).__name__}, not a str. Use str(key).")
    if _text_size(key, where, InvalidConfigError) > MAX_BYTES:
        raise InvalidConfigError(f"{where} is longer than {MAX_BYTES} bytes. Use a digest of it.")


def check_value(value: Any, key: str) -> None:
    """Refuse what is no mapping with text keys; None is the order to delete.

    Raises:
        EncodingError: the value has another type.
    """
    if value is None:
        return
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise EncodingError(f"The value for {key!r} is a {kind}, not a mapping. Wrap it: {{'value': ...}}.")
    for name in value:
        if not isinstance(name, str):
            raise EncodingError(f"The value for {key!r} has the field {short(name)}, which is no str. Use str(field).")


def check_index(index: Any) -> None:
    """Refuse what does not say which paths of a value to index."""
    if index is None or index is False:
        return
    if not isinstance(index, (list, tuple)) or not all(isinstance(path, str) for path in index):
        raise InvalidConfigError(f"index={short(index)} must be None, False or a list of paths such as ['title'].")
    for path in index:
        parse_path(path)


def check_ttl(ttl: Any) -> None:
    """Refuse what is no time to live in minutes."""
    if ttl is None or ttl is NOT_PROVIDED:
        return
    if order_kind(ttl) is not float or not 0 < ttl <= _MAX_MINUTES:
        raise InvalidConfigError(
            f"ttl={short(ttl)} must be a number of minutes above 0, at most {_MAX_MINUTES}, or None to keep the item."
        )


def check_count(name: str, count: Any, *, least: int = 0) -> None:
    """Refuse what is no whole number from `least` to what databases count to."""
    if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= _MAX_COUNT:
        raise InvalidConfigError(f"{name}={short(count)} must be a whole number from {least} on.")


def check_query(query: Any) -> None:
    """Refuse a search text that is neither None nor a str."""
    if query is not None and not isinstance(query, str):
        raise InvalidConfigError(f"query={short(query)} must be a str or None.")


def check_match_type(match_type: Any) -> None:
    """Refuse a way to match namespaces that does not exist."""
    _known(match_type, ("prefix", "suffix"), "match_type")


def check_filter(condition: Any, *, depth: int = 1) -> None:
    """Refuse what `filters.matches` cannot decide.

    Raises:
        InvalidConfigError: an unknown operator (the message names the nearest known one), an operand of the wrong kind,
            a field that is no str, or more than `MAX_FILTER_DEPTH` levels of filters in filters.
    """
    if not isinstance(condition, Mapping):
        raise InvalidConfigError(f"Filter {short(condition)} must be a mapping such as {{'age': {{'$gte': 18}}}}.")
    if depth > MAX_FILTER_DEPTH:
        raise InvalidConfigError(f"The filter holds filters deeper than {MAX_FILTER_DEPTH} levels. Flatten it.")
    for name, wanted in condition.items():
        if not isinstance(name, str):
            raise InvalidConfigError(f"Filter field {short(name)} is a {type(name).__name__}, not a str.")
        if name.startswith("$"):
            _check_parts(name, wanted, depth)
        else:
            _check_wanted(name, wanted, depth)


def _check_parts(name: str, parts: Any, depth: int) -> None:
    if name in OPERATORS and name not in COMBINERS:
        raise InvalidConfigError(f"Operator '{name}' needs a field around it: {{'field': {{'{name}': ...}}}}.")
    _known(name, COMBINERS, "operator")
    if name == "$not":
        parts = [parts]
    elif not isinstance(parts, (list, tuple)):
        raise InvalidConfigError(f"'{name}' takes a list of filters, not {short(parts)}.")
    for part in parts:
        check_filter(part, depth=depth + 1)


def _check_wanted(field: str, wanted: Any, depth: int) -> None:
    if has_operators(wanted):
        for symbol, operand in wanted.items():
            _check_operand(field, symbol, operand, depth)
    elif isinstance(wanted, Mapping):
        check_filter(wanted, depth=depth + 1)


def _check_operand(field: str, symbol: Any, operand: Any, depth: int) -> None:
    _known(symbol, OPERATORS, f"operator for field '{field}'")
    where = f"'{symbol}' for field '{field}' takes"
    if symbol in ORDERINGS and order_kind(operand) is None:
        raise InvalidConfigError(f"{where} a number or a str, not {short(operand)}.")
    if symbol in ("$in", "$nin") and not isinstance(operand, (list, tuple, set, frozenset)):
        raise InvalidConfigError(f"{where} a list of values, not {short(operand)}.")
    if symbol == "$not":
        if depth > MAX_FILTER_DEPTH or not has_operators(operand):
            raise InvalidConfigError(f"{where} a mapping of operators, not {short(operand)}.")
        _check_wanted(field, operand, depth + 1)
    if symbol == "$exists" and not isinstance(operand, bool):
        raise InvalidConfigError(f"{where} True or False, not {short(operand)}.")


def _known(name: Any, known: Collection[str], what: str) -> None:
    if name not in known:
        hint = did_you_mean(name, known) or f" Use one of {', '.join(known)}."
        raise InvalidConfigError(f"Unknown {what}: {short(name)}.{hint}")


TTL = float | None | Literal[NotProvided.NOT_PROVIDED]
"""Minutes that an item lives after it was written or refreshed, None for ever, or the store's own default."""
