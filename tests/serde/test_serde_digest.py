"""Digests depend on the value alone."""

import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import make_dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from tests.serde.samples import SAMPLES, Colour, Point
from twinstep.serde import Serializer, register_type

digest = Serializer().digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ({1: 2, (3,): 4, None: 5}, {None: 5, (3,): 4, 1: 2}),
        ({"x", "y", 3}, {3, "y", "x"}),
        (
            set(range(0, 24, 8)),
            set(range(16, -1, -8)),
        ),  # they collide, so that the order of insertion is the order of iteration
        (Point(1, {"a": 1, "b": 2}), Point(1, {"b": 2, "a": 1})),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        ([threading.Lock()], [threading.Lock()]),
        ("\ud800", "\ud800"),
        (float("nan"), float("nan")),
        (np.arange(3), np.arange(3)),
        (ValueError(threading.Lock()), ValueError(threading.Lock())),
    ],
)
def test_equal_values_have_equal_digests(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)
    assert len(digest(one)) == 16


@pytest.mark.parametrize(
    "values",
    [
        [1, True, 1.0, "1", b"1", (1,), [1], {1}, frozenset({1}), {1: 1}, {"1": 1}, None, 2**70, -(2**70)],
        [{"a": 1, "b": 2}, {"a": 2, "b": 1}, [("a", 1), ("b", 2)], ["a", 1, "b", 2], {"a": {"b": 1}}],
        [b"a", bytearray(b"a"), "a"],
        [0.0, -0.0, 0],
        [Colour.RED, "red", "RED"],
        [Point(1), Point(2), {"x": 1}],
        [threading.Lock(), print, threading],
        [datetime(2026, 1, 1), datetime(2026, 1, 1, fold=1)],
        [ValueError("a"), TypeError("a"), ValueError("b")],
    ],
)
def test_different_values_have_different_digests(values: list[Any]) -> None:
    assert len({digest(each) for each in values}) == len(values)
    assert len({digest([each, {"k": each}]) for each in values}) == len(values)


@pytest.mark.parametrize("args", [(), (1, "x", 2.5, None, True, b"z"), (2**70, "\ud800"), ((1,),), ([1], {"a": 1})])
@pytest.mark.parametrize("kwargs", [{}, {"a": 1}, {"b": (1,), "a": {}}])
def test_the_digest_of_a_call_is_that_of_its_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert Serializer().digest_call(args, kwargs) == digest((args, kwargs)).hex()


def test_registering_a_data_class_does_not_change_its_digest() -> None:
    late = make_dataclass("Late", ["a", "b"])
    before = digest(late(1, threading.Lock()))
    assert before != digest(late(2, threading.Lock()))
    register_type(late)
    assert digest(late(1, threading.Lock())) == before


def test_anything_has_a_digest() -> None:
    cycle: list[Any] = []
    cycle += [cycle, {"a": cycle}]
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (cycle, deep, object(), type, [memoryview(b"")], {threading.Lock(): 1, "a": 2}):
        assert len(digest(value)) == 16


def test_digests_are_the_same_in_every_process() -> None:
    code = (
        "from tests.serde.samples import SAMPLES; from twinstep.serde import Serializer; s = Serializer();"
        "print(*(s.digest(each).hex() for each in SAMPLES.values()))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == [digest(each).hex() for each in SAMPLES.values()]
