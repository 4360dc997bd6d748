"""Resuming: what is on record is not done again, and a run that asks for something else is told so."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
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
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import NonDeterminismError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.serde import register_type
from twinstep.types import Command, Mismatch, RetryPolicy, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]
TWICE = RetryPolicy(initial_interval=0, max_attempts=2, jitter=False, retry_on=Exception)


class Broken(Exception):
    """Raised by the tests."""


class World:
    """What happens outside of a run: counts calls and fails when it is told to."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.broken = True

    def work(self, x: Any) -> Any:
        self.ran.append(x)
        return x

    def flaky(self, x: Any) -> Any:
        self.ran.append("flaky")
        if self.broken:
            raise Broken("not now")
        return x


@pytest.fixture
def world() -> World:
    return World()


# ---------------------------------------------------------------------- going on after an error


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_none_goes_on_after_an_error_without_repeating_finished_tasks(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, colour: Colour, world: World, durability: Any
) -> None:
    slow, flaky = task(colour(world.work)), task(colour(world.flaky))

    def body(x: int) -> Any:
        first = yield slow(x)
        return [first, (yield flaky(x + 1))]

    program = entrypoint(checkpointer=saver)(paint(body))
    for _ in range(2):
        with pytest.raises(Broken, match="not now"):
            lane.invoke(program, 1 if not world.ran else None, thread, durability=durability)
    world.broken = False
    assert lane.invoke(program, None, thread, durability=durability) == [1, 2]
    assert world.ran == [1, "flaky", "flaky", "flaky"]


def test_a_new_input_after_an_error_starts_from_the_beginning(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)
    program = entrypoint(checkpointer=saver)(lambda x: [slow(x).result(), flaky(x).result()])
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, 2, thread) == [2, 2]
    assert world.ran == [1, "flaky", 2, "flaky"]


def test_another_process_goes_on_where_one_stopped(lane: Lane, tmp_path: Path, thread: Any, world: World) -> None:
    def run(input: Any) -> Any:
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            slow, flaky = task(world.work), task(world.flaky)

            @entrypoint(checkpointer=saver)
            def program(x: int) -> Any:
                return [slow(x).result(), flaky(x).result()]

            return lane.invoke(program, input, thread)

    with pytest.raises(Broken):
        run(1)
    world.broken = False
    assert run(None) == [1, 1]
    assert world.ran == [1, "flaky", "flaky"]


def test_only_the_missing_calls_of_a_loop_are_made(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World
) -> None:
    @task
    def step(n: int) -> int:
        if n == 2 and world.broken:
            raise Broken
        return world.work(n)

    program = entrypoint(checkpointer=saver)(lambda n: [step(i).result() for i in range(n)])
    with pytest.raises(Broken):
        lane.invoke(program, 4, thread)
    assert world.ran == [0, 1]
    world.broken = False
    assert lane.invoke(program, None, thread) == [0, 1, 2, 3]
    assert world.ran == [0, 1, 2, 3]


def test_siblings_of_a_failed_task_are_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def body(x: int) -> Any:
        first, second = slow(1), slow(2)
        yield first
        yield second
        return [(yield flaky(x)), (yield slow(3))]

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 0, thread)
    world.broken = False
    lane.invoke(program, None, thread)
    assert sorted(map(str, world.ran)) == ["1", "2", "3", "flaky", "flaky"]


def test_tasks_of_a_failed_task_are_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def both(x: int) -> Any:
        return [(yield slow(x)), (yield flaky(x))]

    outer = task(paint(both))

    def body(x: int) -> Any:
        return (yield outer(x))

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 5, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == [5, 5]
    assert world.ran == [5, "flaky", "flaky"]


def test_a_finished_nested_entrypoint_is_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky, inner = task(world.flaky), entrypoint()(world.work)

    def body(x: int) -> Any:
        return [(yield Child(inner, x)), (yield flaky(x))]

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 5, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == [5, 5]
    assert world.ran == [5, "flaky", "flaky"]


def test_code_outside_of_tasks_is_repeated(lane: Lane, thread: Any, world: World) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def program(x: int) -> Any:
        world.work(x)
        return interrupt("?")

    lane.invoke(program, 1, thread)
    lane.invoke(program, Command(resume=1), thread)
    assert world.ran == [1, 1]


