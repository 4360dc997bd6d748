"""Resuming: a run that makes other calls than were recorded is told so; results and arguments are what they were."""

from __future__ import annotations

import datetime as dt
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from tests.conftest import Lane
from tests.func.bodies import Child, Paint
from tests.func.world import TWICE, Broken, World
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import NonDeterminismError
from twinstep.func import entrypoint, task
from twinstep.serde import register_type
from twinstep.types import Command, Mismatch, RetryPolicy, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


# ---------------------------------------------------------------------- the same calls


def changing(
    saver: BaseCheckpointSaver, world: World, on_mismatch: Mismatch, paint: Paint, retry: RetryPolicy | None = None
) -> Any:
    """Make an entrypoint whose task gets another argument at every attempt and resume."""
    values = iter(range(10, 90, 10))
    work = task(world.work)

    def body(x: int) -> Any:
        result = yield work(next(values))
        return [result, interrupt("?")]

    return entrypoint(checkpointer=saver, on_mismatch=on_mismatch, retry_policy=retry)(paint(body))


def test_other_arguments_than_recorded_are_an_error(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    program = changing(saver, world, "error", paint)
    lane.invoke(program, 1, thread)
    with pytest.raises(NonDeterminismError, match=r"'work'.*20") as caught:
        lane.invoke(program, Command(resume="a"), thread)
    assert caught.value.name == "work"
    assert caught.value.actual == ((20,), {})
    assert world.ran == [10]


@pytest.mark.parametrize(
    ("on_mismatch", "result", "ran"), [("rerun", [20, "a"], [10, 20]), ("accept", [10, "a"], [10])]
)
def test_other_arguments_can_be_run_or_ignored(
    lane: Lane,
    saver: BaseCheckpointSaver,
    thread: Any,
    paint: Paint,
    world: World,
    on_mismatch: Mismatch,
    result: list[Any],
    ran: list[int],
) -> None:
    program = changing(saver, world, on_mismatch, paint)
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume="a"), thread) == result
    assert world.ran == ran


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
@pytest.mark.parametrize(("on_mismatch", "result"), [("error", None), ("rerun", 20), ("accept", 10)])
def test_a_retry_of_the_entrypoint_is_held_to_the_same_calls(
    lane: Lane, thread: Any, paint: Paint, world: World, saved: bool, on_mismatch: Mismatch, result: int | None
) -> None:
    values, work = iter((10, 20)), task(world.work)

    def body(x: int) -> Any:
        found = yield work(next(values))
        if world.broken:
            world.broken = False
            raise Broken
        return found

    saver = InMemorySaver() if saved else None
    program = entrypoint(checkpointer=saver, on_mismatch=on_mismatch, retry_policy=TWICE)(paint(body))
    if result is None:
        with pytest.raises(NonDeterminismError):
            lane.invoke(program, 1, thread)
    else:
        assert lane.invoke(program, 1, thread) == result


@pytest.mark.parametrize(("on_mismatch", "result"), [("error", None), ("rerun", 20), ("accept", 10)])
def test_a_nested_entrypoint_is_held_to_the_same_input(
    lane: Lane, thread: Any, paint: Paint, world: World, on_mismatch: Mismatch, result: int | None
) -> None:
    values, inner = iter((10, 20)), entrypoint(on_mismatch=on_mismatch)(world.work)

    def body(x: int) -> Any:
        found = yield Child(inner, next(values))
        interrupt("?")
        return found

    program = entrypoint(checkpointer=InMemorySaver(), on_mismatch=on_mismatch)(paint(body))
    lane.invoke(program, 1, thread)
    if result is None:
        with pytest.raises(NonDeterminismError):
            lane.invoke(program, Command(resume=1), thread)
    else:
        assert lane.invoke(program, Command(resume=1), thread) == result


def test_different_tasks_may_change_places(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    one, two = (task(name=name)(world.work) for name in ("one", "two"))
    turn = iter([(one, two), (two, one)])

    def body(x: int) -> Any:
        results = []
        for work in next(turn):
            results.append((yield work(work.name)))  # noqa: PERF401  # a comprehension cannot yield
        return [results, interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume=0), thread) == [["two", "one"], 0]
    assert world.ran == ["one", "two"]


def test_calls_with_a_key_may_change_places(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    work = task(key=lambda item: item["id"])(world.work)
    items = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    turn = iter([items[:2], items[::-1]])

    def body(x: int) -> Any:
        results = []
        for item in next(turn):
            results.append((yield work(item))["id"])  # noqa: PERF401
        return [results, interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume=0), thread) == [["c", "b", "a"], 0]
    assert world.ran == items


def test_a_key_is_held_to_its_arguments(lane: Lane, thread: Any, world: World) -> None:
    work, values = task(key=lambda x: "same")(world.work), iter((1, 2))
    program = entrypoint(checkpointer=InMemorySaver())(lambda x: [work(next(values)).result(), interrupt("?")])
    lane.invoke(program, 1, thread)
    with pytest.raises(NonDeterminismError, match="same"):
        lane.invoke(program, Command(resume=0), thread)


