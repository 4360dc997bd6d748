"""Durability `async` where commits wait for a disk or a server: a checkpoint is stored beside the next superstep."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.programs import LONG, State, at, chain, noted, shape
from twinstep.checkpoint.grouped import SqlSaver
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.rows import Commit
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointStorageError
from twinstep.func import entrypoint, task
from twinstep.pregel import run as runs
from twinstep.types import Command, interrupt


class Held(SqlSaver[Any]):
    """Keeps commits of checkpoints back until they are let go; may fail from the `fail`-th commit on."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.go_on, self.arrived = threading.Event(), threading.Event()
        self.go_on.set()
        self.log: list[str] = []
        self.count, self.fail = 0, 0

    def commit(self, commit: Commit) -> None:
        self.count += 1
        self.arrived.set()
        assert self.go_on.wait(LONG)
        if self.fail and self.count >= self.fail:
            raise CheckpointStorageError("the disk is full")
        super().commit(commit)
        self.log.append("stored" if commit.checkpoint is not None else "records")

    async def acommit(self, commit: Commit) -> None:
        await asyncio.to_thread(self.commit, commit)

    def hold(self) -> None:
        """Keep back what is not stored yet, once the commit before the first node is."""
        deadline = time.monotonic() + LONG
        while not self.log and time.monotonic() < deadline:
            time.sleep(0.001)
        self.go_on.clear()


class HeldFile(Held, SqliteSaver):
    pass


class HeldServer(Held, PostgresSaver):
    pass


@pytest.fixture(params=["sqlite", "postgres"])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Held]:
    """Opens savers on one database where commits wait, for a disk or a server."""
    if request.param == "sqlite":
        return lambda: HeldFile(tmp_path / "threads.sqlite", synchronous="FULL")
    url = request.getfixturevalue("postgres_database")
    return lambda: HeldServer(url)


@pytest.fixture
def held(another: Callable[[], Held]) -> Iterator[Held]:
    with another() as saver:
        saver.delete_thread("1")
        yield saver


def test_the_next_superstep_runs_while_a_checkpoint_is_stored(lane, held, thread):
    def look() -> None:
        held.log.append("second begins")
        held.go_on.set()  # a run that waited for the commit would never come here

    graph = chain(noted("first", held.hold), noted("second", look), "third").compile(held)
    result = lane.invoke(graph, {"x": 1}, thread, durability="async")
    assert result["log"] == ["first", "second", "third"]
    assert held.log[:3] == ["stored", "second begins", "stored"]
    assert lane.state(graph, thread).values == result
    assert [step for _, step, _ in shape(lane.history(graph, thread))] == [3, 2, 1, 0, -1]


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_other_modes_and_a_listener_of_checkpoints_wait(lane, held, thread, durability):
    seen: list[int] = []
    graph = chain(*[noted(name, lambda: seen.append(len(held.log))) for name in "abc"]).compile(held)
    if durability == "sync":
        lane.invoke(graph, {"x": 1}, thread, durability="sync")
        assert seen == [1, 2, 3]
        lane.stream(graph, {"x": 1}, thread, durability="async", stream_mode="checkpoints")
        assert seen[3:] == [6, 7, 8]
    else:
        lane.invoke(graph, {"x": 1}, thread, durability="exit")
        assert seen == [1, 1, 1]


@pytest.mark.parametrize("quick", [0, LONG])
def test_a_superstep_that_is_short_waits_for_the_write_before_it(held, thread, monkeypatch, quick):
    """To hand it to a thread would take longer; of the first one it is not known how long it will take."""
    monkeypatch.setattr(runs, "QUICK", quick)
    commit, here = held.commit, list[bool]()

    def noted_commit(each: Commit) -> None:
        here.append(threading.current_thread() is threading.main_thread())
        commit(each)

    held.commit = noted_commit
    chain(*"abcde").compile(held).invoke({"x": 1}, thread, durability="async")
    assert here == [True, False, *[quick > 0] * 3, True]


