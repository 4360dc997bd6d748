"""The classes that stored values may have, by name. Bytes can only choose among them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Any, Final, NamedTuple, TypeVar, overload
from weakref import WeakKeyDictionary

from twinstep.errors import CheckpointCorruptError, EncodingError, UnknownTypeError
from twinstep.neighbours import meet_neighbours
from twinstep.serde.kinds import ENCODERS, FINDERS, Encoder, Kind, Parts, qualified
from twinstep.serde.shapes import Shape, shape_of

C = TypeVar("C", bound=type[Any])


class Entry(NamedTuple):
    """A registered class; exceptions have no shape, because `twinstep.serde.failures` stores them all alike."""

    cls: type
    build: Callable[..., Any] | None
    shape: Shape | None


_lock = RLock()
_entries: Final[dict[str, Entry]] = {}
_names: Final[WeakKeyDictionary[type, str]] = WeakKeyDictionary()
# Classes whose name was taken over by a later one: their living instances can still be stored.
_replaced: Final[WeakKeyDictionary[type, Encoder]] = WeakKeyDictionary()
FINDERS.append(_replaced.get)
FINDERS.append(lambda cls: ENCODERS.get(cls) if meet_neighbours() else None)


@overload
def register_type(cls: C, /, *, name: str | None = None) -> C: ...
@overload
def register_type(*, name: str | None = None) -> Callable[[C], C]: ...
def register_type(cls: Any = None, /, *, name: str | None = None) -> Any:
    """Allow instances of a class in stored values.

    Works as a decorator, with and without arguments. Dataclasses, pydantic models, enums, named tuples, exceptions,
    subclasses of builtins and ordinary classes come back as they were: their state is restored, no `__init__` runs.
    Types named in the annotations of states, nodes and tasks are registered by the library.

    Args:
        cls: the class.
        name: what the class is called in stored bytes, for good; `module:qualname` by default. Give one to a class
            that may move. A class registered under several names is read under all and written under the last; a
            name given to another class goes over to that class.

    Returns:
        The class itself.

    Raises:
        EncodingError: instances of the class cannot be stored, for example those of a lock.
    """
    if cls is None:
        return lambda decorated: register_type(decorated, name=name)
    if not isinstance(cls, type):
        raise EncodingError(f"register_type() takes a class, got {cls!r}.")
    if cls in ENCODERS and cls not in _names:
        return cls  # a kind of its own, such as Counter
    _add(cls, name or qualified(cls), None if issubclass(cls, BaseException) else shape_of(cls))
    return cls


def register_shape(cls: type, shape: Shape, *, name: str) -> None:
    """Allow instances of a class in stored values, taken apart in a way of its own."""
    _add(cls, name, shape)


def register_constant(value: Any, *, name: str) -> None:
    """Allow a value that is the only one of its class, such as a sentinel; it comes back as the same object."""
    _add(type(value), name, Shape(lambda _: (), lambda: value))


def _add(cls: type, name: str, shape: Shape | None) -> None:
    with _lock:
        before = _entries.get(name)
        if before is not None and before.cls is not cls:
            _retire(before.cls)
        _entries[name] = Entry(cls, shape and shape.build, shape)
        _names[cls] = name
        if shape is not None:
            ENCODERS[cls] = _encoder(name, shape.parts)


def ensure_registered(cls: type) -> None:
    """Register a class under its own name unless it has one; leave out classes that cannot be stored."""
    name = _names.get(cls)
    with suppress(EncodingError):
        if name is None or _entries[name].cls is not cls:
            register_type(cls, name=name)


def _retire(cls: type) -> None:
    encode = ENCODERS.pop(cls, None)
    if encode is not None:
        _replaced[cls] = encode


def _encoder(name: str, parts: Callable[[Any], tuple[Any, ...]]) -> Encoder:
    mark = OBJECT.mark

    def encode(obj: Any) -> Parts:
        return [mark, name, *parts(obj)]

    return encode


def registered_name(cls: type) -> str | None:
    """Return the name a class is stored under, or None when it is not registered."""
    return _names.get(cls)


def registered_shape(cls: type) -> Shape | None:
    """Return how instances of a class are stored and read back as such, or None when they are not."""
    entry = _entries.get(_names.get(cls, ""))
    return entry.shape if entry is not None and entry.cls is cls else None


def find(name: str) -> Entry | None:
    """Return what is registered under a name, or None."""
    return _entries.get(name)


def find_class(name: str) -> type:
    """Return the class registered under a name.

    Raises:
        UnknownTypeError: there is none in this program.
    """
    return _known(name).cls


def _known(name: str) -> Entry:
    entry = _entries.get(name)
    if entry is None and meet_neighbours():
        entry = _entries.get(name)
    if entry is None:
        raise UnknownTypeError(
            f"A stored value has the type '{name}', which is not registered in this program; import the module that "
            f"defines it, and call twinstep.register_type() on it or name it in an annotation. "
            f"A class that has moved is found again with register_type(cls, name={name!r})."
        )
    return entry


def _build(name: str, *parts: Any) -> Any:
    build = (_entries.get(name) or _known(name)).build
    if build is None:
        raise CheckpointCorruptError(f"An exception '{name}' is stored like an ordinary object.")
    return build(*parts)


OBJECT: Final = Kind(40, "object", _build)
"""An instance of a registered class: its name, then the parts its shape gives."""
