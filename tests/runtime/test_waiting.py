"""`on_conflict="wait"`: a run begins when the one before it on the thread has ended."""

from __future__ import annotations

import asyncio
import operator
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane
from tests.runtime.kennel import Kennel, needs_processes
from tests.runtime.programs import LONG, State, chain, within
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import InvalidConfigError, ThreadConflictError
from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph
from twinstep.types import Command, interrupt


@pytest.fixture
def saver(every_saver: BaseCheckpointSaver) -> BaseCheckpointSaver:
    return every_saver


class Meeting:
    """A node that waits in the run whose `x` is 1."""

    def __init__(self) -> None:
        self.arrived, self.go_on = threading.Event(), threading.Event()

    def wait(self, state: State) -> State:
        if state.get("x") == 1:
            self.arrived.set()
            assert self.go_on.wait(LONG)
        return {"log": [state.get("x")]}


def waiting(graph: Any) -> Any:
    return graph.copy({"on_conflict": "wait", "conflict_timeout": LONG})


@pytest.mark.parametrize("how", ["compile", "call"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_run_that_waits_goes_on_from_the_new_head(lane, saver, thread, durability, how):
    meeting = Meeting()
    graph = chain(meeting.wait, "after").compile(saver, on_conflict="wait" if how == "compile" else "error")
    option = {"on_conflict": "wait"} if how == "call" else {}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(graph.invoke, {"x": 1}, thread, durability=durability)
        assert meeting.arrived.wait(LONG)
        second = pool.submit(lane.invoke, graph, {"x": 2}, thread, durability=durability, **option)
        assert not second.done()
        meeting.go_on.set()
        assert first.result(LONG) == {"x": 1, "log": [1, "after"]}
        assert second.result(LONG) == {"x": 2, "log": [1, "after", 2, "after"]}


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_it_waits_for_the_run_of_another_saver(lane, tmp_path, thread, durability):
    """Two savers stand for two processes: neither knows of the other's runs."""
    path = tmp_path / "threads.sqlite"
    meeting = Meeting()
    with SqliteSaver(path) as one, SqliteSaver(path) as two, ThreadPoolExecutor(2) as pool:
        graph = chain(meeting.wait, "after").compile(one)
        first = pool.submit(graph.invoke, {"x": 1}, thread, durability=durability)
        assert meeting.arrived.wait(LONG)
        other = waiting(graph.copy({"checkpointer": two}))
        second = pool.submit(lane.invoke, other, {"x": 2}, thread, durability=durability)
        time.sleep(0.05)
        assert not second.done()
        meeting.go_on.set()
        assert first.result(LONG) == {"x": 1, "log": [1, "after"]}
        assert second.result(LONG) == {"x": 2, "log": [1, "after", 2, "after"]}


def test_an_event_loop_is_not_blocked_by_a_run_that_waits(thread):
    arrived, go_on, order = asyncio.Event(), asyncio.Event(), list[str]()

    async def node(state: State) -> State:
        arrived.set()
        await go_on.wait()
        return {"log": [state.get("x")]}

    graph = waiting(chain(node).compile(InMemorySaver()))

    async def main() -> None:
        first = asyncio.create_task(graph.ainvoke({"x": 1}, thread))
        await arrived.wait()
        second = asyncio.create_task(graph.ainvoke({"x": 2}, thread))
        for _ in range(5):
            await asyncio.sleep(0.002)
            order.append("tick")
        go_on.set()
        assert (await first)["log"] == [1]
        assert (await second)["log"] == [1, 2]

    asyncio.run(asyncio.wait_for(main(), LONG))
    assert order == ["tick"] * 5


@pytest.mark.parametrize("savers", ["one saver", "two savers"])
def test_of_many_runs_that_wait_none_is_lost(tmp_path, thread, savers):  # W24
    path = tmp_path / "threads.sqlite"
    with SqliteSaver(path) as one, SqliteSaver(path) as two, ThreadPoolExecutor(6) as pool:
        graph = waiting(chain("after").compile(one))
        graphs = [graph, graph if savers == "one saver" else graph.copy({"checkpointer": two})]
        start = threading.Barrier(6)

        def run(n: int) -> None:
            start.wait(LONG)
            graphs[n % 2].invoke({"log": [n]}, thread)

        list(pool.map(run, range(6)))
        log = graph.get_state(thread).values["log"]
    assert sorted(item for item in log if item != "after") == list(range(6))
    assert len(log) == 12


def test_a_run_of_this_process_that_stores_nothing_for_too_long_is_a_conflict(lane, saver, thread):
    meeting = Meeting()
    graph = chain(meeting.wait).compile(saver, on_conflict="wait", conflict_timeout=0.02)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(graph.invoke, {"x": 1}, thread)
        assert meeting.arrived.wait(LONG)
        with pytest.raises(ThreadConflictError, match="busy"):
            lane.invoke(graph, {"x": 2}, thread)
        meeting.go_on.set()
        assert first.result(LONG)["log"] == [1]


def test_a_stream_that_was_closed_early_keeps_nobody_waiting(lane, saver, thread):
    graph = waiting(chain("a", "b").compile(saver))
    stream = graph.stream({"x": 1}, thread)
    next(stream)
    stream.close()
    assert lane.state(graph, thread).metadata["status"] == "running"
    assert lane.invoke(graph, None, thread)["log"] == ["a", "b"]


def test_the_run_before_may_have_failed_or_stopped(lane, saver, thread):
    def node(state: State) -> State:
        return {"log": [interrupt("?", key="q") if state["x"] == 1 else 1 // state["x"]]}

    graph = waiting(chain(node).compile(saver))
    assert "__interrupt__" in lane.invoke(graph, {"x": 1}, thread)
    with pytest.raises(ZeroDivisionError):
        lane.invoke(graph, {"x": 0}, thread)
    assert lane.invoke(graph, {"x": 2}, thread)["log"] == [0]


def asking(saver: Any, hold: Callable[[], object], paid: list[Any]) -> Any:
    @entrypoint(checkpointer=saver, on_conflict="wait", conflict_timeout=LONG)
    def flow(x: int) -> list[Any]:
        first = interrupt("first?")
        hold()
        paid.append(first)
        return [first, interrupt("second?")]

    return flow


@pytest.mark.parametrize("named", [True, False])
def test_an_answer_that_waited_never_reaches_another_question(lane, saver, thread, named):  # W29
    arrived, go_on, paid = threading.Event(), threading.Event(), list[Any]()

    def hold() -> None:
        arrived.set()
        go_on.wait(LONG)

    flow = asking(saver, hold, paid)
    question = lane.invoke(flow, 1, thread)["__interrupt__"][0]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flow.invoke, Command(resume="yes"), thread)
        assert arrived.wait(LONG)
        answer = {question.id: "too late"} if named else "too late"
        second = pool.submit(lane.invoke, flow, Command(resume=answer), thread)
        if not named:
            with pytest.raises(ThreadConflictError, match="busy"):
                second.result(LONG)
        go_on.set()
        assert first.result(LONG)["__interrupt__"][0].value == "second?"
        if named:
            with pytest.raises(ValueError, match="No question with id"):
                second.result(LONG)
    assert paid == ["yes"]
    assert lane.state(flow, thread).interrupts[0].value == "second?"
    assert lane.state(flow, thread).metadata["status"] == "interrupted"


def test_unknown_policies_are_refused(lane, saver, thread):
    unknown: Any = "wiat"
    with pytest.raises(InvalidConfigError, match="Did you mean 'wait'"):
        chain("a").compile(saver, on_conflict=unknown)
    with pytest.raises(InvalidConfigError, match="Did you mean 'wait'"):
        lane.invoke(chain("a").compile(saver), {"x": 1}, thread, on_conflict=unknown)


# ---------------------------------------------------------------------- processes


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


@needs_processes
def test_processes_wait_for_each_other(tmp_path: Path):
    path = tmp_path / "threads.sqlite"
    with Kennel("append_in_turn") as kennel:
        dogs = [kennel.start(path=str(path), name=f"{n}", pause=0.01) for n in range(3)]
        assert {dog.said() for dog in dogs} == {"done"}
    with SqliteSaver(path) as saver:
        graph = StateGraph(Log).add_node("a", lambda s: {}).add_edge(START, "a").compile(saver)
        log = graph.get_state({"configurable": {"thread_id": "1"}}).values["log"]
    pairs = [log[n : n + 2] for n in range(0, len(log), 2)]
    assert sorted(pairs) == [[f"{n} in", f"{n} out"] for n in range(3)]


def stepping(saver: Any, **options: Any) -> Any:
    graph = StateGraph(Log).add_node("step", lambda s: {"log": ["out"]}).add_edge(START, "step")
    return graph.compile(saver, on_conflict="wait", **options)


@needs_processes
@pytest.mark.parametrize("limit", [1000 * LONG, None])
def test_a_killed_process_is_not_waited_for(lane: Lane, tmp_path: Path, thread: Any, limit: float | None):
    path = tmp_path / "threads.sqlite"
    with Kennel("append_in_turn") as kennel:
        dog = kennel.start(path=str(path), name="killed", pause=LONG)
        dog.wait_for(Path(f"{path}.killed"))
        assert dog.kill()
    with SqliteSaver(path) as saver:
        graph = stepping(saver, conflict_timeout=limit)
        result = within(LONG, lambda: lane.invoke(graph, {"log": ["in"]}, thread))
    assert result["log"] == ["killed in", "in", "out"]


@needs_processes
def test_a_process_that_lives_is_waited_for_without_limit_and_never_overtaken(lane: Lane, tmp_path: Path, thread: Any):
    path = tmp_path / "threads.sqlite"
    with Kennel("append_in_turn") as kennel, SqliteSaver(path) as saver:
        dog = kennel.start(path=str(path), name="slow", pause=0.3)
        dog.wait_for(Path(f"{path}.slow"))
        with pytest.raises(ThreadConflictError, match="busy"):
            lane.invoke(stepping(saver, conflict_timeout=0.03), {"log": ["in"]}, thread)
        result = lane.invoke(stepping(saver, conflict_timeout=None), {"log": ["in"]}, thread)
        assert dog.said() == "done"
    assert result["log"] == ["slow in", "slow out", "in", "out"]


@contextmanager
def at_work(database: str, thread: Any) -> Iterator[tuple[Meeting, Future[Any], PostgresSaver]]:
    """A run that waits for a meeting, its result, and another saver; two savers stand for two processes."""
    meeting = Meeting()
    with PostgresSaver(database) as one, PostgresSaver(database) as two, ThreadPoolExecutor(1) as pool:
        one.delete_thread("1")
        first = pool.submit(chain(meeting.wait).compile(one).invoke, {"x": 1}, thread)
        assert meeting.arrived.wait(LONG)
        yield meeting, first, two


def test_where_the_life_of_a_run_is_not_known_there_is_a_limit(postgres_database: str, lane: Lane, thread: Any):
    with at_work(postgres_database, thread) as (meeting, first, two):
        graph = chain("after").compile(two, on_conflict="wait", conflict_timeout=None)
        with pytest.raises(InvalidConfigError, match="PostgresSaver cannot tell"):
            lane.invoke(graph, {"x": 2}, thread)
        meeting.go_on.set()
        assert first.result(LONG)["log"] == [1]
        assert lane.invoke(graph, {"x": 2}, thread)["log"] == [1, "after"]


def test_a_run_whose_process_may_be_dead_is_overtaken_after_the_limit(postgres_database: str, lane: Lane, thread: Any):
    with at_work(postgres_database, thread) as (meeting, first, two):
        graph = chain("after").compile(two, on_conflict="wait", conflict_timeout=0.03)
        assert lane.invoke(graph, {"x": 2}, thread)["log"] == ["after"]
        meeting.go_on.set()
        with pytest.raises(ThreadConflictError):
            first.result(LONG)
