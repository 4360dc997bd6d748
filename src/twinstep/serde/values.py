"""The kinds of the standard library's value types: one row each with number, types, parts and how to join them."""

from __future__ import annotations

import re
import unicodedata  # noqa: F401  # a pattern with \N{...} imports it: let that happen here and never because of bytes
import uuid
from array import array
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from os.path import isfile, join
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType, MappingProxyType, NoneType, SimpleNamespace
from typing import Any, Final
from zoneinfo import TZPATH, ZoneInfo

from twinstep.errors import EncodingError, UnknownTypeError
from twinstep.serde.kinds import MARK, MARK_BYTE, Kind, define, define_items
from twinstep.serde.registry import find_class, registered_name

_FACTORIES: Final[dict[str, Callable[[], Any]]] = {
    cls.__name__: cls for cls in (bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
}
_IPS: Final[dict[str, Callable[[str], Any]]] = {
    cls.__name__: cls for cls in (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
}
_PATHS: Final[dict[str, type[PurePath]]] = {
    cls.__name__: cls for cls in (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)
}
_FOREIGN_PATHS: Final = {"PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath}
_FLAGS: Final = int(re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.UNICODE | re.VERBOSE)
_ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def _int_parts(obj: int) -> tuple[bytes]:
    return (obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True),)


def _default_parts(obj: defaultdict[Any, Any]) -> tuple[str | None, dict[Any, Any]]:
    factory = obj.default_factory
    if factory is None:
        return (None, dict(obj))
    name = factory.__name__ if isinstance(factory, type) else ""
    if _FACTORIES.get(name) is not factory:
        name = (registered_name(factory) if isinstance(factory, type) else None) or ""
    if not name:
        raise EncodingError(f"a defaultdict with the factory {factory!r} cannot be stored; use a registered class")
    return (name, dict(obj))


def _default(name: str | None, items: dict[Any, Any]) -> defaultdict[Any, Any]:
    return defaultdict(None if name is None else _FACTORIES.get(name) or find_class(name), items)


def _counter(items: dict[Any, Any]) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    dict.update(counter, items)  # not Counter.update, which adds
    return counter


def _moment_parts(obj: datetime | time) -> tuple[Any, ...]:
    text = obj.replace(tzinfo=None, fold=0).isoformat()
    if obj.fold:
        return (text, obj.tzinfo, obj.fold)
    return (text,) if obj.tzinfo is None else (text, obj.tzinfo)


def _datetime(text: str, zone: tzinfo | None = None, fold: int = 0) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=zone, fold=fold) if zone or fold else moment


def _time(text: str, zone: tzinfo | None = None, fold: int = 0) -> time:
    moment = time.fromisoformat(text)
    return moment.replace(tzinfo=zone, fold=fold) if zone or fold else moment


def _zone_parts(obj: Any) -> tuple[str]:
    if obj.key is None:
        raise EncodingError("a ZoneInfo without a key cannot be stored; make it with ZoneInfo(key)")
    return (obj.key,)


def _zone(key: str) -> ZoneInfo:
    if not _ZONE_KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no time zone")
    # ZoneInfo itself would try to import a package named by the key.
    if not any(isfile(join(folder, key)) for folder in TZPATH) and key not in _packaged_zones():
        raise UnknownTypeError(f"This machine has no time zone '{key}'; install or update the package tzdata.")
    return ZoneInfo(key)


@cache
def _packaged_zones() -> frozenset[str]:
    from importlib.resources import files  # heavy, and of use only where the system has no time zones

    try:
        return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split())
    except (ImportError, OSError):
        return frozenset()


def _path(name: str, text: str) -> PurePath:
    try:
        return _PATHS[name](text)
    except NotImplementedError:  # a path of the other operating system
        return _FOREIGN_PATHS[name](text)


def _pattern(text: str | bytes, flags: int) -> re.Pattern[Any]:
    if flags & ~_FLAGS:
        raise ValueError(f"unknown flags {flags}")
    return re.compile(text, flags)


def _array(typecode: str, data: bytes) -> array[Any]:
    made = array(typecode)
    made.frombytes(data)
    return made


def _namespace(attributes: dict[str, Any]) -> SimpleNamespace:
    made = SimpleNamespace()
    made.__dict__.update(attributes)
    return made


TUPLE: Final = define_items(1, tuple, lambda *items: items, "[{}]")
SET: Final = define_items(2, set, lambda *items: set(items), "{{...}}")
FROZENSET: Final = define_items(3, frozenset, lambda *items: frozenset(items), "{{...}}")
_SET_MARKS: Final = tuple(bytes((MARK_BYTE, MARK)) + kind.mark.data for kind in (SET, FROZENSET))
BYTEARRAY: Final = define(5, bytearray, lambda b: (bytes(b),), bytearray, bytes)
# Only for text that UTF-8 cannot hold; any other goes on the wire as it is.
TEXT: Final = Kind(6, "str", lambda data: bytes.decode(data, "utf-8", "surrogatepass"))

_OPTIONAL_INT = (int, NoneType)
_ZONES = (timezone, ZoneInfo, NoneType)

define(4, int, _int_parts, lambda data: int.from_bytes(data, "little", signed=True), bytes)
define(7, complex, lambda c: (c.real, c.imag), complex, float, float)
define(8, Fraction, lambda f: (f.numerator, f.denominator), Fraction, int, int)
define(9, Decimal, lambda d: (str(d),), Decimal, str)
define(10, range, lambda r: (r.start, r.stop, r.step), range, int, int, int)
define(11, slice, lambda s: (s.start, s.stop, s.step), slice)
define(12, EllipsisType, lambda _: (), lambda: ...)
define(13, OrderedDict, lambda d: (dict(d),), OrderedDict, dict)
define(14, defaultdict, _default_parts, _default, (str, NoneType), dict)
define(15, Counter, lambda c: (dict(c),), _counter, dict)
define(16, deque, lambda d: (list(d), d.maxlen), deque, list, _OPTIONAL_INT)
define(17, datetime, _moment_parts, _datetime, str, _ZONES, int)
define(18, date, lambda d: (d.isoformat(),), date.fromisoformat, str)
define(19, time, _moment_parts, _time, str, _ZONES, int)
define(20, timedelta, lambda t: (t.days, t.seconds, t.microseconds), timedelta, int, int, int)
define(21, timezone, lambda z: z.__getinitargs__(), timezone, timedelta, str)
define(22, ZoneInfo, _zone_parts, _zone, str)
define(23, uuid.UUID, lambda u: (u.bytes,), lambda data: uuid.UUID(bytes=data), bytes)
define(24, _PATHS.values(), lambda p: (type(p).__name__, str(p)), _path, str, str)
define(25, _IPS.values(), lambda ip: (type(ip).__name__, str(ip)), lambda name, text: _IPS[name](text), str, str)  # type: ignore[arg-type]
define(26, re.Pattern, lambda p: (p.pattern, p.flags & _FLAGS), _pattern, (str, bytes), int)
define(27, array, lambda a: (a.typecode, a.tobytes()), _array, str, bytes)
define(28, SimpleNamespace, lambda n: (n.__dict__,), _namespace, dict)
define(29, MappingProxyType, lambda m: (m.copy(),), MappingProxyType)
define(30, ChainMap, lambda c: (c.maps,), lambda maps: ChainMap(*maps), list)


def holds_set(data: bytes) -> bool:
    """Tell whether encoded bytes may hold a set: its items may come back in another order than they were written in."""
    return MARK_BYTE in data and any(mark in data for mark in _SET_MARKS)
