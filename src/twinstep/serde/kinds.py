"""The mechanism of the wire format: values beyond MessagePack's own types are arrays that begin with a mark.

A tuple `(1, 2)` is written as the array `[mark, 1, 2]`. The mark is an extension value of type `MARK`, whose one byte
names the kind; user data cannot hold it, so an array that begins with one is never a list. Because a value is taken
apart into *parts* that MessagePack packs in the same pass, nesting costs no copies, and reading needs no recursion.
The kinds are listed in docs/architecture/serialization.md; a number once given is never given again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgpack import ExtType

from twinstep.errors import EncodingError

MARK: Final = 0x54
"""The extension type of all marks."""
MARK_BYTE: Final = 0xD4
"""The byte that begins a mark on the wire; bytes without it hold no kind."""

Parts = list[Any]
Encoder = Callable[[Any], Parts]
"""Takes a value apart: its kind's mark, then the parts."""


class Kind:
    """One kind of value on the wire.

    Attributes:
        name: what messages call it.
        mark: the first element of the arrays of this kind.
        decode: makes the value from the parts.
        label: how a part is addressed in a path, given its index; empty when the parts are not items of the value.
    """

    __slots__ = ("decode", "label", "mark", "name")
    decode: Callable[..., Any]
    label: str
    name: str

    def __init__(self, code: int, name: str, decode: Callable[..., Any], label: str = "") -> None:
        self.name, self.decode, self.label = name, decode, label
        self.mark: Any = ExtType(MARK, bytes([code]))
        KINDS[self.mark.data] = self


KINDS: Final[dict[bytes, Kind]] = {}
"""Every kind by the byte in its mark."""
ENCODERS: Final[dict[type, Encoder]] = {}
"""How the values of a type are taken apart; subclasses have entries of their own or none."""
FINDERS: Final[list[Callable[[type], Encoder | None]]] = []
"""Where to look for the encoder of a type that `ENCODERS` does not know."""
SCALARS: Final[frozenset[type]] = frozenset({type(None), bool, int, float, str, bytes, ExtType})
"""Types that are written as they are and contain nothing."""

# Flags of CPython's types: a class statement makes a heap type that is not immutable.
_HEAP_TYPE: Final = 1 << 9
_IMMUTABLE_TYPE: Final = 1 << 8


def is_builtin(cls: type) -> bool:
    """Tell whether a class is compiled into the interpreter or an extension, rather than made by a class statement."""
    return cls.__flags__ & (_HEAP_TYPE | _IMMUTABLE_TYPE) != _HEAP_TYPE


def qualified(cls: type) -> str:
    """Return the name under which a class is stored unless it was registered under another."""
    return f"{cls.__module__}:{cls.__qualname__}"


def encoder_of(cls: type) -> Encoder | None:
    """Return what takes instances of exactly this class apart, or None."""
    encode = ENCODERS.get(cls)
    if encode is None:
        encode = next((found for find in FINDERS if (found := find(cls))), None)
    return encode


def parts_of(obj: Any) -> Parts:
    """Take one value apart that MessagePack itself does not know.

    Raises:
        EncodingError: the type is not registered, or this value of it cannot be stored; without the place.
    """
    encode = ENCODERS.get(type(obj)) or encoder_of(type(obj))
    if encode is None:
        raise EncodingError(_refusal(type(obj)))
    return encode(obj)


def _refusal(cls: type) -> str:
    if is_builtin(cls) or issubclass(cls, type):
        return f"a value of type '{cls.__qualname__}' cannot be stored; store what it is made from instead"
    return (
        f"type '{qualified(cls)}' is not registered; "
        f"call twinstep.register_type({cls.__name__}) or name it in an annotation"
    )


def define(
    code: int,
    cls: type | Iterable[type],
    encode: Callable[[Any], Iterable[Any]],
    decode: Callable[..., Any],
    *takes: type | tuple[type, ...],
) -> Kind:
    """Add a kind to the format.

    Args:
        code: its number on the wire, 0-255.
        cls: the type, or types, it stands for.
        encode: returns the parts of a value.
        decode: makes the value from the parts.
        takes: the exact types that each part may have. Decoders that hand parts to constructors name them, so that
            no forged part can bring its own methods into the call.
    """
    classes = [cls] if isinstance(cls, type) else list(cls)
    kind = Kind(code, classes[0].__name__, _checked(decode, takes) if takes else decode)
    mark = kind.mark
    for each in classes:
        ENCODERS[each] = lambda obj: [mark, *encode(obj)]
    return kind


def define_items(code: int, cls: type, decode: Callable[..., Any], label: str) -> Kind:
    """Add a kind whose parts are the items of the value."""
    kind = Kind(code, cls.__name__, decode, label)
    mark = kind.mark
    ENCODERS[cls] = lambda obj: [mark, *obj]
    return kind


def _checked(decode: Callable[..., Any], takes: tuple[type | tuple[type, ...], ...]) -> Callable[..., Any]:
    allowed = [each if isinstance(each, tuple) else (each,) for each in takes]

    def checked(*parts: Any) -> Any:
        for part, types in zip(parts, allowed, strict=False):
            if type(part) not in types:
                raise TypeError(f"a part is a {type(part).__name__}")
        return decode(*parts)

    return checked