def test_after_a_short_superstep_the_next_one_begins_when_the_first_is_stored(lane, held, thread, monkeypatch):
    monkeypatch.setattr(runs, "QUICK", LONG)
    nodes = [noted(name, partial(held.log.append, name)) for name in "abcd"]
    lane.invoke(chain(*nodes).compile(held), {"x": 1}, thread, durability="async")
    assert held.log[held.log.index("b") + 1 :] in (
        ["stored", "stored", "c", "stored", "d", "stored"],
        ["stored", "c", "stored", "d", "stored"],  # that of the first came before the second began
    )


def test_what_is_returned_is_stored(lane, held, another, thread):
    graph = chain("a", "b").compile(held)
    result = lane.invoke(graph, {"x": 1}, thread)
    with another() as other:
        assert graph.copy({"checkpointer": other}).get_state(thread).values == result


def test_at_most_one_checkpoint_waits(lane, held, thread):
    """Backpressure: the checkpoint of a superstep waits until the one before it is stored."""
    begun: list[str] = []

    def second() -> None:
        threading.Timer(0.05, held.go_on.set).start()

    nodes = [noted("a", held.hold), noted("b", second), noted("c", lambda: begun.append("c"))]
    graph = chain(*nodes).compile(held)
    lane.invoke(graph, {"x": 1}, thread)
    assert begun == ["c"]
    assert held.log == ["stored"] * 4


def test_a_task_is_acknowledged_only_when_it_and_all_before_it_is_stored(lane, held, thread):
    got: list[int] = []

    @task
    def work(x: int) -> int:
        return x

    def second(state: State) -> State:
        threading.Timer(0.05, held.go_on.set).start()
        got.append(work(1).result())
        assert held.log[-1] == "records"
        return {"log": ["second"]}

    graph = chain(noted("first", held.hold), second).compile(held)
    lane.invoke(graph, {"x": 1}, thread)
    assert got == [1]
    assert held.log == ["stored", "stored", "records", "stored"]


def test_a_write_that_fails_stops_the_run_before_the_next_effect(lane, held, thread):
    effects: list[str] = []

    @task
    def effect(name: str) -> None:
        effects.append(name)

    def second(state: State) -> State:
        deadline = time.monotonic() + LONG
        while held.count < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        effect("in the second").result()
        return {"log": ["second"]}

    held.fail = 2  # the input and what follows from it are stored
    graph = chain(
        noted("first", lambda: effects.append("first")), second, noted("third", lambda: effects.append("third"))
    )
    compiled = graph.compile(held)
    with pytest.raises(CheckpointStorageError, match="full"):
        lane.invoke(compiled, {"x": 1}, thread)
    assert "third" not in effects
    held.fail = 0
    assert lane.state(compiled, thread).next == ("first",)
    assert lane.invoke(compiled, None, thread)["log"] == ["first", "second", "third"]


def test_stops_and_failures_come_after_what_was_before_them(lane, held, thread):
    broken = [True]

    def third(state: State) -> State:
        if broken[0]:
            raise ConnectionError
        return {"log": [interrupt("?")]}

    graph = chain("first", "second", third).compile(held)
    with pytest.raises(ConnectionError):
        lane.invoke(graph, {"x": 1}, thread)
    state = lane.state(graph, thread)
    assert (state.next, state.values["log"], state.metadata["status"]) == (("third",), ["first", "second"], "failed")
    broken[0] = False
    assert lane.invoke(graph, None, thread)["__interrupt__"][0].value == "?"
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["first", "second", "yes"]


def test_a_stream_that_is_closed_early_leaves_a_thread_that_can_be_continued(held, thread):
    graph = chain("a", "b", "c").compile(held)
    stream = graph.stream({"x": 1}, thread)
    assert next(stream) == {"a": {"log": ["a"]}}
    stream.close()
    deadline = time.monotonic() + LONG
    while graph.get_state(thread).next != ("b",) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert graph.invoke(None, thread)["log"] == ["a", "b", "c"]


def test_entrypoints_and_forks_work_the_same(lane, held, thread):
    @entrypoint(checkpointer=held)
    def flow(x: int, previous: int | None = None) -> int:
        return x + (previous or 0)

    lane.invoke(flow, 1, thread)
    first = lane.state(flow, thread).config["configurable"]["checkpoint_id"]
    assert lane.invoke(flow, 2, thread) == 3
    assert lane.invoke(flow, 5, at(thread, checkpoint_id=first)) == 6
