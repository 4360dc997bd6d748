"""The one check of ids, namespaces, limits and filters in front of every saver, so that all accept and refuse alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard
from uuid import UUID

from twinstep.errors import InvalidConfigError

MAX_ID = 2048
"""Longest thread id, in bytes of UTF-8."""
MAX_KEYS = {"run_id": 1024, "task_id": 1024}
"""Longest run or task id, in bytes of UTF-8: both together are the key of a record."""
MAX_NS = 16_384
"""Longest checkpoint namespace, in bytes of UTF-8."""

_FILTER_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Address(NamedTuple):
    """What a config points to: a thread, a namespace of it, and a checkpoint (None: the latest)."""

    thread_id: str
    ns: str
    checkpoint_id: str | None


def is_mapping(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether a value is a mapping; a dict is known at once, the question after an abstract class takes longer."""
    return type(value) is dict or isinstance(value, Mapping)


def address(config: Any) -> Address:
    """Return what `config["configurable"]` points to.

    Raises:
        InvalidConfigError: it names no thread, or holds something that cannot be an id.
    """
    options = config.get("configurable") if is_mapping(config) else None
    if not is_mapping(options) or options.get("thread_id") is None:
        raise InvalidConfigError(
            "A run with a checkpointer needs config={'configurable': {'thread_id': ...}}, got "
            + (
                f"config={_shown(config)}."
                if options is None
                else f"'configurable' with keys {sorted(map(str, options))}."
            )
        )
    point = options.get("checkpoint_id")
    return Address(
        identifier(options["thread_id"], "thread_id"),
        namespace(options.get("checkpoint_ns")),
        None if point is None else identifier(point, "checkpoint_id"),
    )


def identifier(value: Any, name: str = "thread_id") -> str:
    """Return a thread, run or checkpoint id as text; integers and UUIDs are written out.

    Raises:
        InvalidConfigError: it is of another type, empty, too long, holds NUL or a lone surrogate, or is an integer of
            more than 128 bits.
    """
    if isinstance(value, str):
        text = str.__str__(value)  # the text itself, also of a string enum
    elif isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**128):
        text = str(value)
    else:
        raise InvalidConfigError(
            f"{name} must be a string, an integer (up to 128 bits) or a UUID, got {_shown(value)}."
        )
    if not text:
        raise InvalidConfigError(f"{name} must not be empty.")
    return _storable(text, name, MAX_KEYS.get(name, MAX_ID))


def namespace(value: Any) -> str:
    """Return a checkpoint namespace; None means the root, `""`.

    Raises:
        InvalidConfigError: it is no string, too long, or holds NUL or a lone surrogate.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidConfigError(f"checkpoint_ns must be a string, got {_shown(value)}.")
    return _storable(str.__str__(value), "checkpoint_ns", MAX_NS)


def is_checkpoint_id(value: str) -> bool:
    """Tell whether a text is an id that sorts by time: a UUID of version 7, written in the usual way."""
    try:
        id = UUID(value)
    except ValueError:
        return False
    return id.version == 7 and str(id) == value


def checkpoint_id(value: Any, name: str = "checkpoint_id") -> str:
    """Return an id under which a checkpoint can be stored, or that others can be compared with.

    Raises:
        InvalidConfigError: it is none of this library's ids.
    """
    text = identifier(value, name)
    if not is_checkpoint_id(text):
        raise InvalidConfigError(
            f"{name} {_shown(text)} is not an id that sorts by time; take one from a stored checkpoint's config, or "
            "make a new one with twinstep.ids.new_id()."
        )
    return text


def before(config: Any) -> str | None:
    """Return the id of the checkpoint that listed ones must be older than; None sets no bound.

    Raises:
        InvalidConfigError: the config points to no checkpoint.
    """
    if config is None:
        return None
    options = config.get("configurable") if is_mapping(config) else None
    if not is_mapping(options) or options.get("checkpoint_id") is None:
        raise InvalidConfigError(
            "before needs {'configurable': {'checkpoint_id': ...}}, such as the config of a snapshot, got "
            f"{_shown(config)}."
        )
    return checkpoint_id(options["checkpoint_id"])


def limit(value: Any) -> int | None:
    """Return how many results are wanted; None means all.

    Raises:
        InvalidConfigError: it is not an integer of 0 or more.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63):
        return value
    raise InvalidConfigError(f"limit must be None or an integer of 0 or more, got {_shown(value)}.")


def metadata_filter(value: Any) -> dict[str, Any]:
    """Return the metadata that results must have.

    Raises:
        InvalidConfigError: it is no mapping, or a key holds other characters than letters, digits, `_`, `.` and `-`.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidConfigError(f"filter must be a mapping of metadata keys to values, got {_shown(value)}.")
    for key in value:
        if not isinstance(key, str) or not key or not _FILTER_KEY.issuperset(key):
            raise InvalidConfigError(
                f"Invalid filter key {_shown(key)}: use letters (a-z), digits, underscores, dots and hyphens."
            )
    return dict(value)


def identifiers(values: Any, name: str) -> list[str]:
    """Return several thread or run ids as texts.

    Raises:
        InvalidConfigError: it is a single id, or one of them cannot be an id.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | set | frozenset):
        raise InvalidConfigError(f"{name}s must be a list of ids, got {_shown(values)}.")
    return [identifier(value, name) for value in values]


def _storable(text: str, name: str, longest: int) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidConfigError(
            f"{name} {_shown(text)} holds a lone surrogate, which no database can store."
        ) from None
    if size > longest:
        raise InvalidConfigError(f"{name} {_shown(text)} is {size:,} bytes long; {longest:,} are allowed.")
    if "\0" in text:
        raise InvalidConfigError(f"{name} {_shown(text)} holds a NUL character, which not every database can store.")
    return text


def _shown(value: Any) -> str:
    try:
        text = ascii(value)
    except Exception:  # an object that cannot be printed, an integer too long to be
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
