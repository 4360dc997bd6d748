"""Small graphs that the runtime tests share, and short ways to look at threads."""

from __future__ import annotations

import asyncio
import operator
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Annotated, Any, TypedDict

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.graph import START, StateGraph
from twinstep.threads import THREADS
from twinstep.types import StateSnapshot

Node = Callable[..., Any]
Config = Any
"""A run's config; tests take it apart freely."""


LONG = 10.0
"""Seconds after which a test gives up waiting."""


class State(TypedDict, total=False):
    """The state of nearly every graph in these tests: one plain key, one that grows."""

    x: int
    log: Annotated[list[Any], operator.add]


class Boom(ValueError):
    """What a failing node raises."""


class Switch:
    """Fails as long as it is on; counts its calls."""

    def __init__(self, on: bool = True) -> None:
        self.on, self.calls = on, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.on:
            raise Boom("boom")


def noting(ran: list[str], *names: str) -> list[Node]:
    """Return nodes that note themselves in the log, and in a list that nothing takes back."""
    return [noted(name, partial(ran.append, name)) for name in names]


def recorded(saver: BaseCheckpointSaver, count: int = 1, thread: str = "1") -> Callable[[], None]:
    """Return a function that waits until so many outcomes of a thread's open superstep are on record."""

    def wait() -> None:
        deadline = time.monotonic() + LONG
        while len(saver.load(thread, "").records) < count:
            assert time.monotonic() < deadline, "the outcome was not put on record"
            time.sleep(0.001)

    return wait


def after(wait: Callable[[], Any], act: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that does one thing after the other."""
    return lambda: (wait(), act())


def noted(name: str, act: Callable[[], Any] | None = None) -> Node:
    """Return a node that calls `act` and appends its own name to the log."""

    def node(state: State) -> State:
        if act is not None:
            act()
        return {"log": [name]}

    node.__name__ = name
    return node


def _add(graph: StateGraph, node: str | Node) -> str:
    action = noted(node) if isinstance(node, str) else node
    name = node if isinstance(node, str) else node.__name__
    graph.add_node(name, action)
    return name


def chain(*nodes: str | Node) -> StateGraph:
    """Return a graph of nodes that run one after the other; a name stands for a node that notes itself."""
    graph = StateGraph(State)
    before = START
    for node in nodes:
        name = _add(graph, node)
        graph.add_edge(before, name)
        before = name
    return graph


def fan(*nodes: str | Node, then: str | None = None) -> StateGraph:
    """Return a graph of nodes that run in parallel, and one after all of them."""
    graph = StateGraph(State)
    names = [_add(graph, node) for node in nodes]
    for name in names:
        graph.add_edge(START, name)
    if then is not None:
        graph.add_edge(names, _add(graph, then))
    return graph


def within(seconds: float, act: Callable[[], Any]) -> Any:
    """Do something in a thread and return its result; fail if it hangs."""
    outcome: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work() -> None:
        try:
            outcome.put((True, act()))
        except BaseException as error:
            outcome.put((False, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        ok, value = outcome.get(timeout=seconds)
    except Empty:
        raise AssertionError(f"it hangs: no end after {seconds} seconds") from None
    if ok:
        return value
    raise value


def let_workers_rest() -> None:
    """Wait until the engine's threads have found out that there is nothing left to do; fail if they do not."""
    deadline = time.monotonic() + LONG
    while THREADS._open or THREADS._idle < sum(t.name.startswith("twinstep-worker") for t in threading.enumerate()):
        assert time.monotonic() < deadline, "worker threads do not come to rest"
        time.sleep(0.002)


class Gate:
    """A node that signals its arrival and waits until it is cancelled; later calls pass."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.cancelled = self.passed = 0
        self.open = False

    async def node(self, state: State) -> State:
        if not self.open:
            self.arrived.set()
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        self.passed += 1
        return {"log": ["gate"]}


def run_to_rest(main: Callable[[], Any]) -> Any:
    """Run a coroutine function and check that it leaves no asyncio task behind."""

    async def wrapper() -> Any:
        result = await main()
        for _ in range(20):  # let what was cancelled end
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                return result
            await asyncio.sleep(0.005)
        raise AssertionError(f"asyncio tasks were left behind: {left}")

    return asyncio.run(wrapper())


def at(thread: Config, **more: Any) -> Config:
    """Return a thread's config with more in its `configurable`."""
    return {**thread, "configurable": {**thread["configurable"], **more}}


def shape(history: Iterable[StateSnapshot]) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return source, step and what is due of each checkpoint, newest first."""
    return [(s.metadata["source"], s.metadata["step"], s.next) for s in history if s.metadata]


def checkpoint_id(snapshot: StateSnapshot) -> str:
    """Return a snapshot's id."""
    return snapshot.config["configurable"]["checkpoint_id"]
