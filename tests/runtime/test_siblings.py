"""What a failure, or a signal, in one node or task means for those beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest

from tests.runtime.programs import (
    LONG,
    Boom,
    Gate,
    State,
    Switch,
    after,
    chain,
    fan,
    noted,
    recorded,
    run_to_rest,
    within,
)
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.func import entrypoint, task


@pytest.fixture
def saver() -> InMemorySaver:
    """Where a thread is kept does not matter here."""
    return InMemorySaver()


# ---------------------------------------------------------------------- signals


class Signal(BaseException):
    """Like KeyboardInterrupt, which pytest would take for its own."""


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside a sibling"])
def test_a_signal_raised_in_a_node_reaches_the_caller(lane, saver, thread, alone, colour):
    calls = Switch(on=False)

    def node(state: State) -> State:
        calls()
        if calls.calls == 1:
            raise Signal("stop")
        return {"log": ["node"]}

    build = fan(colour(node)) if alone else fan("fine", colour(node))
    graph = build.compile(saver)
    with pytest.raises(Signal, match="stop"):
        lane.invoke(graph, {"x": 1}, thread)
    state = lane.state(graph, thread)
    assert "node" in state.next
    assert state.metadata["status"] != "done"
    assert lane.invoke(graph, None, thread)["log"] == (["node"] if alone else ["fine", "node"])


def test_a_signal_raised_in_a_task_reaches_the_caller(lane, saver, thread):
    first_time = Switch()

    @task
    def work(n: int) -> int:
        if first_time.on:
            first_time.on = False
            raise Signal("stop")
        return n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        return work(n).result()

    with pytest.raises(Signal):
        lane.invoke(flow, 1, thread)
    assert lane.invoke(flow, None, thread) == 1


def test_a_keyboard_interrupt_between_supersteps_leaves_a_thread_that_can_be_continued(saver, thread):
    """The signal arrives in the engine's own code: while it stores a checkpoint."""

    class Interrupted(type(saver)):  # type: ignore[misc]
        left = 3

        def commit(self, commit: Any) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            super().commit(commit)

    saver.__class__ = Interrupted
    graph = chain("a", "b").compile(saver)
    with pytest.raises(KeyboardInterrupt):
        graph.invoke({"x": 1}, thread)
    assert (graph.get_state(thread).metadata or {})["status"] == "running"
    assert graph.invoke(None, thread)["log"] == ["a", "b"]


def test_a_run_that_was_stopped_from_outside_is_unfinished_and_not_failed(lane, saver, thread):
    """As one whose process was killed; the next run on the thread need not wait for it."""

    class Stop(BaseException):
        """Like KeyboardInterrupt, which pytest would take for its own."""

    stopped = Switch()

    def node(state: State) -> State:
        if stopped.on:
            raise Stop
        return {"log": ["node"]}

    graph = chain("a").add_node("node", node).add_edge("a", "node").compile(saver, on_conflict="wait")
    with pytest.raises(Stop):
        lane.invoke(graph, {"x": 1}, thread)
    assert lane.state(graph, thread).metadata["status"] == "running"
    assert lane.state(graph, thread).next == ("node",)
    stopped.on = False
    assert lane.invoke(graph, None, thread)["log"] == ["a", "node"]


@pytest.mark.parametrize("method", ["invoke", "stream"])
def test_ctrl_c_ends_a_run_whose_nodes_work_in_threads(lane, saver, thread, method):
    """A real SIGINT, while the caller waits for its worker threads."""
    first_time = Switch()
    entered = threading.Barrier(4)
    release = threading.Event()

    def node(state: State) -> State:
        if first_time.on:
            entered.wait(LONG)
            release.wait(0.1)
        return {"log": ["node"]}

    build = chain("a")
    for name in ("n1", "n2", "n3"):
        build.add_node(name, node).add_edge("a", name)
    graph = build.compile(saver)

    def press() -> None:
        entered.wait(LONG)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            lane.call(graph, method, {"x": 1}, {**thread, "max_concurrency": 4})
    finally:
        release.set()
        finger.join()
    first_time.on = False
    assert lane.invoke(graph, None, thread)["log"] == ["a", "node", "node", "node"]


# ---------------------------------------------------------------------- siblings of a failure


def test_async_siblings_of_a_failed_node_are_cancelled(saver, thread):
    async def main() -> None:
        gate = Gate()

        async def bad(state: State) -> State:
            await gate.arrived.wait()
            raise Boom("boom")

        build = fan(bad)
        build.add_node("gate", gate.node).add_edge("__start__", "gate")
        graph = build.compile(saver)
        with pytest.raises(Boom):
            await asyncio.wait_for(graph.ainvoke({"x": 1}, thread), LONG)
        assert (gate.cancelled, gate.passed) == (1, 0)
        assert set((await graph.aget_state(thread)).next) == {"bad", "gate"}

    run_to_rest(main)


