"""Several questions at once: in the nodes of one superstep, and in tasks that run in parallel."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import UnknownInterruptError
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.types import Command, Send, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def joined(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *right]


class State(TypedDict, total=False):
    log: Annotated[list[Any], joined]


class Recorder:
    """Notes what ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def ask(self, text: str) -> Any:
        self.ran.append(text)
        return text, interrupt(text)

    def work(self, text: str) -> Any:
        self.ran.append(text)
        return text, "done"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def in_nodes(saver: BaseCheckpointSaver, recorder: Recorder, colour: Colour) -> Any:
    builder = StateGraph(State)
    for name in ("ask a", "ask b", "work"):
        call = recorder.work if name == "work" else recorder.ask
        builder.add_node(name, colour(lambda state, name=name, call=call: {"log": [call(name)]}))
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    return builder.compile(checkpointer=saver)


def in_packets(saver: BaseCheckpointSaver, recorder: Recorder, colour: Colour) -> Any:
    def node(name: str) -> Any:
        return {"log": [(recorder.work if name == "work" else recorder.ask)(name)]}

    builder = StateGraph(State)
    builder.add_node("node", colour(node))
    builder.add_conditional_edges(
        START, lambda state: [Send("node", name) for name in ("ask a", "ask b", "work")], ["node"]
    )
    return builder.compile(checkpointer=saver)


def in_tasks(saver: BaseCheckpointSaver, recorder: Recorder, colour: Colour) -> Any:
    ask, work = task(colour(recorder.ask), name="ask"), task(colour(recorder.work), name="work")

    @entrypoint(checkpointer=saver)
    def program(x: Any) -> Any:
        futures = [ask("ask a"), ask("ask b"), work("work")]
        return {"log": [future.result() for future in futures]}

    return program


def in_gathered_tasks(saver: BaseCheckpointSaver, recorder: Recorder, colour: Colour) -> Any:
    ask, work = task(colour(recorder.ask), name="ask"), task(colour(recorder.work), name="work")

    @entrypoint(checkpointer=saver)
    async def program(x: Any) -> Any:
        return {"log": list(await asyncio.gather(ask("ask a"), ask("ask b"), work("work")))}

    return program


def in_a_task_group(saver: BaseCheckpointSaver, recorder: Recorder, colour: Colour) -> Any:
    ask, work = task(colour(recorder.ask), name="ask"), task(colour(recorder.work), name="work")

    async def wait_for(future: Any) -> Any:
        return await future

    @entrypoint(checkpointer=saver)
    async def program(x: Any) -> Any:
        futures = [work("work"), ask("ask a"), ask("ask b")]
        done = await futures[0]
        async with asyncio.TaskGroup() as group:
            a, b = [group.create_task(wait_for(future)) for future in futures[1:]]
        return {"log": [a.result(), b.result(), done]}

    return program


Make = Callable[[BaseCheckpointSaver, Recorder, Colour], Any]
PLACES = [in_nodes, in_packets, in_tasks, in_gathered_tasks, in_a_task_group]
INPUT: Any = {"log": []}
FOUND = [("ask a", 1), ("ask b", 2), ("work", "done")]


