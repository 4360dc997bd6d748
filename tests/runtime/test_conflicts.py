"""Two runs on one thread: one goes on, the other is told; nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.jobs import approval
from tests.runtime.kennel import Kennel, needs_processes
from tests.runtime.programs import LONG, State, chain, noted
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import ThreadConflictError
from twinstep.func import entrypoint, task
from twinstep.types import Command


@pytest.fixture
def saver(every_saver):
    return every_saver


def meeting(saver: Any) -> tuple[Any, threading.Event, threading.Event]:
    """Return a graph whose first node waits, an event it sets when it is there, and one that lets it go on."""
    arrived, go_on = threading.Event(), threading.Event()

    def wait(state: State) -> State:
        if state.get("x") == 1:
            arrived.set()
            assert go_on.wait(LONG)
        return {"log": [state.get("x")]}

    return chain(wait, "after").compile(saver), arrived, go_on


def test_a_second_run_is_refused_while_the_first_works(lane, saver, thread):
    graph, arrived, go_on = meeting(saver)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(graph.invoke, {"x": 1}, thread)
        assert arrived.wait(LONG)
        with pytest.raises(ThreadConflictError) as caught:
            lane.invoke(graph, {"x": 2}, thread)
        running = lane.state(graph, thread)
        go_on.set()
        assert first.result(LONG)["log"] == [1, "after"]
    error = caught.value
    assert (error.thread_id, error.theirs) == ("1", running.metadata["run_id"])
    assert error.ours not in (None, error.theirs)
    assert all(id in str(error) for id in (error.ours or "?", error.theirs or "?", "'1'"))
    assert lane.state(graph, thread).values == {"x": 1, "log": [1, "after"]}
    assert lane.invoke(graph, {"x": 2}, thread)["log"] == [1, "after", 2, "after"]


ACTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "invoke": lambda lane, graph, thread: lane.invoke(graph, {"x": 2}, thread),
    "continue": lambda lane, graph, thread: lane.invoke(graph, None, thread),
    "command": lambda lane, graph, thread: lane.invoke(graph, Command(update={"x": 2}), thread),
    "stream": lambda lane, graph, thread: lane.stream(graph, {"x": 2}, thread),
    "update": lambda lane, graph, thread: lane.update(graph, thread, {"x": 2}, "wait"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_whatever_would_write_to_a_busy_thread_is_refused(lane, thread, act, durability):
    graph, arrived, go_on = meeting(InMemorySaver())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(graph.invoke, {"x": 1}, thread, durability=durability)
        assert arrived.wait(LONG)
        with pytest.raises(ThreadConflictError, match="busy"):
            ACTS[act](lane, graph, thread)
        go_on.set()
        assert first.result(LONG) == {"x": 1, "log": [1, "after"]}
    assert lane.state(graph, thread).values == {"x": 1, "log": [1, "after"]}


def test_other_threads_are_not_busy(lane, saver, thread):
    graph, arrived, go_on = meeting(saver)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(graph.invoke, {"x": 1}, thread)
        assert arrived.wait(LONG)
        other = {"configurable": {"thread_id": "2"}}
        assert lane.invoke(graph, {"x": 2}, other)["log"] == [2, "after"]
        go_on.set()
        first.result(LONG)


def test_exactly_the_finished_runs_of_many_threads_are_in_the_state(saver, thread):  # W24
    start = threading.Barrier(8)
    graph = chain("after").compile(saver)

    def run(n: int) -> bool:
        start.wait(LONG)
        try:
            graph.invoke({"log": [n]}, thread)
        except ThreadConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = [n for n, finished in enumerate(pool.map(run, range(8))) if finished]
    assert done
    log = graph.get_state(thread).values["log"]
    assert sorted(item for item in log if item != "after") == done
    assert len(log) == 2 * len(done)
    assert graph.invoke({"log": ["later"]}, thread)["log"][-2:] == ["later", "after"]


def test_exactly_the_finished_runs_of_one_event_loop_are_in_the_state(saver, thread):  # W24
    async def node(state: State) -> State:
        await asyncio.sleep(0)
        return {"log": ["after"]}

    graph = chain(node).compile(saver)

    async def main() -> list[Any]:
        runs = (graph.ainvoke({"log": [n]}, thread) for n in range(8))
        return await asyncio.gather(*runs, return_exceptions=True)

    results = asyncio.run(main())
    assert {type(r) for r in results} <= {dict, ThreadConflictError}
    done = [n for n, result in enumerate(results) if isinstance(result, dict)]
    log = graph.get_state(thread).values["log"]
    assert (sorted(i for i in log if i != "after"), len(log)) == (done, 2 * len(done))
    assert graph.invoke({"log": ["later"]}, thread)["log"][-2:] == ["later", "after"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_the_later_of_two_savers_on_one_file_takes_the_thread_over(lane, tmp_path, thread, durability):
    """Two savers stand for two processes: neither knows of the other's runs."""
    path = tmp_path / "threads.sqlite"
    with SqliteSaver(path) as one, SqliteSaver(path) as two:
        first, arrived, go_on = meeting(one)
        second = chain("wait", "after").compile(two)
        with ThreadPoolExecutor(1) as pool:
            losing = pool.submit(first.invoke, {"x": 1}, thread, durability=durability)
            assert arrived.wait(LONG)
            assert lane.invoke(second, {"x": 2}, thread, durability=durability)["log"] == ["wait", "after"]
            winner = lane.state(second, thread)
            go_on.set()
            with pytest.raises(ThreadConflictError) as caught:
                losing.result(LONG)
        error = caught.value
        assert (error.thread_id, error.theirs) == ("1", winner.metadata["run_id"])
        assert error.ours not in (None, error.theirs)
        assert all(id in str(error) for id in (error.ours or "?", error.theirs or "?"))
        assert lane.state(first, thread) == winner
        assert lane.invoke(first, {"x": 3}, thread)["log"] == ["wait", "after", 3, "after"]


