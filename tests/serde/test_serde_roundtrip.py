"""What is stored comes back exactly: same type, same content, all the way down (W27, W28, W53, W62)."""

import asyncio
import subprocess
import sys
import threading
from collections import namedtuple
from dataclasses import dataclass, field, make_dataclass
from enum import Enum, StrEnum
from typing import Any, Generic, TypeVar

import numpy as np
import pytest
from pydantic import BaseModel, field_validator

from tests.serde.samples import SAMPLES, Dog, Loud, Pack, Point, Trouble, same
from twinstep.errors import RecordedError, TwinstepError, UnknownInterruptError, UnknownTypeError
from twinstep.serde import JsonPlusSerializer, Serializer, register_type
from twinstep.serde.base import SerializerProtocol

serde = Serializer()


def back(value: Any) -> Any:
    return serde.loads(serde.dumps(value))


@pytest.mark.parametrize("name", SAMPLES)
def test_value_comes_back_exactly(name: str) -> None:
    value = SAMPLES[name]
    assert same(value, back(value))
    assert same(value, serde.loads_typed(serde.dumps_typed(value)))


def test_comparison_of_these_tests_sees_differences() -> None:
    for one, other in [
        ((1,), [1]),
        (1, True),
        (0.0, -0.0),
        ({"a": (1,)}, {"a": [1]}),
        (Dog(name="a"), Dog(name="a", age=3)),
    ]:
        assert not same(one, other)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10)[::3],
        np.zeros((0, 3)),
        np.array(1.5),
        np.array(["a", "bcd"]),
        np.array(["2026-01-01"], dtype="M8[ns]"),
        np.array([(1, "a", (1.0, 2.0))], dtype=[("n", "i4"), ("s", "U3"), ("v", "f8", (2,))]),
        np.float32(1.1),
        np.float64(2.5),
        np.bool_(True),
        np.str_("a\0"),
        np.bytes_(b"a\0"),
        np.datetime64("2026-01-01T00:00:00"),
        np.array([True, False]),
    ],
    ids=repr,
)
def test_numpy_value_comes_back_exactly(value: Any) -> None:
    read = back({"deep": (value,)})["deep"][0]
    assert type(read) is type(value)
    assert read.dtype == value.dtype
    assert read.shape == value.shape
    assert read.tobytes() == value.tobytes()
    if isinstance(value, np.ndarray):
        assert read.flags.f_contiguous == value.flags.f_contiguous or value.ndim < 2
        assert read.flags.writeable