def test_the_state_shows_the_failure(lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World) -> None:
    flaky = task(world.flaky)
    program = entrypoint(checkpointer=saver)(lambda x: flaky(x).result())
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread)
    state = lane.state(program, thread)
    assert (state.next, state.metadata["status"]) == (("<lambda>",), "failed")
    assert type(state.tasks[0].error) is Broken
    assert str(state.tasks[0].error) == "not now"


# ---------------------------------------------------------------------- failures


def test_a_failure_that_nobody_waited_for_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def body(x: int) -> Any:
        flaky(x)
        return (yield slow(x))

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken, match="not now"):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == 1
    assert sorted(map(str, world.ran)) == ["1", "flaky", "flaky"]


def test_a_caught_failure_is_not_repeated_and_has_the_same_type_and_text(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def body(x: int) -> Any:
        try:
            yield flaky(x)
        except Exception as error:
            return [type(error).__name__, str(error), interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, Command(resume="yes"), thread) == ["Broken", "not now", "yes"]
    assert world.ran == ["flaky"]


def test_a_caught_failure_stays_caught_when_another_one_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    @task
    def hopeless() -> None:
        world.work("hopeless")
        raise ValueError("never")

    flaky = task(world.flaky)

    def body(x: int) -> Any:
        try:
            yield hopeless()
        except ValueError as error:
            found = str(error)
        return [found, (yield flaky(x))]

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == ["never", 1]
    assert world.ran == ["hopeless", "flaky", "flaky"]


def test_a_failure_that_is_raised_again_as_another_error_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def body(x: int) -> Any:
        try:
            return (yield flaky(x))
        except Broken as error:
            raise ValueError("wrapped") from error

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(ValueError, match="wrapped"):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == 1


async def in_a_group(future: Any) -> Any:
    async def wait() -> Any:
        return await future

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait())
    return waiting.result()


async def with_another_cause(future: Any) -> Any:
    try:
        return await future
    except Broken:
        raise ValueError("wrapped") from KeyError("something else")


async def in_a_cause(future: Any) -> Any:
    try:
        return await future
    except Broken as error:
        raise ValueError("wrapped") from ExceptionGroup("several", [KeyError(), error])


@pytest.mark.parametrize("wait", [in_a_group, with_another_cause, in_a_cause])
def test_a_failure_that_reaches_the_caller_inside_another_error_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World, wait: Callable[..., Any]
) -> None:
    flaky = task(world.flaky)

    @entrypoint(checkpointer=saver)
    async def program(x: int) -> Any:
        return await wait(flaky(x))

    with pytest.raises((ExceptionGroup, ValueError)):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == 1


@pytest.mark.parametrize("inside", ["the task", "a task in it", "a child of it"])
@pytest.mark.parametrize("how", ["wait", "gather"])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_failures_of_parallel_tasks_are_all_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World, inside: str, how: str, durability: Any
) -> None:
    flaky, child = task(world.flaky), entrypoint()(world.flaky)
    work: Any = {
        "the task": flaky,
        "a task in it": task(lambda x: flaky(x).result()),
        "a child of it": task(lambda x: child.invoke(x)),
    }[inside]

    def wait(x: int) -> Any:
        futures = [work(n) for n in "ab"]
        cf.wait(futures)
        return [future.result() for future in futures]

    async def gather(x: int) -> Any:
        return list(await asyncio.gather(work("a"), work("b")))

    program = entrypoint(checkpointer=saver)(wait if how == "wait" else gather)
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread, durability=durability)
    world.broken = False
    assert lane.invoke(program, None, thread, durability=durability) == ["a", "b"]


def test_a_caught_failure_of_a_nested_entrypoint_is_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def child(x: int) -> Any:
        return (yield flaky(x))

    inner = entrypoint()(paint(child))

    def body(x: int) -> Any:
        try:
            found = yield Child(inner, x)
        except Broken as error:
            found = str(error)
        return [found, interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, Command(resume="a"), thread) == ["not now", "a"]
    assert world.ran == ["flaky"]


