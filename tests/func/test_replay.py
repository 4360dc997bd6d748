"""Resuming: what is on record is not done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Lane
from tests.func.bodies import Child, Paint
from tests.func.world import TWICE, Broken, World
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.types import Command, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_none_goes_on_after_an_error_without_repeating_finished_tasks(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, colour: Colour, world: World, durability: Any
) -> None:
    slow, flaky = task(colour(world.work)), task(colour(world.flaky))

    def body(x: int) -> Any:
        first = yield slow(x)
        return [first, (yield flaky(x + 1))]

    program = entrypoint(checkpointer=saver)(paint(body))
    for _ in range(2):
        with pytest.raises(Broken, match="not now"):
            lane.invoke(program, 1 if not world.ran else None, thread, durability=durability)
    world.broken = False
    assert lane.invoke(program, None, thread, durability=durability) == [1, 2]
    assert world.ran == [1, "flaky", "flaky", "flaky"]


def test_a_new_input_after_an_error_starts_from_the_beginning(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)
    program = entrypoint(checkpointer=saver)(lambda x: [slow(x).result(), flaky(x).result()])
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, 2, thread) == [2, 2]
    assert world.ran == [1, "flaky", 2, "flaky"]


def test_another_process_goes_on_where_one_stopped(lane: Lane, tmp_path: Path, thread: Any, world: World) -> None:
    def run(input: Any) -> Any:
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            slow, flaky = task(world.work), task(world.flaky)

            @entrypoint(checkpointer=saver)
            def program(x: int) -> Any:
                return [slow(x).result(), flaky(x).result()]

            return lane.invoke(program, input, thread)

    with pytest.raises(Broken):
        run(1)
    world.broken = False
    assert run(None) == [1, 1]
    assert world.ran == [1, "flaky", "flaky"]


def test_only_the_missing_calls_of_a_loop_are_made(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World
) -> None:
    @task
    def step(n: int) -> int:
        if n == 2 and world.broken:
            raise Broken
        return world.work(n)

    program = entrypoint(checkpointer=saver)(lambda n: [step(i).result() for i in range(n)])
    with pytest.raises(Broken):
        lane.invoke(program, 4, thread)
    assert world.ran == [0, 1]
    world.broken = False
    assert lane.invoke(program, None, thread) == [0, 1, 2, 3]
    assert world.ran == [0, 1, 2, 3]


def test_siblings_of_a_failed_task_are_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def body(x: int) -> Any:
        first, second = slow(1), slow(2)
        yield first
        yield second
        return [(yield flaky(x)), (yield slow(3))]

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 0, thread)
    world.broken = False
    lane.invoke(program, None, thread)
    assert sorted(map(str, world.ran)) == ["1", "2", "3", "flaky", "flaky"]


def test_tasks_of_a_failed_task_are_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def both(x: int) -> Any:
        return [(yield slow(x)), (yield flaky(x))]

    outer = task(paint(both))

    def body(x: int) -> Any:
        return (yield outer(x))

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 5, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == [5, 5]
    assert world.ran == [5, "flaky", "flaky"]


def test_a_finished_nested_entrypoint_is_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky, inner = task(world.flaky), entrypoint()(world.work)

    def body(x: int) -> Any:
        return [(yield Child(inner, x)), (yield flaky(x))]

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 5, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == [5, 5]
    assert world.ran == [5, "flaky", "flaky"]


def test_code_outside_of_tasks_is_repeated(lane: Lane, thread: Any, world: World) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def program(x: int) -> Any:
        world.work(x)
        return interrupt("?")

    lane.invoke(program, 1, thread)
    lane.invoke(program, Command(resume=1), thread)
    assert world.ran == [1, 1]


def test_the_state_shows_the_failure(lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World) -> None:
    flaky = task(world.flaky)
    program = entrypoint(checkpointer=saver)(lambda x: flaky(x).result())
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread)
    state = lane.state(program, thread)
    assert (state.next, state.metadata["status"]) == (("<lambda>",), "failed")
    assert type(state.tasks[0].error) is Broken
    assert str(state.tasks[0].error) == "not now"


def test_an_answered_run_that_fails_later_keeps_its_answer(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def body(x: int) -> Any:
        answer = interrupt("?")
        return [answer, (yield flaky(x))]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    with pytest.raises(Broken):
        lane.invoke(program, Command(resume="yes"), thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == ["yes", 1]


def test_a_question_asked_in_a_task_keeps_the_results_before_it(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow = task(world.work)

    def asking(x: int) -> Any:
        found = yield slow(x)
        return [found, interrupt("?")]

    ask = task(paint(asking))

    def body(x: int) -> Any:
        return (yield ask(x))

    program = entrypoint(checkpointer=saver)(paint(body))
    assert lane.invoke(program, 1, thread)["__interrupt__"][0].value == "?"
    assert lane.invoke(program, Command(resume="yes"), thread) == [1, "yes"]
    assert world.ran == [1]


@pytest.mark.parametrize("unit", ["task", "entrypoint"])
def test_an_answer_is_there_again_when_the_code_is_retried(lane: Lane, thread: Any, world: World, unit: str) -> None:
    def ask(x: int) -> Any:
        answer = interrupt("?")
        if world.broken:
            world.broken = False
            raise Broken
        return answer

    if unit == "task":
        work = task(retry_policy=TWICE)(ask)
        program = entrypoint(checkpointer=InMemorySaver())(lambda x: work(x).result())
    else:
        program = entrypoint(checkpointer=InMemorySaver(), retry_policy=TWICE)(ask)
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume="yes"), thread) == "yes"


# ---------------------------------------------------------------------- tasks in graph nodes


def node_graph(body: Any, saver: Any, **options: Any) -> Any:
    builder = StateGraph(dict)
    builder.add_node("node", body, **options)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("ends", ["question", "failure", "retry"])
def test_tasks_of_a_node_are_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World, ends: str
) -> None:
    slow = task(world.work)

    def body(state: dict[str, Any]) -> Any:
        first = yield slow(1)
        if ends == "question":
            interrupt("?")
        elif world.broken:
            world.broken = False
            raise Broken
        return {"found": [first, (yield slow(2))]}

    graph = node_graph(paint(body), saver, retry_policy=TWICE if ends == "retry" else None)
    if ends == "question":
        lane.invoke(graph, {}, thread)
    elif ends == "failure":
        with pytest.raises(Broken):
            lane.invoke(graph, {}, thread)
    command: Any = {"question": Command(resume=1), "failure": None, "retry": {}}[ends]
    assert lane.invoke(graph, command, thread) == {"found": [1, 2]}
    assert world.ran == [1, 2]


# ---------------------------------------------------------------------- older checkpoints


def test_an_older_checkpoint_is_run_again_as_another_branch(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World
) -> None:
    work = task(world.work)
    program = entrypoint(checkpointer=saver)(lambda x, previous: [previous, work(x).result()])
    lane.invoke(program, 1, thread)
    lane.invoke(program, 2, thread)
    begin = next(s for s in lane.history(program, thread) if s.metadata["step"] == 1)
    assert lane.invoke(program, None, begin.config) == [[None, 1], 2]
    assert world.ran == [1, 2, 2]
    assert lane.state(program, thread).metadata["status"] == "done"
