"""A database that fails: the run stops before the next effect, what is stored stays right, a retry succeeds."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import pytest

from tests.runtime.jobs import check_effects, expected, mixed
from tests.runtime.programs import chain, fan, noted, noting, within
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.rows import Commit
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointStorageError, ThreadConflictError
from twinstep.func import entrypoint, task


class Failing(InMemorySaver):
    """Refuses its `at`-th commit, and `more` that follow."""

    def __init__(self, at: int, error: type[Exception] = CheckpointStorageError, more: int = 10**9) -> None:
        super().__init__()
        self.at, self.error, self.more = at, error, more
        self.commits = 0

    def commit(self, commit: Commit) -> None:
        self.commits += 1
        if self.at <= self.commits <= self.at + self.more:
            raise self.error("The disk is full.")
        super().commit(commit)


def note(lines: list[str], what: str, name: str) -> None:
    lines.append(f"{what} {name}")


@pytest.mark.parametrize("kind", ["entrypoint", "coroutine", "graph"])
def test_a_run_stopped_by_any_failed_write_can_be_continued(lane, thread, kind):
    for k in range(1, 100):
        saver = Failing(k)
        lines: list[str] = []
        program = mixed(kind, saver, partial(note, lines))
        input = {"x": 1} if kind == "graph" else 1
        try:
            result = lane.invoke(program, input, thread)
        except CheckpointStorageError:
            saver.at = 10**9  # the disk has room again
            started = lane.state(program, thread).metadata is not None
            assert lane.invoke(program, None if started else input, thread) == expected(kind), k
            check_effects("\n".join(lines), expected(kind)["log"])
        else:
            assert result == expected(kind)
            break
    assert k > 15


@pytest.mark.parametrize("caught", [False, True], ids=["", "although the failure is caught"])
@pytest.mark.parametrize("at", [2, 4])
@pytest.mark.parametrize("error", [CheckpointStorageError, ThreadConflictError])
def test_at_most_one_effect_runs_on_after_a_failed_write(lane, thread, at, caught, error):
    saver = Failing(at, error)
    ran: list[int] = []

    @task
    def work(n: int) -> int:
        ran.append(n)
        return n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        for i in range(n):
            with suppress(Exception) if caught else nullcontext():
                work(i).result()
        return n

    @entrypoint(checkpointer=saver)
    async def aflow(n: int) -> int:
        for i in range(n):
            with suppress(Exception) if caught else nullcontext():
                await work(i)
        return n

    program = aflow if lane.is_async else flow
    with pytest.raises(error, match="disk is full"):
        lane.invoke(program, 6, thread)
    recorded = at - 2  # the first commit is the input
    assert len(ran) <= recorded + 1
    saver.at = 10**9
    ran.clear()
    assert lane.invoke(program, None, thread) == 6
    assert min(ran) >= recorded


@pytest.mark.parametrize("at", [2, 3, 4])
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_no_node_runs_after_a_failed_write(lane, thread, at, durability):
    saver = Failing(at)
    ran: list[str] = []
    graph = chain(*noting(ran, *"abc")).compile(saver)
    with pytest.raises(CheckpointStorageError):
        lane.invoke(graph, {"x": 1}, thread, durability=durability)
    stored = at - 2  # the first commit holds the input and the first state
    assert len(ran) <= stored + (1 if durability == "sync" else 2)
    saver.at = 10**9
    assert lane.invoke(graph, None, thread)["log"] == ["a", "b", "c"]


@pytest.mark.parametrize("method", ["invoke", "stream"])
@pytest.mark.parametrize("at", range(1, 8))
def test_parallel_nodes_survive_one_failed_write(lane, thread, at, method):
    """One write fails, in whichever thread; the run ends and can be continued."""
    saver = Failing(at, more=0)
    pause = 0.002  # so that each node gets a thread of its own
    graph = fan(*(noted(name, lambda: time.sleep(pause)) for name in "abc"), then="d").compile(saver)
    options = {"stream_mode": "tasks"} if method == "stream" else {}
    try:
        within(10, lambda: lane.call(graph, method, {"x": 1}, thread, **options))
        assert at > 6
    except CheckpointStorageError:
        pass
    started = lane.state(graph, thread).metadata is not None
    result = within(10, lambda: lane.invoke(graph, None if started else {"x": 1}, thread))
    assert result["log"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("at", range(1, 8))
def test_parallel_tasks_survive_one_failed_write(lane, thread, at):
    saver = Failing(at, more=0)

    @task
    def work(n: int) -> int:
        time.sleep(0.002)
        return n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> list[int]:
        return [future.result() for future in [work(i) for i in range(n)]]

    with suppress(CheckpointStorageError):
        within(10, lambda: lane.invoke(flow, 4, thread))
    started = lane.state(flow, thread).metadata is not None
    assert within(10, lambda: lane.invoke(flow, None if started else 4, thread)) == [0, 1, 2, 3]


def test_a_failure_that_cannot_be_recorded_is_still_the_one_that_is_raised(lane, thread):
    saver = Failing(10**9)

    def break_disk() -> None:
        saver.at = saver.commits + 1
        raise ValueError("mine")

    graph = chain("a", noted("b", break_disk)).compile(saver)
    with pytest.raises(ValueError, match="mine") as caught:
        lane.invoke(graph, {"x": 1}, thread)
    assert "disk is full" in "".join(caught.value.__notes__)


def test_a_thread_deleted_under_a_run_is_lost_to_it(lane, saver, thread):
    ran: list[str] = []
    graph = chain(noted("a", lambda: saver.delete_thread("1")), noted("b", lambda: ran.append("b"))).compile(saver)
    with pytest.raises(ThreadConflictError, match="deleted"):
        lane.invoke(graph, {"x": 1}, thread)
    assert ran == []
    assert lane.history(graph, thread) == []
    lane.update(graph, thread, {"x": 5}, "b")
    assert lane.state(graph, thread).values["x"] == 5


def test_a_failed_read_is_an_error_and_harms_nothing(lane, thread):
    class Unreadable(InMemorySaver):
        broken = False

        def load(self, *args: Any) -> Any:
            if self.broken:
                raise CheckpointStorageError("The disk is gone.")
            return super().load(*args)

    saver = Unreadable()
    graph = chain("a").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    saver.broken = True
    for act in (lambda: lane.invoke(graph, {"x": 2}, thread), lambda: lane.state(graph, thread)):
        with pytest.raises(CheckpointStorageError, match="gone"):
            act()
    saver.broken = False
    assert lane.invoke(graph, {"x": 2}, thread)["log"] == ["a", "a"]


def test_many_threads_share_one_saver(tmp_path):
    """Group commit: what many runs store at once arrives whole."""
    with SqliteSaver(tmp_path / "t.sqlite") as saver:

        @task
        async def work(n: int) -> int:
            await asyncio.sleep(0)
            return n

        @entrypoint(checkpointer=saver)
        async def flow(n: int) -> list[int]:
            return list(await asyncio.gather(*(work(n * 10 + i) for i in range(5))))

        async def main() -> list[Any]:
            return await asyncio.gather(*(flow.ainvoke(n, {"configurable": {"thread_id": str(n)}}) for n in range(30)))

        wanted = [[n * 10 + i for i in range(5)] for n in range(30)]
        assert asyncio.run(main()) == wanted
        assert [flow.get_state({"configurable": {"thread_id": str(n)}}).values for n in range(30)] == wanted