@pytest.fixture(params=PLACES, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def asked(result: Any) -> dict[str, str]:
    """Return the ids of the questions by their text."""
    return {question.value: question.id for question in result["__interrupt__"]}


def test_all_questions_are_shown_and_can_be_answered_at_once(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, make: Make, recorder: Recorder
) -> None:
    program = make(saver, recorder, colour)
    ids = asked(lane.invoke(program, INPUT, thread))
    assert set(ids) == {"ask a", "ask b"}
    assert {q.value: q.id for q in lane.state(program, thread).interrupts} == ids
    answers = {ids["ask a"]: 1, ids["ask b"]: 2}
    assert lane.invoke(program, Command(resume=answers), thread)["log"] == FOUND
    assert recorder.ran.count("work") == 1


def test_questions_can_be_answered_one_by_one(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, make: Make, recorder: Recorder
) -> None:
    program = make(saver, recorder, lambda fn: fn)
    ids = asked(lane.invoke(program, INPUT, thread))
    left = asked(lane.invoke(program, Command(resume={ids["ask b"]: 2}), thread))
    assert left == {"ask a": ids["ask a"]}
    assert {q.value: q.id for q in lane.state(program, thread).interrupts} == left
    assert lane.invoke(program, Command(resume=1), thread)["log"] == FOUND
    assert recorder.ran.count("work") == 1


def test_one_answer_for_several_questions_is_refused_and_changes_nothing(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, make: Make, recorder: Recorder
) -> None:
    program = make(saver, recorder, lambda fn: fn)
    ids = asked(lane.invoke(program, INPUT, thread))
    for wrong, reason in ((1, "ambiguous"), ({ids["ask a"]: 1, "0" * 32: 2}, "not_pending"), ({}, "empty_map")):
        with pytest.raises(UnknownInterruptError) as caught:
            lane.invoke(program, Command(resume=wrong), thread)
        assert (caught.value.reason, set(caught.value.pending_ids)) == (reason, set(ids.values()))
    assert asked(lane.invoke(program, None, thread)) == ids


def test_an_answered_sibling_does_not_run_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, make: Make, recorder: Recorder
) -> None:
    program = make(saver, recorder, lambda fn: fn)
    ids = asked(lane.invoke(program, INPUT, thread))
    lane.invoke(program, Command(resume={ids["ask a"]: 1}), thread)
    lane.invoke(program, Command(resume={ids["ask b"]: 2}), thread)
    assert recorder.ran.count("ask a") == 2  # once to ask, once to answer
    assert recorder.ran.count("work") == 1


# ---------------------------------------------------------------------- a sibling fails


class Fuse:
    """Fails as long as it is not repaired."""

    def __init__(self) -> None:
        self.blown = True

    def __call__(self) -> str:
        if self.blown:
            raise ZeroDivisionError("blown")
        return "fine"


def failing_node(saver: BaseCheckpointSaver, fuse: Fuse) -> Any:
    asks = threading.Event()

    def a(state: State) -> Any:
        asks.set()
        return {"log": [interrupt("q")]}

    def b(state: State) -> Any:
        asks.wait(timeout=2)
        time.sleep(0.05)  # a is raising its question
        return {"log": [fuse()]}

    builder = StateGraph(State)
    builder.add_node("a", a)
    builder.add_node("b", b)
    for name in ("a", "b"):
        builder.add_edge(START, name)
    return builder.compile(checkpointer=saver)


def failing_task(saver: BaseCheckpointSaver, fuse: Fuse) -> Any:
    ask, work = task(lambda: interrupt("q"), name="ask"), task(lambda: fuse(), name="work")

    @entrypoint(checkpointer=saver)
    def program(x: Any) -> Any:
        question: Any = ask()
        other: Any = work()
        cf.wait([question, other])
        if other.exception():
            raise other.exception()
        return {"log": [question.result(), other.result()]}

    return program


@pytest.mark.parametrize("build", [failing_node, failing_task])
def test_a_failing_sibling_does_not_hide_a_question(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, build: Callable[..., Any]
) -> None:
    fuse = Fuse()
    program = build(saver, fuse)
    with pytest.raises(ZeroDivisionError):
        lane.invoke(program, INPUT, thread)
    state = lane.state(program, thread)
    assert [question.value for question in state.interrupts] == ["q"]
    assert [type(t.error) for t in state.tasks if t.error] == [ZeroDivisionError]
    assert state.metadata["status"] == "failed"
    fuse.blown = False
    assert lane.invoke(program, Command(resume="a"), thread)["log"] == ["a", "fine"]


@pytest.mark.parametrize("build", [failing_node, failing_task])
def test_a_question_beside_a_failure_can_wait_until_the_failure_is_mended(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, build: Callable[..., Any]
) -> None:
    fuse = Fuse()
    program = build(saver, fuse)
    with pytest.raises(ZeroDivisionError):
        lane.invoke(program, INPUT, thread)
    fuse.blown = False
    (question,) = lane.invoke(program, None, thread)["__interrupt__"]
    assert question.value == "q"
    assert lane.invoke(program, Command(resume="a"), thread)["log"] == ["a", "fine"]