def test_a_result_that_cannot_be_stored_does_not_block_the_thread(lane: Lane, saver: Any, thread: Any) -> None:
    results = iter([object(), "fine"])
    program = entrypoint(checkpointer=saver)(lambda x: next(results))
    with pytest.raises(TypeError, match="'object' cannot be stored"):
        lane.invoke(program, 1, thread)
    assert lane.state(program, thread).metadata["status"] == "failed"
    assert lane.invoke(program, None, thread) == "fine"


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
def test_a_retried_entrypoint_does_not_repeat_finished_tasks(
    lane: Lane, thread: Any, paint: Paint, world: World, saved: bool
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def body(x: int) -> Any:
        first = yield slow(x)
        try:
            return [first, (yield flaky(x))]
        finally:
            world.broken = False

    saver = InMemorySaver() if saved else None
    program = entrypoint(checkpointer=saver, retry_policy=TWICE)(paint(body))
    assert lane.invoke(program, 1, thread) == [1, 1]
    assert world.ran == [1, "flaky", "flaky"]


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
def test_a_retried_task_does_not_repeat_the_tasks_it_has_finished(
    lane: Lane, thread: Any, paint: Paint, world: World, saved: bool
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def both(x: int) -> Any:
        first = yield slow(x)
        try:
            return [first, (yield flaky(x))]
        finally:
            world.broken = False

    outer = task(retry_policy=TWICE)(paint(both))

    def body(x: int) -> Any:
        return (yield outer(x))

    program = entrypoint(checkpointer=InMemorySaver() if saved else None)(paint(body))
    assert lane.invoke(program, 1, thread) == [1, 1]
    assert world.ran == [1, "flaky", "flaky"]


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


def test_an_answered_run_that_fails_later_keeps_its_answer(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def body(x: int) -> Any:
        answer = interrupt("?")
        return [answer, (yield flaky(x))]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    with pytest.raises(Broken):
        lane.invoke(program, Command(resume="yes"), thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == ["yes", 1]


def test_a_question_asked_in_a_task_keeps_the_results_before_it(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow = task(world.work)

    def asking(x: int) -> Any:
        found = yield slow(x)
        return [found, interrupt("?")]

    ask = task(paint(asking))

    def body(x: int) -> Any:
        return (yield ask(x))

    program = entrypoint(checkpointer=saver)(paint(body))
    assert lane.invoke(program, 1, thread)["__interrupt__"][0].value == "?"
    assert lane.invoke(program, Command(resume="yes"), thread) == [1, "yes"]
    assert world.ran == [1]


@pytest.mark.parametrize("unit", ["task", "entrypoint"])
def test_an_answer_is_there_again_when_the_code_is_retried(lane: Lane, thread: Any, world: World, unit: str) -> None:
    def ask(x: int) -> Any:
        answer = interrupt("?")
        if world.broken:
            world.broken = False
            raise Broken
        return answer

    if unit == "task":
        work = task(retry_policy=TWICE)(ask)
        program = entrypoint(checkpointer=InMemorySaver())(lambda x: work(x).result())
    else:
        program = entrypoint(checkpointer=InMemorySaver(), retry_policy=TWICE)(ask)
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume="yes"), thread) == "yes"


# ---------------------------------------------------------------------- tasks in graph nodes


def node_graph(body: Any, saver: Any, **options: Any) -> Any:
    builder = StateGraph(dict)
    builder.add_node("node", body, **options)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("ends", ["question", "failure", "retry"])
def test_tasks_of_a_node_are_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World, ends: str
) -> None:
    slow = task(world.work)

    def body(state: dict[str, Any]) -> Any:
        first = yield slow(1)
        if ends == "question":
            interrupt("?")
        elif world.broken:
            world.broken = False
            raise Broken
        return {"found": [first, (yield slow(2))]}

    graph = node_graph(paint(body), saver, retry_policy=TWICE if ends == "retry" else None)
    if ends == "question":
        lane.invoke(graph, {}, thread)
    elif ends == "failure":
        with pytest.raises(Broken):
            lane.invoke(graph, {}, thread)
    command: Any = {"question": Command(resume=1), "failure": None, "retry": {}}[ends]
    assert lane.invoke(graph, command, thread) == {"found": [1, 2]}
    assert world.ran == [1, 2]


# ---------------------------------------------------------------------- older checkpoints


def test_an_older_checkpoint_is_run_again_as_another_branch(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World
) -> None:
    work = task(world.work)
    program = entrypoint(checkpointer=saver)(lambda x, previous: [previous, work(x).result()])
    lane.invoke(program, 1, thread)
    lane.invoke(program, 2, thread)
    begin = next(s for s in lane.history(program, thread) if s.metadata["step"] == 1)
    assert lane.invoke(program, None, begin.config) == [[None, 1], 2]
    assert world.ran == [1, 2, 2]
    assert lane.state(program, thread).metadata["status"] == "done"