def test_async_siblings_of_a_failed_task_are_cancelled(thread):
    async def main() -> None:
        gate = Gate()

        @task
        async def waits(n: int) -> Any:
            return await gate.node({})

        @task
        async def fails(n: int) -> None:
            await gate.arrived.wait()
            raise Boom("boom")

        @entrypoint(checkpointer=InMemorySaver())
        async def flow(n: int) -> Any:
            return await asyncio.gather(waits(1), fails(2))

        with pytest.raises(Boom):
            await asyncio.wait_for(flow.ainvoke(1, thread), LONG)
        assert gate.cancelled == 1

    run_to_rest(main)


def test_sync_siblings_of_a_failed_node_are_waited_for(lane, saver, thread):
    at_work, ended = threading.Event(), []

    def slow(state: State) -> State:
        at_work.set()
        time.sleep(0.05)
        ended.append("slow")
        return {"log": ["slow"]}

    def zbad(state: State) -> State:
        assert at_work.wait(LONG)
        raise Boom("boom")

    graph = fan(slow, zbad).compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    assert ended == ["slow"]
    state = graph.get_state(thread)
    assert (state.next, state.tasks[0].result) == (("zbad",), {"log": ["slow"]})  # its work is not lost


@pytest.mark.parametrize("how", ["gather", "group", "unseen"])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_threads_beside_a_failed_task_are_waited_for_on_an_event_loop(saver, thread, how, durability):
    at_work, ran, broken = threading.Event(), list[str](), Switch()

    @task(timeout=LONG)
    def slow(name: str) -> str:
        at_work.set()
        time.sleep(0.03)
        ran.append(name)
        return name

    @task
    async def fails() -> None:
        await asyncio.to_thread(at_work.wait)
        broken()

    @task
    async def outer() -> str:
        name = await slow("a")
        ran.append("after a")
        return name

    @entrypoint(checkpointer=saver)
    async def flow(n: int) -> Any:
        if how == "unseen":
            future = outer()
            await fails()
            return await future
        if how == "gather":
            return (await asyncio.gather(outer(), fails()))[0]
        async with asyncio.TaskGroup() as group:
            wanted, _ = [group.create_task(awaited(future)) for future in (outer(), fails())]
        return wanted.result()

    async def awaited(future: Any) -> Any:
        return await future

    async def main(input: Any) -> Any:
        return await asyncio.wait_for(flow.ainvoke(input, thread, durability=durability), LONG)

    with pytest.raises((Boom, ExceptionGroup), match=r"boom|unhandled"):
        asyncio.run(main(1))
    assert ran == ["a"]
    broken.on = False
    assert asyncio.run(main(None)) == "a"
    assert ran == ["a", "after a"]


def test_tasks_that_have_not_begun_are_given_up_when_their_caller_fails(thread):
    ran: list[int] = []
    release = threading.Event()

    @task
    def work(n: int) -> int:
        ran.append(n)
        assert release.wait(LONG)
        return n

    @entrypoint(checkpointer=InMemorySaver())
    def flow(n: int) -> int:
        for i in range(n):
            work(i)
        release.set()
        raise Boom("boom")

    with pytest.raises(Boom):
        flow.invoke(50, {"max_concurrency": 3, "configurable": thread["configurable"]})
    assert len(ran) < 50


def test_a_failure_waits_until_finished_siblings_are_on_record(lane, saver, thread):
    bad = Switch()
    graph = fan("fine", noted("zbad", after(recorded(saver), bad))).compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    bad.on = False
    assert lane.invoke(graph, None, thread)["log"] == ["fine", "zbad"]


@pytest.mark.parametrize("live", [False, True], ids=["invoke", "stream"])
def test_coroutines_beside_a_failed_node_are_cancelled_by_synchronous_callers_too(saver, thread, live):
    at_work, cancelled = threading.Event(), []

    async def slow(state: State) -> State:
        at_work.set()
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.append("slow")
            raise
        return {"log": ["slow"]}

    def zbad(state: State) -> State:
        assert at_work.wait(LONG)
        raise Boom("boom")

    graph = fan(slow, zbad).compile(saver)
    with pytest.raises(Boom) as caught:
        within(LONG / 2, lambda: graph.invoke({"x": 1}, thread, stream_mode="tasks" if live else "values"))
    assert cancelled == ["slow"]
    assert caught.value.__cause__ is None
    assert set(graph.get_state(thread).next) == {"slow", "zbad"}


def test_coroutines_beside_a_failed_task_are_cancelled_by_synchronous_callers_too(thread):
    at_work, cancelled = threading.Event(), []

    @task
    async def waits(n: int) -> None:
        at_work.set()
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.append(n)
            raise

    @task
    def fails(n: int) -> None:
        assert at_work.wait(LONG)
        raise Boom("boom")

    @entrypoint(checkpointer=InMemorySaver())
    def flow(n: int) -> Any:
        waits(1)
        return fails(2).result()

    with pytest.raises(Boom):
        within(LONG / 2, lambda: flow.invoke(1, thread))
    assert cancelled == [1]
