"""Cases of tasks and of nesting: a call, a replayed call, graphs and entrypoints inside each other."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scripts.benchmarks.case import Row, Side, Timed
from scripts.benchmarks.cases_graph import STEPS, bare_loop, bump, chain_graph, limited, loop_graph

CALLS = 500


def increased(x: int) -> int:
    """Do next to nothing: the task of most cases."""
    return x + 1


async def aincreased(x: int) -> int:
    """Do the same as a coroutine."""
    return x + 1


# ---------------------------------------------------------------------- tasks


def task_sync(side: Side) -> Timed:
    func = side.module("func")
    task = func.task(increased)

    @func.entrypoint()  # type: ignore[untyped-decorator]
    def program(x: int) -> int:
        for _ in range(CALLS):
            x = task(x).result()
        return x

    return Timed(lambda: program.invoke(0), CALLS)


def task_async(side: Side) -> Timed:
    func = side.module("func")
    task = func.task(aincreased)

    @func.entrypoint()  # type: ignore[untyped-decorator]
    async def program(x: int) -> int:
        for _ in range(CALLS):
            x = await task(x)
        return x

    return Timed(lambda: program.ainvoke(0), CALLS)


def bare_task_sync(side: Side) -> Timed:
    pool = ThreadPoolExecutor(4)

    def run() -> None:
        x = 0
        for _ in range(CALLS):
            x = pool.submit(increased, x).result()

    return Timed(run, CALLS)


def bare_task_async(side: Side) -> Timed:
    async def run() -> None:
        x = 0
        for _ in range(CALLS):
            x = await asyncio.create_task(aincreased(x))

    return Timed(run, CALLS)


def replay(side: Side) -> Timed:
    """Continue an entrypoint that has recorded its tasks and then fails: each attempt only replays them."""
    func = side.module("func")
    task = func.task(increased)

    @func.entrypoint(side.memory())  # type: ignore[untyped-decorator]
    def program(x: int) -> int:
        for _ in range(x):
            task(x).result()
        raise LookupError

    def attempt(input: int | None, thread: str) -> None:
        try:
            program.invoke(input, {"configurable": {"thread_id": thread}})
        except LookupError:
            return
        raise AssertionError("the entrypoint came to its end")

    attempt(CALLS, "many")
    attempt(0, "none")
    return Timed(lambda: attempt(None, "many"), CALLS, without=lambda: attempt(None, "none"))


def bare_replay(side: Side) -> Timed:
    record = {(increased.__name__, i): i for i in range(CALLS)}

    def run() -> None:
        for i in range(CALLS):
            assert record[increased.__name__, i] == i

    return Timed(run, CALLS)


# ---------------------------------------------------------------------- nesting


def subgraph(side: Side) -> Timed:
    """Run a compiled graph as the node of a loop."""
    graph = loop_graph(side, chain_graph(side, 1))
    return Timed(lambda: graph.invoke({"x": 0}, limited(STEPS)), STEPS)


def entrypoint_calls_graph(side: Side) -> Timed:
    graph = chain_graph(side, 1)

    @side.module("func").entrypoint()  # type: ignore[untyped-decorator]
    def program(calls: int) -> None:
        for _ in range(calls):
            graph.invoke({"x": 0})

    return Timed(lambda: program.invoke(CALLS), CALLS)


def graph_calls_entrypoint(side: Side) -> Timed:
    @side.module("func").entrypoint()  # type: ignore[untyped-decorator]
    def program(state: Any) -> Any:
        return bump(state)

    graph = loop_graph(side, lambda state: program.invoke(state))
    return Timed(lambda: graph.invoke({"x": 0}, limited(STEPS)), STEPS)


ROWS = [
    Row("task().result(), one after the other", task_sync, bare_task_sync, bar=20, reference=855),
    Row("await task(), one after the other", task_async, bare_task_async, bar=25, reference=500),
    Row("replay of one recorded task", replay, bare_replay, bar=6, reference=300),
    Row("subgraph call", subgraph, bare_loop, bar=100, reference=1440),
    Row("entrypoint calls graph", entrypoint_calls_graph, bare_loop, bar=100, reference=1170),
    Row("graph node calls entrypoint", graph_calls_entrypoint, bare_loop, bar=100, reference=3060),
]
