"""A run keeps nothing alive once it is over."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict

import pytest

from tests.runtime.programs import Boom, Config, chain, fan, let_workers_rest, noted
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.threads import THREADS
from twinstep.types import interrupt

FEW = 20
"""Objects of one kind that caches and idle threads may keep."""
ROWS = {"CheckpointRow", "RecordRow", "_Space", "_Thread", "Head", "Stand", "Tail"}
"""What an in-memory saver rightly keeps, and how threads stand with their last rows, which one on a database remembers
of 256."""


def left_by(work: Callable[[], object]) -> Counter[str]:
    """Do something and count what it leaves: the engine's objects, and what may hold on to a run."""
    gc.collect()
    gc.freeze()  # what is there already is neither looked at nor counted
    work()
    let_workers_rest()
    gc.collect()
    kinds = Counter(
        type(o).__name__
        for o in gc.get_objects()
        if str(type(o).__module__).startswith(("twinstep.", "asyncio", "_asyncio", "concurrent"))
        or type(o).__name__ in ("frame", "generator", "coroutine", "traceback", "Context", "function")
    )
    return Counter({kind: n for kind, n in kinds.items() if kind not in ROWS and n > FEW})


def repeat(work: Callable[[int], object], times: int) -> None:
    """Do something again and again."""
    for n in range(times):
        work(n)


def works(saver: Any) -> dict[str, Callable[[int], Any]]:
    """Return what is repeated, by name."""

    @task
    def double(n: int) -> int:
        return 2 * n

    @task
    async def adouble(n: int) -> int:
        return 2 * n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        return sum(f.result() for f in [double(n), double(n + 1)])

    @entrypoint(checkpointer=saver)
    async def aflow(n: int) -> int:
        return sum(await asyncio.gather(adouble(n), adouble(n + 1)))

    def fail() -> None:
        raise Boom("boom")

    @entrypoint(checkpointer=InMemorySaver())
    def ask(n: int) -> Any:
        return interrupt("?")

    graph, parallel = chain("a", "b").compile(saver), fan("a", "b", then="c").compile(saver)
    failing = fan("fine", noted("zbad", fail)).compile(saver)
    outer = chain("a")
    outer.add_node("inner", graph).add_edge("a", "inner")
    nested = outer.compile(saver)

    def config(n: int) -> Config:
        return {"configurable": {"thread_id": str(n % 50)}}

    def fails(n: int) -> None:
        with pytest.raises(Boom):
            failing.invoke({"x": n}, config(n))

    def abandoned(n: int) -> None:
        next(iter(parallel.stream({"x": n}, config(n))))

    return {
        "graph": lambda n: graph.invoke({"x": n}, config(n)),
        "parallel nodes": lambda n: parallel.invoke({"x": n}, config(n)),
        "nested graph": lambda n: nested.invoke({"x": n}, config(n)),
        "entrypoint": lambda n: flow.invoke(n, config(n)),
        "coroutines": lambda n: asyncio.run(aflow.ainvoke(n, config(n))),
        "stream": lambda n: list(graph.stream({"x": n}, config(n), stream_mode=["values", "tasks"])),
        "abandoned stream": abandoned,
        "failure": fails,
        "question": lambda n: ask.invoke(n, config(n)),
    }


@pytest.mark.parametrize("kept", ["nothing", "memory"])
@pytest.mark.parametrize("what", works(None))
def test_finished_runs_leave_no_objects(what, kept):
    work = works(InMemorySaver() if kept == "memory" else None)[what]
    repeat(work, 60)
    assert left_by(partial(repeat, work, 100)) == {}


@pytest.mark.parametrize("what", [what for what in works(None) if what != "coroutines"])
def test_runs_leave_nothing_to_the_garbage_collector(what):
    work = works(InMemorySaver())[what]
    repeat(work, 5)
    let_workers_rest()
    gc.collect()
    gc.disable()
    try:
        repeat(work, 20)
        assert gc.collect() < 20
    finally:
        gc.enable()


@pytest.mark.parametrize("kept", ["nothing", "memory", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_two_thousand_runs_leave_no_objects(kept, tmp_path):
    saver: dict[str, Any] = {"nothing": None, "memory": InMemorySaver(), "sqlite": SqliteSaver(tmp_path / "t.sqlite")}
    graph = chain("a").compile(saver[kept])

    def run(first: int, last: int) -> None:
        for n in range(first, last):
            graph.invoke({"x": n}, {"configurable": {"thread_id": str(n)}})

    run(0, 200)
    assert left_by(lambda: run(200, 2200)) == {}
    saver["sqlite"].close()


class Payload:
    """Something large that a caller passes through a run."""


class Carry(TypedDict, total=False):
    payload: Any


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "tasks", "failure"])
def test_values_are_released_with_the_run(way):
    """Without a collection: no cycle may hold on to a run, or memory grows until the collector comes round."""

    def node(state: Carry) -> Carry:
        if way == "failure":
            raise Boom("boom")
        return {"payload": state["payload"]}

    graph = StateGraph(Carry).add_node("n", node).add_edge(START, "n").compile()

    @task
    def hand_on(payload: Any) -> Any:
        return payload

    @entrypoint()
    def flow(payload: Any) -> None:
        hand_on(payload).result()

    async def consume(payload: Any) -> None:
        async for _ in graph.astream({"payload": payload}):
            pass

    payload = Payload()
    seen = weakref.ref(payload)
    match way:
        case "invoke":
            graph.invoke({"payload": payload})
        case "ainvoke":
            asyncio.run(graph.ainvoke({"payload": payload}))
        case "stream":
            list(graph.stream({"payload": payload}))
        case "astream":
            asyncio.run(consume(payload))
        case "tasks":
            flow.invoke(payload)
        case "failure":
            with pytest.raises(Boom):
                graph.invoke({"payload": payload})
    del payload
    let_workers_rest()  # a thread that is just ending may hold it
    assert seen() is None


def test_a_new_thread_forgets_its_first_job():
    """Worker threads stay for a while: none may keep what it has worked on."""
    release, ended = threading.Event(), threading.Event()

    def occupy() -> None:
        THREADS.busy()
        release.wait(10)

    let_workers_rest()
    for _ in range(THREADS._idle):  # so that the job below gets a thread of its own
        THREADS.start(occupy)
    payload = Payload()
    seen = weakref.ref(payload)
    THREADS.start(partial(lambda payload: ended.set(), payload))
    assert ended.wait(10)
    release.set()
    del payload
    let_workers_rest()
    assert seen() is None
