"""Digests: equal arguments have equal digests, in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Final
from weakref import WeakKeyDictionary

from msgpack import ExtType

from twinstep.serde.failures import FAILURE, failure_parts
from twinstep.serde.kinds import MARK, SCALARS, Parts, encoder_of, qualified
from twinstep.serde.packers import Packers
from twinstep.serde.registry import OBJECT
from twinstep.serde.shapes import is_data, shape_of
from twinstep.serde.values import FROZENSET, SET, TUPLE

_blank: Final = blake2b(digest_size=16)
# Marks that occur in digests only, never on the wire.
_DICT: Any = ExtType(MARK, b"\xfe")
_OPAQUE: Any = ExtType(MARK, b"\xff")
_TUPLE: Final = TUPLE.mark
_NO_ITEMS: Final[Parts] = [_DICT]
_TEXT: Final = frozenset({str})
_key: Final = itemgetter(0)
_packers: Final = Packers(unicode_errors="surrogatepass")
_pair: Final = _blank.copy()  # as the digest of every tuple of two begins
_pair.update(b"\x93" + _packers.pack(_TUPLE))
_no_items: Final = _packers.pack(_NO_ITEMS)
_shapes: Final[WeakKeyDictionary[type, Callable[[Any], tuple[Any, ...]]]] = WeakKeyDictionary()


def digest(obj: Any) -> bytes:
    """Return 16 bytes that depend on the value alone.

    Values that differ in the order of a dict or set have the same digest. What cannot be stored contributes the
    qualified name of its type instead of failing; that a data class is not registered yet
    makes no difference, unless it gets another name.
    """
    try:
        data = _packers.pack(obj if type(obj) in SCALARS else _canonical(obj, set()))
    except (RecursionError, ValueError):  # deeper than anything that can be stored
        data = _packers.pack(_opaque(obj))
    h = _blank.copy()  # takes a third of the time of a new one
    h.update(data)
    return h.digest()


def digest_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the hexadecimal digits of the digest of `(args, kwargs)`, for plain arguments in half the time."""
    if kwargs or not SCALARS.issuperset(map(type, args)):
        return digest((args, kwargs)).hex()
    try:
        data = _packers.pack([_TUPLE, *args])
    except ValueError:  # a text that is larger than anything that can be stored
        return digest((args, kwargs)).hex()
    h = _pair.copy()
    h.update(data + _no_items)
    return h.hexdigest()


def _canonical(obj: Any, around: set[int]) -> Parts:
    """Return a tree that packs to the same bytes for equal values of one type; `obj` is no scalar."""
    cls = type(obj)
    if cls is tuple:  # one that holds itself does so by way of something else
        return [_TUPLE, *_canonicals(obj, around)]
    if cls is dict and not obj:
        return _NO_ITEMS
    own = id(obj)
    if own in around:
        return _opaque(obj)
    around.add(own)
    if cls is list:
        tree = _canonicals(obj, around)
    elif cls is dict:
        tree = _dict(obj, around)
    elif cls is set or cls is frozenset:
        mark = SET.mark if cls is set else FROZENSET.mark
        tree = [mark, *sorted(map(_packers.pack, _canonicals(obj, around)))]
    else:
        mark, *parts = _parts(obj)
        tree = [mark, *_canonicals(parts, around)]
    around.discard(own)
    return tree


def _canonicals(items: Iterable[Any], around: set[int]) -> list[Any]:
    return [item if type(item) in SCALARS else _canonical(item, around) for item in items]


def _dict(obj: dict[Any, Any], around: set[int]) -> Parts:
    if _TEXT.issuperset(map(type, obj)):
        pairs: list[tuple[Any, Any]] = sorted(obj.items(), key=_key)
    else:
        keys = map(_packers.pack, _canonicals(obj, around))
        pairs = sorted(zip(keys, obj.values(), strict=True), key=_key)
    tree: Parts = [_DICT]
    for key, value in pairs:
        tree += (key, value if type(value) in SCALARS else _canonical(value, around))
    return tree


def _parts(obj: Any) -> Parts:
    """Take a value apart, or stand in for it when that cannot be done."""
    cls = type(obj)
    try:
        if isinstance(obj, BaseException):
            name, _, args, attributes = failure_parts(obj)  # the text may show an address
            return [FAILURE.mark, name, args, attributes]
        encode = encoder_of(cls)
        if encode is not None:
            return encode(obj)
        if is_data(cls):
            return [OBJECT.mark, qualified(cls), *_shape(cls)(obj)]
    except Exception:  # a value that cannot be stored, or an odd class of the program
        pass
    return _opaque(obj)


def _shape(cls: type) -> Callable[[Any], tuple[Any, ...]]:
    parts = _shapes.get(cls)
    if parts is None:
        parts = _shapes[cls] = shape_of(cls).parts
    return parts


def _opaque(obj: Any) -> Parts:
    return [_OPAQUE, qualified(type(obj))]
