"""Streams are live: what a node tells reaches the consumer while the node is still running, in both lanes.

Every test has a node that goes on only when the consumer has seen a certain chunk; a stream that holds chunks back
makes it give up after a second, and says so in its update.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing, closing
from typing import Any

import pytest

from tests.conftest import Lane, in_notebooks_too
from tests.graph.kit import build, letters, row, says, side_by_side
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.func import task
from twinstep.graph import START
from twinstep.types import RetryPolicy, Send

PATIENCE = 1.0

Node = Callable[..., Any]


class Consumer:
    """Reads a stream and opens the gate as soon as it sees a chunk with a certain word in it."""

    def __init__(self, word: str) -> None:
        self.word, self.gate, self.chunks = word, threading.Event(), list[Any]()

    def take(self, chunk: Any) -> None:
        self.chunks.append(chunk)
        if self.word in repr(chunk):
            self.gate.set()

    def read(self, lane: Lane, graph: Any, *args: Any, **options: Any) -> list[Any]:
        lane.consume(self.take, graph, *args, **options)
        return self.chunks

    def waits(self, *said: Any) -> Node:
        """Return a node that says something and waits until it was heard."""

        def node(state: Any, writer: Any) -> dict[str, Any]:
            for word in said:
                writer(word)
            return {"log": ["live" if self.gate.wait(PATIENCE) else "held back"]}

        return node

    def awaits(self, *said: Any) -> Node:
        """Return a coroutine node that does the same."""

        async def node(state: Any, writer: Any) -> dict[str, Any]:
            for word in said:
                writer(word)
            for _ in range(int(PATIENCE / 0.005)):
                if self.gate.is_set():
                    return {"log": ["live"]}
                await asyncio.sleep(0.005)
            return {"log": ["held back"]}

        return node

    @property
    def verdict(self) -> str:
        return "held back" if "held back" in repr(self.chunks) else "live" if "live" in repr(self.chunks) else "?"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("kind", ["waits", "awaits"])
@pytest.mark.parametrize("others", ["", "m"], ids=["alone", "with a sibling"])
def test_custom_values_arrive_while_their_node_runs(
    kind: str, others: str, saved: bool, lane: Lane, thread: dict[str, Any]
) -> None:
    consumer = Consumer("heard")
    graph = side_by_side({**letters(others), "n": getattr(consumer, kind)("heard")})
    compiled = graph.compile(InMemorySaver() if saved else None)
    consumer.read(lane, compiled, {}, thread, stream_mode=["custom", "updates"])
    assert consumer.verdict == "live"


@pytest.mark.parametrize("mode", ["tasks", "debug"])
def test_the_start_of_a_task_arrives_while_it_runs(mode: str, lane: Lane) -> None:
    consumer = Consumer("branch:to:n")
    consumer.read(lane, row({"n": consumer.waits()}).compile(), {}, stream_mode=mode)
    assert consumer.verdict == "live"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("mode", ["updates", "tasks", ["updates", "values"]])
@pytest.mark.parametrize("kind", ["waits", "awaits"])
@in_notebooks_too
def test_the_update_of_a_finished_node_arrives_while_its_sibling_runs(
    kind: str, mode: Any, saved: bool, lane: Lane, thread: dict[str, Any]
) -> None:
    consumer = Consumer("'log': ['fast']")
    graph = side_by_side({"fast": says("fast"), "slow": getattr(consumer, kind)()})
    consumer.read(lane, graph.compile(InMemorySaver() if saved else None), {}, thread, stream_mode=mode)
    assert consumer.verdict == "live"


def test_updates_of_packets_arrive_one_by_one(lane: Lane) -> None:
    consumer = Consumer("'log': [2]")

    def work(i: int) -> dict[str, Any]:
        if i == 0:
            return {"log": ["live" if consumer.gate.wait(PATIENCE) else "held back"]}
        return {"log": [i]}

    graph = build({"w": work}, []).add_conditional_edges(START, lambda s: [Send("w", i) for i in range(3)], ["w"])
    chunks = consumer.read(lane, graph.compile(), {})
    assert consumer.verdict == "live"
    assert chunks[-1] == {"w": {"log": ["live"]}}


def test_a_superstep_is_shown_before_the_next_one_runs(lane: Lane) -> None:
    for mode in ("updates", "values"):
        consumer = Consumer("'log': ['a']")
        consumer.read(lane, row({**letters("a"), "n": consumer.waits()}).compile(), {}, stream_mode=mode)
        assert consumer.verdict == "live", mode


@pytest.mark.parametrize("how", ["node", "call", "async call"])
def test_what_happens_in_a_nested_graph_arrives_while_it_runs(how: str, lane: Lane) -> None:
    consumer = Consumer("'log': ['k']")
    inner = row({**letters("k"), "n": consumer.waits()}).compile()

    def call(state: Any) -> Any:
        return inner.invoke({})

    async def async_call(state: Any) -> Any:
        return await inner.ainvoke({})

    node = {"node": inner, "call": call, "async call": async_call}[how]
    consumer.read(lane, row({"sub": node}).compile(), {}, subgraphs=True)
    assert consumer.verdict == "live"


@pytest.mark.parametrize("subgraphs", [False, True])
def test_custom_values_of_a_nested_graph_arrive_while_it_runs(subgraphs: bool, lane: Lane) -> None:
    consumer = Consumer("heard")
    graph = row({"sub": row({"n": consumer.waits("heard")}).compile()}).compile()
    consumer.read(lane, graph, {}, subgraphs=subgraphs, stream_mode=["custom", "updates"])
    assert consumer.verdict == "live"


def test_custom_values_of_a_task_arrive_while_it_runs(lane: Lane) -> None:
    consumer = Consumer("heard")
    waits = task(consumer.waits("heard"))

    def node(state: Any) -> Any:
        return waits(state).result()

    consumer.read(lane, row({"n": node}).compile(), {}, stream_mode=["custom", "updates"])
    assert consumer.verdict == "live"


def test_custom_values_of_a_failed_attempt_arrive_before_the_next_one(lane: Lane) -> None:
    consumer = Consumer("attempt 1")

    def node(state: Any, writer: Any, runtime: Any) -> dict[str, Any]:
        attempt = runtime.execution_info.node_attempt
        writer(f"attempt {attempt}")
        if attempt == 1:
            raise ConnectionError
        return {"log": ["live" if consumer.gate.wait(PATIENCE) else "held back"]}

    policy = RetryPolicy(initial_interval=0, jitter=False)
    consumer.read(lane, row({"n": (node, {"retry_policy": policy})}).compile(), {}, stream_mode=["custom", "updates"])
    assert consumer.verdict == "live"


def test_a_graph_streamed_inside_a_node_is_live_there_too(lane: Lane) -> None:
    consumer = Consumer("heard")
    inner = row({"n": consumer.waits("heard")}).compile()

    def node(state: Any) -> dict[str, Any]:
        for chunk in inner.stream({}, stream_mode=["custom", "updates"]):
            consumer.take(chunk)
        return {}

    async def async_node(state: Any) -> dict[str, Any]:
        async for chunk in inner.astream({}, stream_mode=["custom", "updates"]):
            consumer.take(chunk)
        return {}

    lane.invoke(row({"sub": async_node if lane.is_async else node}).compile(), {})
    assert consumer.verdict == "live"


def test_nothing_runs_before_a_stream_is_read(lane: Lane) -> None:
    ran: list[str] = []
    graph: Any = row({"n": lambda s: ran.append("n")}).compile()
    stream = graph.astream({}) if lane.is_async else graph.stream({})
    assert ran == []
    if lane.is_async:
        asyncio.run(stream.aclose())
    else:
        stream.close()
    assert ran == []


@pytest.mark.parametrize("mode", ["updates", "custom"])
def test_a_stream_that_is_closed_early_runs_no_further_superstep(mode: str, lane: Lane) -> None:
    ran: list[str] = []

    def node(name: str) -> Node:
        def run(state: Any, writer: Any) -> dict[str, Any]:
            ran.append(name)
            writer(name)
            return {"log": [name]}

        return run

    graph: Any = row({name: node(name) for name in "abc"}).compile()
    if lane.is_async:

        async def main() -> None:
            async with aclosing(graph.astream({}, stream_mode=mode)) as chunks:
                async for _ in chunks:
                    break

        asyncio.run(main())
    else:
        with closing(graph.stream({}, stream_mode=mode)) as chunks:
            next(chunks)
    assert ran == ["a"]
