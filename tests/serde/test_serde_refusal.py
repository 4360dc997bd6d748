"""What cannot come back is refused when it is stored, with its place and the mend."""

import threading
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr

from twinstep.errors import EncodingError
from twinstep.serde import Serializer, register_type

serde = Serializer()
bad = threading.Lock()


class Unknown:
    pass


class UnknownDict(dict):
    pass


class UnknownText(str):
    pass


@dataclass
class UnknownData:
    a: int


class UnknownPair(NamedTuple):
    a: int


class Odd(tzinfo):
    def utcoffset(self, at: Any) -> None: ...
    def tzname(self, at: Any) -> None: ...
    def dst(self, at: Any) -> None: ...


@register_type
@dataclass
class Known:
    field: Any


@register_type
class KnownModel(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)
    name: Any
    _hidden: Any = PrivateAttr(default=None)


@register_type
class KnownBag(list):
    pass


def _hidden(value: Any) -> KnownModel:
    model = KnownModel(name=1)
    model._hidden = value
    return model


def _failure() -> Any:
    error: Any = ValueError(bad)
    error.lock = bad
    return error


def _cycle() -> Any:
    inner: dict[str, Any] = {}
    inner["b"] = [inner]
    return {"a": inner}


def _deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (bad, "state"),
        ({"a": [1, bad]}, "state['a'][1]"),
        ({1: {None: bad}}, "state[1][None]"),
        ({(1, bad): 2}, "state.keys()[0][1]"),
        ((1, (bad,)), "state[1][0]"),
        ({frozenset({1, bad})}, "state{...}{...}"),
        ({"m": Known([{"k": bad}])}, "state['m'].field[0]['k']"),
        (KnownModel(name=bad), "state.name"),
        (KnownModel.model_validate({"name": 1, "more": [bad]}), "state.more[0]"),
        (_hidden((bad,)), "state._hidden[0]"),
        (KnownBag([1, bad]), "state[1]"),
        (OrderedDict(a=bad), "state['a']"),
        (Counter({bad: 1}), "state.keys()[0]"),
        ({"b": bytearray(b"x"), "c": bad}, "state['c']"),
        (_cycle(), "state['a']['b'][0]"),
        ([datetime(2026, 1, 1, tzinfo=Odd())], "state[0]"),
        ([_failure(), bytearray(b"x"), bad], "state[2]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_refusal_names_the_place(value: Any, path: str) -> None:
    with pytest.raises(EncodingError) as caught:
        serde.dumps(value, at="state")
    assert f"Cannot store {path}: " in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [Unknown(), UnknownDict(a=1), UnknownText("a"), UnknownData(1), UnknownPair(1)],
    ids=lambda value: type(value).__name__,
)
def test_class_that_is_not_registered_is_refused_and_never_flattened(value: Any) -> None:
    with pytest.raises(EncodingError) as caught:
        serde.dumps([value])
    name = type(value).__name__
    assert f"call twinstep.register_type({name}) or name it in an annotation" in str(caught.value)
    assert "Cannot store [0]: " in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        print,
        lambda: 0,
        int,
        Unknown,
        memoryview(b"x"),
        (each for each in "ab"),
        defaultdict(lambda: 0),
        defaultdict(Unknown),
        iter([]),
        partial(print),
        np.array([object()]),
        np.array([1, 2]).view(np.matrix),
        np.ma.array([1]),
        np.zeros(1, {"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 12}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_that_is_no_data_is_refused(value: Any) -> None:
    for holder in (value, [value], {"a": bytearray(b"x"), "b": (value,)}):
        with pytest.raises(EncodingError):
            serde.dumps(holder)


@pytest.mark.parametrize("value", [bad, partial(print), print, int])
def test_what_no_registration_helps_is_said_to_be_so(value: Any) -> None:
    with pytest.raises(EncodingError, match=rf"of type '{type(value).__qualname__}' cannot be stored; store what"):
        serde.dumps(value)


def test_value_without_a_place_is_named_as_such() -> None:
    with pytest.raises(EncodingError, match="Cannot store the value: "):
        serde.dumps(print)


def test_value_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(EncodingError, match=r"nested too deeply") as caught:
        serde.dumps(_deep(), at="state")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("cls", [StringIO, type(bad), partial, print, type, np.ndarray, datetime], ids=repr)
def test_class_whose_state_is_out_of_reach_cannot_be_registered(cls: Any) -> None:
    before = serde.digest(1)
    if cls is datetime:
        assert register_type(cls) is cls  # a kind of its own
        cls = type("Later", (datetime,), {})
    with pytest.raises(EncodingError):
        register_type(cls)
    assert serde.digest(1) == before


def test_broken_property_is_named() -> None:
    @register_type
    class Broken:
        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no state today")

    with pytest.raises(EncodingError, match=r"store a\[0\]: .*no state today"):
        serde.dumps([Broken()], at="a")