def test_numpy_is_imported_only_to_read_an_array() -> None:
    code = (
        "import sys; from twinstep.serde import Serializer; s = Serializer(); "
        "s.loads(s.dumps({'a': (1,)})); s.digest((1,)); assert 'numpy' not in sys.modules; "
        f"print(s.loads({serde.dumps(np.arange(3))!r}).sum())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "3\n"


def test_reading_runs_no_init_validator_or_post_init() -> None:
    class Strict(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def never(cls, n: int) -> int:
            if armed:
                raise AssertionError("validated")
            return n

        def model_post_init(self, context: Any) -> None:
            assert not armed

    class Made:
        def __new__(cls, *args: Any) -> "Made":
            assert not armed
            return super().__new__(cls)

        def __setattr__(self, name: str, value: Any) -> None:
            assert not armed
            super().__setattr__(name, value)

    armed = False
    register_type(Strict)
    register_type(Made)
    made = Made()
    made.a = 1
    stored = serde.dumps([Strict(n=1), made, Loud("x"), Trouble(1)])
    armed = True
    strict, made, loud, trouble = serde.loads(stored)
    assert (strict.n, made.__dict__, loud.text, trouble.code) == (1, {"a": 1}, "x!", 1)


def test_model_in_a_field_of_its_base_type_keeps_its_class() -> None:
    read = back(Pack(leader=Dog.model_validate({"name": "rex", "colour": "red"})))
    assert type(read.leader) is Dog
    assert (read.leader.model_extra, read.leader._chip, read.model_fields_set) == ({"colour": "red"}, [7], {"leader"})


def test_local_and_generic_classes_come_back_as_themselves() -> None:
    T = TypeVar("T")

    @register_type
    @dataclass
    class Box(Generic[T]):
        item: T

    @register_type(name="test:Tint")
    class Tint(StrEnum):
        DARK = "d"

    pair: Any = register_type(namedtuple("pair", "a b"))
    read = back([Box[int](1), Tint.DARK, pair(1, 2)])
    assert read == [Box(1), Tint.DARK, pair(1, 2)]
    assert [type(each) for each in read] == [Box, Tint, pair]


def test_class_with_a_name_taken_over_can_still_be_stored() -> None:
    def make() -> type:
        return register_type(make_dataclass("Same", ["a"]), name="test:Same")

    first, second = make(), make()
    assert type(back(first(1))) is second


def test_moved_class_is_read_under_its_old_name() -> None:
    old = register_type(make_dataclass("Old", ["a"]), name="test:old")
    stored = serde.dumps(old(1))
    new = make_dataclass("New", ["a"])
    register_type(new, name="test:old")
    register_type(new, name="test:new")
    assert type(serde.loads(stored)) is new
    assert b"test:new" in serde.dumps(new(1))


@pytest.mark.parametrize("base", ["dataclass", "slots", "model"])
def test_field_added_since_is_filled_with_its_default(base: str) -> None:
    def make(fields: dict[str, Any], types: dict[str, Any]) -> Any:
        body = {"__annotations__": types, "__module__": __name__, **fields}
        if base == "model":
            return register_type(type("Grown", (BaseModel,), body), name=f"test:{base}")
        return register_type(dataclass(slots=base == "slots")(type("Grown", (), body)), name=f"test:{base}")

    stored = serde.dumps(make({}, {"a": int})(a=1))
    tags: Any = [] if base == "model" else field(default_factory=list)
    one, other = (make({"b": 5, "tags": tags}, {"a": int, "b": int, "tags": list}), serde.loads(stored))
    read = serde.loads(stored)
    assert type(read) is one
    assert (read.a, read.b, read.tags) == (1, 5, [])
    assert read.tags is not other.tags


def test_unknown_names_say_what_to_do() -> None:
    gone = register_type(make_dataclass("Gone", ["a"]), name="test:gone")
    stored = serde.dumps({"a": gone(1)}).replace(b"test:gone", b"test:away")
    with pytest.raises(UnknownTypeError, match=r"'test:away'.*register_type"):
        serde.loads(stored)

    class Shrunk(Enum):
        A = 1
        B = 2

    stored = serde.dumps(register_type(Shrunk, name="test:shrunk").B)
    Shrunk = Enum("Shrunk", ["A"])  # type: ignore[no-redef]
    register_type(Shrunk, name="test:shrunk")
    with pytest.raises(UnknownTypeError, match="no member 'B'"):
        serde.loads(stored)
    long: Any = register_type(namedtuple("long", "a b"), name="test:nt")
    stored = serde.dumps(long(1, 2))
    register_type(namedtuple("short", "a"), name="test:nt")
    with pytest.raises(UnknownTypeError, match="2 fields"):
        serde.loads(stored)


def test_exception_of_the_program_needs_no_registration() -> None:
    class Own(LookupError):
        pass

    read = back(Own("boom", 1))
    assert (type(read), read.args) == (Own, ("boom", 1))


def test_exception_that_the_program_does_not_have_is_recorded_by_name() -> None:
    class Strange(Exception):
        pass

    error = Strange("boom", threading.Lock())
    error.add_note("while testing")
    data = serde.dumps({"error": error})
    Strange.__qualname__ = "Renamed"  # as in a later version of the program
    read = serde.loads(data)["error"]
    assert type(read) is RecordedError
    assert read.type_name.endswith("Strange")
    assert "boom" in str(read)
    assert read.__notes__ == ["while testing"]
    assert type(back(read)) is RecordedError
    assert back(read).type_name == read.type_name


def test_failure_is_recorded_whatever_it_carries() -> None:
    error: Any = Trouble(1)
    error.lock, error.itself, error.data = threading.Lock(), error, bytearray(b"x")
    error.args = (error, [threading.Lock(), 1], "\ud800", ValueError(threading.Lock()))
    read = back([error, bytearray(b"y")])[0]
    assert type(read) is Trouble
    assert read.__dict__ == {"code": 1, "data": bytearray(b"x")}
    assert read.args[1][1:] == [1]
    assert "lock" in read.args[1][0]
    assert read.args[2] == "\ud800"
    assert type(read.args[3]) is ValueError


def test_exception_whose_constructor_refuses_its_arguments_is_recorded() -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
    error.args = ("odd",)
    assert type(back(error)) is RecordedError


def test_own_errors_are_known() -> None:
    error = UnknownInterruptError("which?", reason="ambiguous", pending_ids=["a", "b"])
    read = back(error)
    assert same(read, error)
    assert read.pending_ids == ("a", "b")
    assert isinstance(back(TwinstepError("x")), TwinstepError)


@pytest.mark.parametrize("levels", [100, 400])
def test_deep_list_comes_back(levels: int) -> None:
    value: Any = "core"
    for _ in range(levels):
        value = [value]
    read = back(value)
    for _ in range(levels):
        (read,) = read
    assert read == "core"


def test_many_threads_and_tasks_share_a_serializer() -> None:
    value = [Point(i, (i, {i}), [bytearray(b"x")]) for i in range(20)]
    expected = serde.dumps(value)

    async def main() -> list[bytes]:
        return await asyncio.gather(*(asyncio.to_thread(serde.dumps, value) for _ in range(50)))

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert set(asyncio.run(main())) == {expected}
    finally:
        sys.setswitchinterval(usual)


def test_serializer_after_a_failure_is_as_before() -> None:
    good = {"a": (1, ValueError("x"))}
    expected = serde.dumps(good)
    for _ in range(3):
        with pytest.raises(TypeError):
            serde.dumps({"a": [1, {"b": object()}]})
        assert serde.dumps(good) == expected


def test_names_that_people_move_from() -> None:
    @dataclass
    class Mine:
        a: int

    moved = JsonPlusSerializer().with_msgpack_allowlist([Mine])
    assert moved.loads_typed(moved.dumps_typed(Mine(1))) == Mine(1)
    assert isinstance(moved, SerializerProtocol)
    with pytest.raises(ValueError, match="pickle"):
        JsonPlusSerializer(pickle_fallback=True)
    with pytest.raises(ValueError, match="takes classes"):
        JsonPlusSerializer(allowed_msgpack_modules=[("a.b", "C")])  # type: ignore[list-item]
