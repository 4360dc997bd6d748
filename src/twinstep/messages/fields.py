"""What a message consists of: its content, its id, and of the other fields those that were given or made.

Most messages say no more than content and id. So these two are attributes as usual, and the other fields stand together
in a dict that most messages do not have: making, copying, comparing and storing a message takes a time that depends on
what it says. In a message of a long conversation they are encoded still, until one of them is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from types import MemberDescriptorType
from typing import Any, Final, TypeVar

from twinstep.serde import Serializer

C = TypeVar("C", bound=type[Any])
STANDING: Final = ("content", "id")
"""The fields that every message has a place for."""
_serde: Final = Serializer()


class Parts:
    """What every message consists of.

    Attributes:
        _more: the fields beside `content` and `id` that were given or made, perhaps encoded; None if there are none.
    """

    __slots__ = ("_more", *STANDING)
    _more: dict[str, Any] | bytes | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in getattr(cls, "_defaults", ()):
            if isinstance(vars(cls).get(name), MemberDescriptorType):  # a dataclass with slots has made one for it
                setattr(cls, name, getattr(super(cls, cls), name))

    def __getstate__(self) -> Any:
        """Return what copies and pickles are made of: a copy gets a dict of its own."""
        state: Any = object.__getstate__(self)
        own, parts = state
        more = others(self)
        return own, {**parts, "_more": more and {**more}}


class Field:
    """A field that is kept among the others; a list or dict is made when it is first read, unless it was given."""

    __slots__ = ("_default", "_key", "_make", "_name")

    def __init__(self, name: str, default: Any, make: Callable[[], Any] | None) -> None:
        self._name, self._default, self._make, self._key = name, default, make, name.encode()

    def __get__(self, message: Any, owner: type) -> Any:
        if message is None:
            return self
        more, name = message._more, self._name
        if type(more) is bytes:
            more = None if self._make is None and self._key not in more else others(message)
        if more is not None and name in more:
            return more[name]
        return self._default if self._make is None else _more_of(message).setdefault(name, self._make())

    def __set__(self, message: Any, value: Any) -> None:
        _more_of(message)[self._name] = value

    def __delete__(self, message: Any) -> None:
        if self._name not in (others(message) or ()):
            raise AttributeError(self._name)
        del message._more[self._name]


def others(message: Any) -> dict[str, Any] | None:
    """Return the fields beside content and id that were given or made; changing them changes the message."""
    more = message._more
    if type(more) is bytes:
        read = _serde.loads(more)
        if message._more is more:  # no other thread runs before the next line: nothing is called or allocated
            message._more = read
    return message._more  # type: ignore[no-any-return]


def _more_of(message: Any) -> dict[str, Any]:
    more: dict[str, Any] = {}
    try:
        if others(message) is None and message._more is None:  # nor before the next one here
            message._more = more
    except AttributeError:  # a subclass with an __init__ of its own, as dataclasses have, is setting the first field
        message._more = more
    return message._more  # type: ignore[no-any-return]


def message_class(cls: C) -> C:
    """Let the messages of a dataclass keep their fields in `Parts`."""
    cls._defaults = {}
    for each in fields(cls):
        make = None if each.default_factory is MISSING else each.default_factory
        cls._defaults[each.name] = default = each.default if make is None else make()
        if each.name not in STANDING:
            setattr(cls, each.name, Field(each.name, default, make))
        elif each.name in vars(cls):
            delattr(cls, each.name)  # the default, which hides the place
    return cls


def items_of(message: Any, name: str) -> Any:
    """Return the items of a field that is a list, also of another library's message; it is not made for that."""
    if not isinstance(message, Parts):
        return getattr(message, name)
    more = message._more
    held = more is not None and (name.encode() in more if isinstance(more, bytes) else name in more)
    return getattr(message, name) if held else ()


def told(message: Any) -> dict[str, Any]:
    """Return the fields of a message beside content and id that differ from their defaults."""
    more, defaults, found = message._more, message._defaults, {}
    if type(more) is bytes:  # of nothing else
        return _serde.loads(more)  # type: ignore[no-any-return]
    for name, value in list((more or {}).items()):  # a node that still runs may read a field meanwhile
        default = defaults[name]
        if value is not default and (default is None or value != default):
            found[name] = value
    return found


def encoded(message: Any) -> bytes | None:
    """Return what `told` does, encoded, and None for nothing; a message may hold it in this form."""
    more = message._more
    if more is None or type(more) is bytes:
        return more
    more = told(message)
    return _serde.dumps(more) if more else None


def given(message: Any) -> dict[str, Any]:
    """Return the fields of a message that differ from their defaults, in their order."""
    found, more, common = {}, others(message) or {}, message._defaults
    for each in fields(message):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        absent = each.name in common and each.name not in STANDING and each.name not in more
        value = default if absent else getattr(message, each.name)  # reading would make it
        if value is not default and (default is None or value != default):
            found[each.name] = value
    return found
