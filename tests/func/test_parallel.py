"""Tasks run in parallel, never more at once than they may, and no limit makes them hang."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable
from itertools import product
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane, in_notebooks_too
from tests.func.bodies import PAINTS, Child, Paint, within
from tests.func.test_nesting import graph_of, stack
from twinstep.errors import InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def increment(x: int) -> int:
    return x + 1


def meeting(colour: str, parties: int) -> Any:
    """Make a task that ends only when `parties` calls of it run at once."""
    if colour == "plain":
        gate = threading.Barrier(parties)

        @task
        def meet(x: int) -> int:
            gate.wait(timeout=5)
            return x
    else:
        barrier = asyncio.Barrier(parties)

        @task
        async def meet(x: int) -> int:
            async with asyncio.timeout(5):
                await barrier.wait()
            return x

    return meet


@in_notebooks_too
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("inside", ["entrypoint", "node", "task"])
def test_tasks_run_at_the_same_time(lane: Lane, paint: Paint, kind: str, inside: str) -> None:
    meet = meeting(kind, 3)

    def fan_out(x: Any) -> Any:
        futures = [meet(i) for i in range(3)]
        results = []
        for future in futures:
            results.append((yield future))  # noqa: PERF401  # a comprehension cannot yield
        return {"value": results}

    if inside == "entrypoint":
        program: Any = entrypoint()(paint(fan_out))
    elif inside == "node":
        program = graph_of(paint(fan_out))
    else:
        outer = task(paint(fan_out))

        def start(x: Any) -> Any:
            return (yield outer(x))

        program = entrypoint()(paint(start))
    assert lane.invoke(program, {"value": 0}) == {"value": [0, 1, 2]}


class Gauge:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def enter(self, change: int = 1) -> None:
        with self.lock:
            self.now += change
            self.most = max(self.most, self.now)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_no_more_tasks_run_at_once_than_max_concurrency(lane: Lane, paint: Paint, kind: str) -> None:
    gauge, both = Gauge(), threading.Event()

    def work(x: int) -> int:
        gauge.enter()
        if gauge.now == 2:
            both.set()
        both.wait(timeout=0.1)
        gauge.enter(-1)
        return x

    async def awork(x: int) -> int:
        gauge.enter()
        for _ in range(5):
            await asyncio.sleep(0.001)
        gauge.enter(-1)
        return x

    limited = task(work if kind == "plain" else awork)

    def fan_out(n: int) -> Any:
        futures = [limited(i) for i in range(n)]
        total = 0
        for future in futures:
            total += yield future
        return total

    program = entrypoint()(paint(fan_out))
    assert within(5, lambda: lane.invoke(program, 8, {"max_concurrency": 2})) == 28
    assert gauge.most == 2


@pytest.mark.parametrize("inside", ["tasks", "graphs", "entrypoints"])
def test_one_at_a_time_never_hangs_however_the_work_is_nested(
    lane: Lane, paint: Paint, colour: Colour, thread: Any, saver: Any, inside: str
) -> None:
    work: Any = task(colour(increment), name="work")

    def pair(x: Any) -> Any:
        x = x["value"] if isinstance(x, dict) else x
        first, second = work(x), work(x + 1)
        return {"value": (yield second) + (yield first)}

    kinds: dict[str, Any] = {"tasks": task, "graphs": graph_of, "entrypoints": entrypoint()}
    unit = kinds[inside](paint(pair))

    def root(n: int) -> Any:
        calls = [unit(i) if inside == "tasks" else Child(unit, {"value": i}) for i in range(n)]
        total = 0
        for call in calls:
            total += (yield call)["value"]
        return total

    program = entrypoint(checkpointer=saver)(paint(root))
    assert within(5, lambda: lane.invoke(program, 3, {**thread, "max_concurrency": 1})) == 3 + 5 + 7


@in_notebooks_too
@pytest.mark.parametrize("kinds", [*product(["task", "entrypoint", "graph"], repeat=2)], ids="-".join)
@pytest.mark.parametrize(
    "paints", [*product(PAINTS, repeat=3)], ids=lambda paints: "".join(p.__name__[0] for p in paints)
)
def test_one_at_a_time_never_hangs_in_any_mix(lane: Lane, kinds: tuple[str, ...], paints: tuple[Paint, ...]) -> None:
    work = task(increment)

    def leaf(x: Any) -> Any:
        return [(yield work(x))]

    program = entrypoint()(paints[0](stack(kinds, paints[1:], leaf)))
    assert within(3, lambda: lane.invoke(program, 1, {"max_concurrency": 1})) == [*kinds, 2]


@pytest.mark.parametrize("limit", [1, 2])
def test_nodes_that_wait_for_tasks_at_the_same_time_never_hang(lane: Lane, limit: int) -> None:
    """Also when the thread that runs the superstep has ended its own nodes first, and only waits for the others."""
    work = task(increment)

    class State(TypedDict, total=False):
        log: Annotated[list[int], operator.add]

    graph: Any = StateGraph(State)
    for i in range(5):
        graph.add_node(f"n{i}", lambda state, i=i: {"log": [work(i).result()]}).add_edge(START, f"n{i}")
    program = graph.compile()
    for _ in range(40):
        state = within(5, lambda: lane.invoke(program, {}, {"max_concurrency": limit}))
        assert state == {"log": [1, 2, 3, 4, 5]}


@in_notebooks_too
def test_one_at_a_time_never_hangs_while_it_is_streamed(lane: Lane, paint: Paint, colour: Colour) -> None:
    work = task(colour(increment), name="work")

    def fan_out(n: int) -> Any:
        futures = [work(i) for i in range(n)]
        return (yield futures[1]) + (yield futures[0])

    program = entrypoint()(paint(fan_out))
    modes = ["updates", "custom", "tasks"]
    chunks = within(5, lambda: lane.stream(program, 2, {"max_concurrency": 1}, stream_mode=modes))
    assert [chunk for mode, chunk in chunks if mode == "updates"][-1] == {"fan_out": 3}


@pytest.mark.parametrize("limit", [0, -1, "two", 1.5])
def test_a_limit_is_a_positive_number(lane: Lane, limit: Any) -> None:
    work = task(increment)
    program = entrypoint()(lambda x: work(x).result())
    with pytest.raises(InvalidConfigError, match="max_concurrency"):
        within(3, lambda: lane.invoke(program, 1, {"max_concurrency": limit}))
