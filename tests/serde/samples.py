"""Values of every kind the wire format knows, and a comparison that lets nothing slip."""

import struct
from array import array
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path, PurePosixPath, PureWindowsPath
from re import IGNORECASE, VERBOSE, Pattern, compile
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, PrivateAttr

from twinstep.serde import register_constant, register_type


class Colour(Enum):
    RED = "red"
    BLUE = (0, 0, 255)


class Level(IntEnum):
    LOW = 1


class Mood(StrEnum):
    GOOD = "good"


class Right(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: Any = 0
    seen: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    key: str
    value: Any = None


@dataclass
class Loud:
    """A class whose code must not run when it is read."""

    text: str

    def __post_init__(self) -> None:
        self.text += "!"
        self.note = "made"


class Pair(NamedTuple):
    left: Any
    right: Any = 2


class Animal(BaseModel):
    name: str
    tags: tuple[str, ...] = ()


class Dog(Animal):
    model_config = ConfigDict(extra="allow")
    _chip: list[int] = PrivateAttr(default_factory=lambda: [7])
    age: int = 3


class Pack(BaseModel):
    leader: Animal


class Word(str):
    pass


class Id(int):
    pass


class Ratio(float):
    pass


class Bag(list[Any]):
    note: str


class Record(dict[str, Any]):
    pass


class Ordered(OrderedDict[str, Any]):
    pass


class Ring(deque[Any]):
    pass


class Plain:
    __slots__ = ("__dict__", "a")

    def __init__(self, a: Any) -> None:
        self.a = a


class Sentinel:
    pass


class Trouble(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"trouble {code}")
        self.code = code


SENTINEL = Sentinel()
make_point: Any = Point
register_constant(SENTINEL, name="golden:SENTINEL")
for _cls in (
    *(Colour, Level, Mood, Right, Point, Frozen, Loud, Pair, Animal, Dog, Pack, Word, Id, Ratio, Bag, Record, Ordered),
    *(Ring, Plain, Trouble),
):
    register_type(_cls, name=f"golden:{_cls.__name__}")


def _with(obj: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj


def _noted(error: BaseException, *notes: str) -> BaseException:
    for note in notes:
        error.add_note(note)
    return error


_AUTUMN = datetime(2026, 10, 25, 2, 30, 0, 5, ZoneInfo("Europe/Berlin"), fold=1)

SAMPLES: dict[str, Any] = {
    "none": None,
    "bools": [True, False],
    "ints": [0, -1, 127, 128, 255, -(2**63), 2**64 - 1],
    "big ints": [2**64, -(2**63) - 1, 10**500, -(10**500)],
    "floats": [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 5e-324],
    "text": ["", "aé漢🙂", "\x00"],
    "lone surrogates": {"\ud800": ["\udfff", "a\udc80b"]},
    "bytes": [b"", b"\xff\x00", b"\xc4" * 300],
    "bytearray": {"deep": [bytearray(b"abc"), b"abc", (bytearray(),)]},
    "list": [[], [[1]], [1, "a", None]],
    "tuple": ((), (1, (2, [3, (4,)]))),
    "long tuple": tuple(range(20)),
    "dict": {"a": {"b": {}}},
    "dict keys": {1: "int", None: "none", (1, (2,)): "tuple", frozenset({3}): "set", 1.5: 0, b"b": 0, 2**70: 0},
    "enum keys": {Colour.RED: 1, Level.LOW: 2, Frozen("k", (1,)): 3, Pair(1, 2): 4},
    "sets": [set(), {1, "a"}, frozenset({(1, 2), frozenset({3})})],
    "complex": [complex(1, -0.0), complex(float("inf"), 2)],
    "fraction": Fraction(-3, 10**30),
    "decimal": [Decimal("1.10"), Decimal("-0"), Decimal("1E+999"), Decimal("Infinity")],
    "range": [range(3), range(5, -5, -2)],
    "slice": [slice(1, None, 2), slice("a", (1,))],
    "ellipsis": ...,
    "ordered dict": OrderedDict(b=1, a=[2]),
    "defaultdict": [
        defaultdict(list, {"a": [1]}),
        defaultdict(None, {1: 2}),
        defaultdict[str, Any](make_point, {"p": Point(1)}),
    ],
    "counter": Counter("abca"),
    "deque": [deque([1, (2,)]), deque([1, 2], maxlen=2), deque(maxlen=0)],
    "datetime": [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(2026, 1, 2, fold=1)],
    "datetime zones": [
        _AUTUMN,
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(2026, 7, 1, tzinfo=ZoneInfo("UTC")),
    ],
    "date": date(2026, 2, 28),
    "time": [time(1, 2, 3, 4), time(1, tzinfo=timezone(timedelta(hours=5, minutes=30))), time(2, fold=1)],
    "timedelta": [timedelta(days=-1, microseconds=1), timedelta.max],
    "timezone": [UTC, timezone(timedelta(hours=-3, seconds=1)), timezone(timedelta(hours=1), "home")],
    "uuid": UUID(int=2**127 + 1),
    "paths": [PurePosixPath("/a/../b"), PureWindowsPath("c:\\x"), Path("a b"), Path()],
    "addresses": [ip_address("1.2.3.4"), ip_address("fe80::1%eth0"), ip_network("10.0.0.0/8"), ip_interface("::1/64")],
    "regex": [compile(r"a\N{BULLET}+", IGNORECASE | VERBOSE), compile(rb"\d")],
    "array": [array("d", [1.5, -2]), array("i")],
    "namespace": SimpleNamespace(a=(1,), b={2}),
    "mapping proxy": [MappingProxyType({"a": (1,)}), MappingProxyType(OrderedDict(b=1))],
    "chain map": ChainMap({"a": 1}, {"b": (2,)}),
    "enums": [Colour.BLUE, Level.LOW, Mood.GOOD, Right.READ, Right.READ | Right.WRITE, Right(0)],
    "dataclass": [Point(1, (2,), [Point(3)]), Frozen("k", {1}), Loud("hi")],
    "named tuple": [Pair(1, (2,)), Pair([], None)],
    "models": [
        Animal(name="a"),
        Animal(name="a", tags=("x",)),
        Dog.model_validate({"name": "d", "colour": "red"}),
        Pack(leader=Dog(name="r")),
    ],
    "model constructed": Animal.model_construct(name=5, _fields_set=set()),
    "subclasses": [Word("w"), Id(2**70), Ratio("nan"), Record(a=(1,)), Ordered(b=1, a=2), Ring([1], maxlen=3)],
    "subclass attributes": _with(Bag([1, (2,)]), note="kept"),
    "plain class": _with(Plain((1,)), extra=[2]),
    "constant": SENTINEL,
    "exceptions": [ValueError("a", (1,)), KeyError(("k",)), OSError(2, "gone", "f.txt"), StopIteration(4)],
    "exception details": _noted(_with(Trouble(7), more=(1,)), "first", "second"),
    "exception groups": ExceptionGroup("both", [ValueError("a"), ExceptionGroup("in", [KeyError(1)])]),
    "unicode error": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
}


def same(a: Any, b: Any) -> bool:
    """Tell whether two values are of one type, have equal content, and so on all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, BaseException):
        return same(a.args, b.args) and same(a.__dict__, b.__dict__) and str(a) == str(b)
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return same((a.real, a.imag), (b.real, b.imag))
    if isinstance(a, dict | MappingProxyType):
        return same(list(a.items()), list(b.items())) and same(*(getattr(m, "default_factory", None) for m in (a, b)))
    if isinstance(a, set | frozenset):
        return same(sorted(a, key=repr), sorted(b, key=repr))
    if isinstance(a, list | tuple | deque):
        return (
            len(a) == len(b)
            and all(map(same, a, b))
            and getattr(a, "maxlen", None) == getattr(b, "maxlen", None)
            and vars_of(a) == vars_of(b)
        )
    if isinstance(a, datetime | time):
        return a.isoformat() == b.isoformat() and a.fold == b.fold and same(a.tzinfo, b.tzinfo)
    if isinstance(a, BaseModel):
        return all(
            same(getattr(a, each), getattr(b, each))
            for each in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
        )
    if isinstance(a, Frozen):
        return same((a.key, a.value), (b.key, b.value))
    if isinstance(a, Point | Loud | Plain | SimpleNamespace):
        return same(vars_of(a), vars_of(b)) and same(getattr(a, "a", 0), getattr(b, "a", 0))
    if isinstance(a, ChainMap):
        return same(a.maps, b.maps)
    if isinstance(a, Pattern):
        return (a.pattern, a.flags) == (b.pattern, b.flags)
    if isinstance(a, type | Sentinel | Enum):
        return a is b
    return bool(a == b) and repr(a) == repr(b)


def vars_of(obj: Any) -> dict[str, Any]:
    return dict(getattr(obj, "__dict__", {}))
