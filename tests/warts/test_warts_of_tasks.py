"""The surprises of the reference in entrypoints and tasks (behaviour.md, section 11), and what happens here instead."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Lane
from tests.warts.kit import State
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import (
    GraphValidationError,
    NodeTimeoutError,
    NonDeterminismError,
    OutsideRunError,
    StepTimeoutError,
)
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.types import CachePolicy, Command, RetryPolicy, interrupt

NOW = RetryPolicy(initial_interval=0, jitter=False, retry_on=Exception)


@pytest.mark.parametrize("limit", [1, 2, None])
def test_w02_no_limit_and_no_depth_hangs(lane: Lane, limit: int | None) -> None:
    @task
    def count(n: int) -> int:
        return 1 + (count(n - 1).result() if n else 0)

    @entrypoint()
    def program(n: int) -> int:
        return count(n).result()

    assert lane.invoke(program, 20, {"max_concurrency": limit}) == 21


def test_w06_a_retry_of_the_entrypoint_does_not_repeat_finished_tasks(lane: Lane) -> None:
    ran: list[str] = []

    @task
    def work() -> None:
        ran.append("task")

    @entrypoint(retry_policy=NOW)
    def program(x: int) -> str:
        work().result()
        ran.append("body")
        if ran.count("body") == 1:
            raise ConnectionError
        return "done"

    assert lane.invoke(program, 1) == "done"
    assert ran == ["task", "body", "body"]


def test_w07_the_failure_of_a_task_that_nobody_reads_is_not_lost(lane: Lane) -> None:
    @task
    def bad(x: int) -> None:
        raise ZeroDivisionError(x)

    @entrypoint()
    def program(x: int) -> str:
        bad(x)
        return "ret"

    with pytest.raises(ZeroDivisionError):
        lane.invoke(program, 1)


def test_w08_a_replayed_call_with_other_arguments_is_an_error(lane: Lane, saver: Any, thread: Any) -> None:
    values = iter([10, 20])

    @task
    def same(x: int) -> int:
        return x

    @entrypoint(checkpointer=saver)
    def program(x: int) -> int:
        result = same(next(values)).result()
        interrupt("q")
        return result

    lane.invoke(program, 1, thread)
    with pytest.raises(NonDeterminismError, match=r"same\(10\).*same\(20\)"):
        lane.invoke(program, Command(resume="a"), thread)


def test_w12_cached_tasks_of_one_factory_are_told_apart(lane: Lane) -> None:
    def make(word: str) -> Any:
        return task(lambda: word, cache_policy=CachePolicy())

    tasks = [make("one"), make("two")]

    @entrypoint(cache=InMemoryCache())
    def program(x: int) -> list[str]:
        return [t().result() for t in tasks]

    assert lane.invoke(program, 1) == ["one", "two"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_w13_what_the_caller_does_to_a_result_is_not_stored(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, durability: str
) -> None:
    @task
    def make() -> list[int]:
        return [1]

    @entrypoint(checkpointer=saver)
    def program(x: int) -> list[int]:
        value = make().result()
        value.append(2)
        interrupt("q")
        return value

    lane.invoke(program, 1, thread, durability=durability)
    assert lane.invoke(program, Command(resume="a"), thread, durability=durability) == [1, 2]


def test_w22_an_entrypoint_has_the_name_of_its_function() -> None:
    @entrypoint()
    def workflow(x: int) -> int:
        return x

    assert workflow.name == "workflow"


def test_w40_a_caught_failure_is_not_repeated_on_resume(lane: Lane, saver: Any, thread: Any) -> None:
    ran: list[int] = []

    @task
    def failing(x: int) -> None:
        ran.append(x)
        raise ZeroDivisionError

    @entrypoint(checkpointer=saver)
    def program(x: int) -> Any:
        try:
            failing(x).result()
        except ZeroDivisionError:
            return interrupt("q")

    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume="a"), thread) == "a"
    assert ran == [1]


def test_w45_a_task_outside_of_a_run_says_so() -> None:
    with pytest.raises(OutsideRunError, match="Task 'work'"):
        task(lambda: 1, name="work")()


def test_w47_both_colours_of_tasks_work_in_both_lanes(lane: Lane) -> None:
    @task
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @task
    def now(x: int) -> int:
        return x

    @entrypoint()
    def program(x: int) -> int:
        return later(x).result() + now(x).result()

    assert lane.invoke(program, 1) == 2


def test_w47_result_in_asynchronous_code_says_to_await() -> None:
    @task
    async def later() -> int:
        return 1

    @entrypoint()
    async def program(x: int) -> int:
        return later().result()

    with pytest.raises(asyncio.InvalidStateError, match="await"):
        asyncio.run(program.ainvoke(1))


def test_w48_the_name_of_a_task_leaves_the_function_alone() -> None:
    def function() -> None: ...

    assert task(function, name="other").name == "other"
    assert function.__name__ == "function"


@pytest.mark.parametrize(
    ("error", "tries"),
    [(ConnectionError(), 2), (TimeoutError(), 2), (OSError(), 2), (AssertionError(), 1), (ValueError(), 1)],
    ids=lambda value: type(value).__name__,
)
def test_w49_what_is_temporary_is_retried_and_jitter_only_shortens(lane: Lane, error: Exception, tries: int) -> None:
    ran: list[float] = []

    def node(state: Any) -> None:
        ran.append(time.monotonic())
        raise error

    policy = RetryPolicy(initial_interval=0.02, max_attempts=2)
    graph = StateGraph(State).add_node("a", node, retry_policy=policy).add_edge(START, "a").compile()
    with pytest.raises(type(error)):
        lane.invoke(graph, {"x": 0})
    assert len(ran) == tries
    assert tries == 1 or ran[1] - ran[0] >= 0.01  # between half of the interval and all of it, and what a step takes


@pytest.mark.parametrize("limit", ["node", "step"])
def test_w50_plain_functions_time_out_and_nobody_waits_for_their_thread(lane: Lane, limit: str) -> None:
    release = threading.Event()

    def slow(x: int) -> None:
        release.wait(30)

    @entrypoint(timeout=0.05 if limit == "node" else None)
    def program(x: int) -> None:
        slow(x)

    program.step_timeout = 0.05 if limit == "step" else None
    with pytest.raises((NodeTimeoutError, StepTimeoutError)):
        lane.invoke(program, 1)
    assert not release.is_set()
    release.set()


def test_w57_a_generator_is_no_task() -> None:
    with pytest.raises(GraphValidationError, match="generator"):

        @task
        def words():
            yield "a"


def test_w59_equal_cached_calls_at_the_same_time_run_once(lane: Lane) -> None:
    ran: list[int] = []

    @task(cache_policy=CachePolicy())
    def slow(x: int) -> int:
        ran.append(x)
        time.sleep(0.05)
        return x

    @entrypoint(cache=InMemoryCache())
    def program(x: int) -> list[int]:
        return [future.result() for future in [slow(x), slow(x)]]

    assert lane.invoke(program, 9) == [9, 9]
    assert ran == [9]


def test_w62_a_replayed_result_has_the_type_it_had(lane: Lane, saver: Any, thread: Any) -> None:
    types: list[type] = []

    @task
    def pair() -> tuple[int, int]:
        return 1, 2

    @entrypoint(checkpointer=saver)
    def program(x: int) -> Any:
        types.append(type(pair().result()))
        return interrupt("q")

    lane.invoke(program, 1, thread)
    lane.invoke(program, Command(resume=1), thread)
    assert types == [tuple, tuple]


def make_counted(counts: list[int]) -> Callable[[int], int]:
    def counted(x: int) -> int:
        counts.append(x)
        return x

    return counted


def test_w06_also_with_a_checkpointer(lane: Lane) -> None:
    counts: list[int] = []
    counted = task(make_counted(counts), name="counted")
    failures = iter([True, False])

    @entrypoint(checkpointer=InMemorySaver(), retry_policy=NOW)
    def program(x: int) -> int:
        result: int = counted(x).result()
        if next(failures):
            raise ConnectionError
        return result

    assert lane.invoke(program, 3, {"configurable": {"thread_id": "1"}}) == 3
    assert counts == [3]