def test_a_run_that_lost_its_thread_starts_no_further_effect(lane, tmp_path, thread):
    path = tmp_path / "threads.sqlite"
    effects: list[str] = []
    with SqliteSaver(path) as one, SqliteSaver(path) as two:
        other = chain("wait").compile(two)

        def take_over() -> None:
            effects.append("first")
            other.update_state(thread, {"x": 5}, "wait")

        graph = chain(noted("wait", take_over), noted("second", lambda: effects.append("second"))).compile(one)
        with pytest.raises(ThreadConflictError):
            lane.invoke(graph, {"x": 1}, thread)
        assert effects == ["first"]
        assert lane.state(other, thread).values["x"] == 5


def test_a_task_of_a_run_that_lost_its_thread_is_not_acknowledged(tmp_path, thread):
    path = tmp_path / "threads.sqlite"
    got: list[int] = []
    with SqliteSaver(path) as one, SqliteSaver(path) as two:

        @task
        def work(n: int) -> int:
            flow.copy({"checkpointer": two}).update_state(thread, 99)
            return n

        @entrypoint(checkpointer=one)
        def flow(n: int) -> int:
            got.append(work(n).result())
            return n

        with pytest.raises(ThreadConflictError):
            flow.invoke(1, thread)
        assert got == []
        assert flow.get_state(thread).values == 99


# ---------------------------------------------------------------------- one approval, several that resume it


@pytest.mark.parametrize("savers", ["one saver", "two savers"])
def test_one_approval_resumed_by_many_pays_once(tmp_path, thread, savers):
    path = tmp_path / "threads.sqlite"
    paid: list[int] = []
    start = threading.Barrier(6)
    with SqliteSaver(path) as one, SqliteSaver(path) as two:
        order = approval(one, lambda: paid.append(1))
        order.invoke(5, thread)

        def resume(n: int) -> Any:
            graph = order if savers == "one saver" or n % 2 else order.copy({"checkpointer": two})
            start.wait(LONG)
            try:
                return graph.invoke(Command(resume=True), thread)
            except (ThreadConflictError, ValueError) as refusal:
                return refusal

        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(resume, range(6)))
        assert results.count("paid 5") == 1, results
        assert paid == [1]
        assert order.get_state(thread).values == "paid 5"


@needs_processes
def test_one_approval_resumed_by_two_processes_pays_once(tmp_path: Path):
    path = tmp_path / "threads.sqlite"
    threads = [f"order {n}" for n in range(8)]
    with SqliteSaver(path) as saver:
        order = approval(saver, lambda: None)
        for id in threads:
            order.invoke(5, {"configurable": {"thread_id": id}})
    with Kennel("resume_approval") as kennel:
        for id in threads:
            begin = time.time() + 0.03
            pair = [kennel.start(path=str(path), thread=id, begin=begin, hold=False) for _ in range(2)]
            said = sorted(dog.said() for dog in pair)
            assert "paid 5" in said, said
            assert set(said) <= {"paid 5", "ThreadConflictError", "UnknownInterruptError"}
            assert said.count("paid 5") == 1
    assert Path(f"{path}.paid").read_text().splitlines() == threads


@needs_processes
def test_a_process_that_resumes_during_the_payment_of_another_does_not_pay(tmp_path: Path):
    path = tmp_path / "threads.sqlite"
    with SqliteSaver(path) as saver:
        approval(saver, lambda: None).invoke(5, {"configurable": {"thread_id": "1"}})
    with Kennel("resume_approval") as kennel:
        first = kennel.start(path=str(path), thread="1", begin=0, hold=True)
        first.wait_for(Path(f"{path}.paying"))
        second = kennel.start(path=str(path), thread="1", begin=0, hold=False)
        assert re.fullmatch("ThreadConflictError|UnknownInterruptError", second.said())
        Path(f"{path}.release").touch()
        assert first.said() == "paid 5"
    assert Path(f"{path}.paid").read_text().splitlines() == ["1"]