def test_more_calls_than_recorded_are_made(lane: Lane, thread: Any, world: World) -> None:
    work, counts = task(world.work), iter((1, 3))

    @entrypoint(checkpointer=InMemorySaver())
    def program(x: int) -> Any:
        return [[work(i).result() for i in range(next(counts))], interrupt("?")]

    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume=0), thread) == [[0, 1, 2], 0]
    assert world.ran == [0, 1, 2]


def test_equal_arguments_of_another_order_or_identity_are_the_same_call(lane: Lane, thread: Any, world: World) -> None:
    work, values = task(world.work), iter(({"a": 1, "b": {2, 3}}, {"b": {3, 2}, "a": 1}))
    program = entrypoint(checkpointer=InMemorySaver())(lambda x: [work(next(values)).result(), interrupt("?")])
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume=0), thread)[1] == 0
    assert len(world.ran) == 1


# ---------------------------------------------------------------------- results are what they were


@dataclass
class Point:
    x: int
    tags: tuple[str, ...] = ()


class Pair(NamedTuple):
    left: int
    right: int


class Shade(Enum):
    DARK = "dark"


for own in (Point, Pair, Shade):
    register_type(own)

RESULTS: list[Any] = [
    (1, (2, 3)), {1, 2}, frozenset({1}), b"raw", bytearray(b"raw"), 1.5, 2**80, Decimal("1.10"), UUID(int=5),
    dt.datetime(2024, 1, 2, tzinfo=dt.UTC), dt.timedelta(seconds=5), OrderedDict(b=1, a=2), Counter("aab"),
    deque([1], maxlen=3), {(1, 2): "key"}, Point(1, ("a", "b")), [Point(2)], Pair(1, 2), Shade.DARK, Path("a/b"), None,
]  # fmt: skip


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: type(r).__name__)
def test_a_replayed_result_is_what_the_first_run_got(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, result: Any
) -> None:
    seen: list[Any] = []
    work = task(lambda: result, name="work")

    @entrypoint(checkpointer=saver)
    def program(x: int) -> None:
        seen.append(work().result())
        interrupt("?")

    lane.invoke(program, 1, thread)
    lane.invoke(program, Command(resume=1), thread)
    first, second = seen
    assert first == second == result
    assert type(first) is type(second) is type(result)
    assert repr(first) == repr(second)


def test_a_default_factory_that_cannot_be_stored_is_no_surprise_on_resume(lane: Lane, thread: Any) -> None:
    seen: list[Any] = []
    work = task(lambda: defaultdict(list, a=[1]), name="work")

    @entrypoint(checkpointer=InMemorySaver())
    def program(x: int) -> None:
        seen.append(work().result())
        interrupt("?")

    lane.invoke(program, 1, thread)
    lane.invoke(program, Command(resume=1), thread)
    assert type(seen[0]) is type(seen[1])
    assert seen[1]["missing"] == []


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("how", ["resume", "retry", "unsaved retry"])
def test_what_a_caller_does_to_a_result_is_not_stored(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World, durability: Any, how: str
) -> None:
    @task
    def make() -> list[int]:
        return [1]

    def body(x: int) -> Any:
        result = make().result()
        result.append(2)
        if how == "resume":
            interrupt("?")
        elif world.broken:
            world.broken = False
            raise Broken
        return result

    unsaved = how.startswith("unsaved")
    program = entrypoint(checkpointer=None if unsaved else saver, retry_policy=TWICE)(body)
    options = {} if unsaved else {"durability": durability}
    first = lane.invoke(program, 1, thread, **options)
    assert first == [1, 2] if how != "resume" else "__interrupt__" in first
    if how == "resume":
        assert lane.invoke(program, Command(resume=1), thread, **options) == [1, 2]


def test_what_a_caller_does_to_an_argument_afterwards_makes_no_other_call(lane: Lane, thread: Any) -> None:
    work = task(lambda items: len(items), name="work")

    @entrypoint(checkpointer=InMemorySaver())
    def program(items: list[int]) -> Any:
        found = [work(items).result()]
        items.append(9)
        return [*found, work(items).result(), interrupt("?")]

    lane.invoke(program, [1], thread)
    assert lane.invoke(program, Command(resume=0), thread) == [1, 2, 0]


def test_a_call_is_known_by_its_arguments_as_they_were_when_it_was_made(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint
) -> None:
    work = task(lambda items: "done", name="work")

    def body(items: list[int]) -> Any:
        future = work(items)
        items.append(9)
        result = yield future
        return [result, future.done(), interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, [1], thread)
    assert lane.invoke(program, Command(resume=0), thread) == ["done", True, 0]


def test_a_call_on_record_has_ended_at_once(lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint) -> None:
    work = task(lambda: 1, name="work")
    ended = []

    def body(x: int) -> Any:
        future = work()
        ended.append(future.done())
        result = yield future
        return [result, interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    lane.invoke(program, Command(resume=0), thread)
    assert ended[1:] == [True]


def test_the_input_is_the_same_at_every_resume(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    given = {"pair": (1, 2), "list": [1]}

    @entrypoint(checkpointer=saver)
    def program(x: dict[str, Any]) -> Any:
        before = repr(x)
        x["list"].append(2)
        interrupt("?")
        return before

    lane.invoke(program, given, thread)
    assert lane.invoke(program, Command(resume=0), thread) == "{'pair': (1, 2), 'list': [1]}"
