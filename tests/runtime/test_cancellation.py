"""Runs that are broken off: by the consumer, by cancellation, by a signal. They can be continued and leave nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.runtime.programs import (
    LONG,
    Boom,
    Gate,
    State,
    Switch,
    chain,
    fan,
    noted,
    noting,
    run_to_rest,
    within,
)
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import GraphDrained, NodeCancelledError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.runtime import RunControl, Runtime
from twinstep.types import Send


@pytest.fixture
def saver() -> InMemorySaver:
    """Where a thread is kept does not matter here."""
    return InMemorySaver()


# ---------------------------------------------------------------------- consumers that stop listening


@pytest.mark.parametrize("mode", ["updates", "values", "tasks", ["updates", "custom"]])
def test_a_stream_that_is_closed_early_stops_and_can_be_continued(saver, thread, mode):
    ran: list[str] = []
    graph = chain(*noting(ran, *"abc")).compile(saver)
    stream = graph.stream({"x": 1}, thread, stream_mode=mode)
    next(stream)
    stream.close()
    so_far = list(ran)
    assert set(so_far) < set("abc")
    state = graph.get_state(thread)
    assert state.next != ()
    assert graph.invoke(None, thread) == {"x": 1, "log": ["a", "b", "c"]}
    assert ran == ["a", "b", "c"] or (mode == "tasks" and ran == ["a", "a", "b", "c"])


def test_breaking_out_of_a_loop_closes_the_stream(saver, thread):
    ran: list[str] = []
    graph = chain(*noting(ran, *"abc")).compile(saver)
    for chunk in graph.stream({"x": 1}, thread):
        assert chunk == {"a": {"log": ["a"]}}
        break
    assert graph.invoke(None, thread)["log"] == ["a", "b", "c"]
    assert ran == ["a", "b", "c"]


def test_breaking_out_of_an_async_loop_closes_the_stream(saver, thread):
    """Python closes an abandoned asynchronous generator only later: the thread must not be busy until then."""
    ran: list[str] = []
    graph = chain(*noting(ran, *"abc")).compile(saver)

    async def main() -> Any:
        async for chunk in graph.astream({"x": 1}, thread):
            assert chunk == {"a": {"log": ["a"]}}
            break
        return await graph.ainvoke(None, thread)

    assert run_to_rest(main)["log"] == ["a", "b", "c"]
    assert ran == ["a", "b", "c"]


def test_an_async_stream_that_is_closed_cancels_what_runs(saver, thread):
    cancelled: list[str] = []
    first_time = Switch()

    async def slow(state: State) -> State:
        if first_time.on:
            first_time.on = False
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                cancelled.append("slow")
                raise
        return {"log": ["slow"]}

    def quick(state: State, runtime: Runtime) -> State:
        runtime.stream_writer("here")
        return {"log": ["quick"]}

    graph = fan(quick, slow).compile(saver)

    async def main() -> Any:
        stream = graph.astream({"x": 1}, thread, stream_mode="custom")
        assert await anext(stream) == "here"
        await stream.aclose()
        assert cancelled == ["slow"]
        return await graph.ainvoke(None, thread)

    assert run_to_rest(main)["log"] == ["quick", "slow"]


def test_a_stream_nobody_reads_does_not_start(lane, saver, thread):
    ran = Switch(on=False)
    graph = chain(noted("a", ran)).compile(saver)
    if lane.is_async:
        graph.astream({"x": 1}, thread)
    else:
        graph.stream({"x": 1}, thread)
    gc.collect()
    assert (ran.calls, lane.history(graph, thread)) == (0, [])


def test_a_closed_stream_of_an_entrypoint_keeps_its_finished_tasks(saver, thread):
    ran: list[int] = []

    @task
    def work(n: int) -> int:
        ran.append(n)
        return n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        return sum(work(i).result() for i in range(n))

    stream = flow.stream(3, thread)
    assert next(stream) == {"work": 0}
    stream.close()
    assert flow.invoke(None, thread) == 3
    assert sorted(ran) == [0, 1, 2]


def test_an_error_of_the_consumer_stops_the_run(saver, thread):
    graph = chain("a", "b").compile(saver)

    def consume() -> None:
        for _ in graph.stream({"x": 1}, thread):
            raise Boom("consumer")

    with pytest.raises(Boom, match="consumer"):
        consume()
    gc.collect()
    assert graph.invoke(None, thread)["log"] == ["a", "b"]


# ---------------------------------------------------------------------- cancelled callers


@pytest.mark.parametrize("siblings", [0, 2])
@pytest.mark.parametrize("method", ["ainvoke", "astream"])
def test_cancelling_the_caller_cancels_the_nodes_and_the_run_can_be_continued(saver, thread, siblings, method):
    async def main() -> Any:
        gates = [Gate() for _ in range(1 + siblings)]
        build = chain("a")
        for n, gate in enumerate(gates):
            build.add_node(f"gate{n}", gate.node).add_edge("a", f"gate{n}")
        graph = build.compile(saver)

        async def run() -> None:
            if method == "ainvoke":
                await graph.ainvoke({"x": 1}, thread)
            else:
                async for _ in graph.astream({"x": 1}, thread, stream_mode=["updates", "custom"]):
                    pass

        caller = asyncio.create_task(run())
        for gate in gates:
            await asyncio.wait_for(gate.arrived.wait(), LONG)
            gate.open = True
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert [gate.cancelled for gate in gates] == [1] * len(gates)
        state = await graph.aget_state(thread)
        assert (state.values["log"], len(state.next)) == (["a"], len(gates))
        assert state.metadata is not None
        assert state.metadata["status"] != "done"
        result = await graph.ainvoke(None, thread)
        assert [gate.passed for gate in gates] == [1] * len(gates)
        return result

    assert run_to_rest(main)["log"] == ["a", *["gate"] * (1 + siblings)]


def test_cancelling_reaches_tasks_and_nested_graphs(thread):
    saver = InMemorySaver()

    async def main() -> Any:
        gate = Gate()
        child = chain("c")
        child.add_node("gate", gate.node).add_edge("c", "gate")
        nested = child.compile()

        @task
        async def work(n: int) -> Any:
            return await nested.ainvoke({"x": n})

        @entrypoint(checkpointer=saver)
        async def flow(n: int) -> Any:
            return await work(n)

        caller = asyncio.create_task(flow.ainvoke(1, thread))
        await asyncio.wait_for(gate.arrived.wait(), LONG)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert gate.cancelled == 1
        gate.open = True
        return await flow.ainvoke(None, thread)

    assert run_to_rest(main) == {"x": 1, "log": ["c", "gate"]}


def test_cancelling_reaches_tasks_that_nobody_waits_for(thread):
    async def main() -> None:
        arrived, cancelled = asyncio.Event(), asyncio.Event()

        @task
        async def work() -> None:
            arrived.set()
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        @entrypoint(checkpointer=InMemorySaver())
        async def flow(n: int) -> None:
            work()
            await asyncio.sleep(LONG)

        caller = asyncio.create_task(flow.ainvoke(1, thread))
        await asyncio.wait_for(arrived.wait(), LONG)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert cancelled.is_set()

    run_to_rest(main)


def test_an_interrupted_program_cancels_the_coroutines_of_its_tasks():
    arrived, cancelled = threading.Event(), threading.Event()

    @task
    async def work() -> None:
        arrived.set()
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @entrypoint()
    def flow(n: int) -> None:
        work()
        assert arrived.wait(LONG)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow.invoke(1)
    assert cancelled.is_set()


def test_a_timeout_of_the_caller_is_a_timeout(saver, thread):
    async def main() -> None:
        gate = Gate()
        build = chain("a").add_node("gate", gate.node).add_edge("a", "gate")
        graph = build.compile(saver)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(graph.ainvoke({"x": 1}, thread), 0.05)
        assert gate.cancelled == 1
        gate.open = True
        assert (await graph.ainvoke(None, thread))["log"] == ["a", "gate"]

    run_to_rest(main)


def test_a_synchronous_node_of_a_cancelled_run_does_nothing_more(thread):
    """Its thread cannot be stopped, but the engine ignores it: it starts no task and its result goes nowhere."""
    saver = InMemorySaver()
    started, release, ended = threading.Event(), threading.Event(), threading.Event()
    effects: list[str] = []
    first_time = Switch()

    @task
    def effect(name: str) -> str:
        effects.append(name)
        return name

    def node(state: State) -> State:
        if not first_time.on:
            return {"log": [effect("second").result()]}
        first_time.on = False
        started.set()
        assert release.wait(LONG)
        try:
            effect("first").result()
        finally:
            ended.set()
        return {"log": ["first"]}

    graph = chain(node).compile(saver)

    async def main() -> Any:
        caller = asyncio.create_task(graph.ainvoke({"x": 1}, thread))
        assert await asyncio.to_thread(started.wait, LONG)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(caller, LONG)
        result = await graph.ainvoke(None, thread)
        release.set()
        assert await asyncio.to_thread(ended.wait, LONG)
        return result

    assert run_to_rest(main)["log"] == ["second"]
    assert effects == ["second"]


@pytest.mark.parametrize("timeout", [None, LONG])
def test_a_node_that_raises_cancelled_error_by_itself_is_named(lane, saver, thread, timeout):
    async def rude(state: State) -> State:
        raise asyncio.CancelledError

    graph = chain("a").add_node("rude", rude, timeout=timeout).add_edge("a", "rude").compile(saver)
    with pytest.raises(NodeCancelledError, match="'rude'"):
        lane.invoke(graph, {"x": 1}, thread)
    assert lane.state(graph, thread).next == ("rude",)
    assert isinstance(lane.state(graph, thread).tasks[0].error, NodeCancelledError)


# ---------------------------------------------------------------------- drain


@pytest.mark.parametrize("nested", [False, True], ids=["at the root", "in a nested graph"])
def test_a_drained_run_stops_at_the_next_boundary_and_goes_on(lane, saver, thread, nested):
    control = RunControl()
    seen: list[Any] = []

    def stop(state: State, runtime: Runtime) -> State:
        seen.append((runtime.control is control, runtime.drain_requested))
        if not control.drain_requested:
            thread = threading.Thread(target=control.request_drain, args=("night",))
            thread.start()
            thread.join()
        seen.append((runtime.drain_requested, runtime.drain_reason))
        return {"log": ["stop"]}

    build = chain("a", stop, "b")
    if nested:
        inner = build.compile()
        build = chain("first")
        build.add_node("inner", inner).add_edge("first", "inner")
    graph = build.compile(saver)
    with pytest.raises(GraphDrained, match="Graph drained: night") as caught:
        lane.invoke(graph, {"x": 1}, thread, control=control)
    assert caught.value.reason == "night"
    assert seen == [(True, False), (True, "night")]
    assert lane.state(graph, thread).next == (("inner",) if nested else ("b",))
    assert lane.state(graph, thread).metadata["status"] == "interrupted"
    result = lane.invoke(graph, None, thread)
    assert result["log"] == (["first"] if nested else []) + ["a", "stop", "b"]
    assert len(seen) == 2  # the finished node did not run again


def test_a_run_asked_to_drain_in_its_last_superstep_ends_normally(lane, saver, thread):
    control = RunControl()
    graph = chain(noted("a", control.request_drain)).compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread, control=control)["log"] == ["a"]


# ---------------------------------------------------------------------- nothing is left


def test_many_runs_use_the_same_few_threads():
    def workers() -> int:
        return sum(t.name.startswith("twinstep-worker") for t in threading.enumerate())

    graph, before = fan("a", "b", "c").compile(), workers()
    for _ in range(1000):
        graph.invoke({"x": 1})
    assert workers() <= before + 10


class Stuck(InMemorySaver):
    """A saver in which records wait until they are let through."""

    def __init__(self):
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()

    def commit(self, commit):
        if commit.records:
            self.reached.set()
            self.go.wait(10)
        super().commit(commit)


def test_no_further_packet_begins_while_an_outcome_is_being_stored(thread):
    begun: list[int] = []
    saver = Stuck()

    def work(n: int) -> dict[str, Any]:
        begun.append(n)
        return {"log": [str(n)]}

    graph = StateGraph(State).add_node("work", work)
    graph.add_conditional_edges(START, lambda state: [Send("work", n) for n in range(9)], ["work"])
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(lambda: graph.compile(saver).invoke({"x": 1}, thread))
        assert saver.reached.wait(10)
        time.sleep(0.05)  # a thread would be called after half a millisecond
        assert begun == [0]
        saver.go.set()
        assert result.result(10)["log"] == [str(n) for n in range(9)]


def test_finished_async_runs_leave_no_asyncio_tasks(lane, thread):
    @task
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return n

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(n: int) -> int:
        works = [work(i) for i in range(n)]
        return sum([await w for w in works])

    async def main() -> int:
        return await flow.ainvoke(20, thread)

    assert run_to_rest(main) == 190


def test_a_record_made_while_the_caller_is_cancelled_is_kept_or_absent_but_never_wrong(thread):
    """Cancel at many moments of a run of twenty tasks; a resumed run still gives the one right result."""
    for moment in range(0, 40, 2):
        saver = InMemorySaver()
        ran: list[int] = []

        @task
        async def work(n: int, ran: list[int] = ran) -> int:
            await asyncio.sleep(0)
            ran.append(n)
            return n

        @entrypoint(checkpointer=saver)
        async def flow(n: int) -> list[int]:
            return [await work(i) for i in range(n)]

        async def main() -> Any:
            caller = asyncio.create_task(flow.ainvoke(20, thread))
            for _ in range(moment):  # noqa: B023
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait([caller])
            started = (await flow.aget_state(thread)).metadata is not None
            return await flow.ainvoke(None if started else 20, thread)

        assert run_to_rest(main) == list(range(20))
        assert len(ran) <= 21


def test_a_coroutine_that_leaves_the_program_does_not_stop_the_private_loop():
    async def leave(state: State) -> State:
        raise SystemExit(3)

    async def stay(state: State) -> State:
        return {"log": ["stay"]}

    with pytest.raises(SystemExit):
        within(LONG, lambda: chain(leave).compile().invoke({"x": 1}))
    assert within(LONG, lambda: chain(stay).compile().invoke({"x": 1}))["log"] == ["stay"]
