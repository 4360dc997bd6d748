"""The surprises of the reference with questions and answers (behaviour.md, section 11), mended."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.conftest import Lane
from tests.warts.kit import one_node, parallel
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import NoCheckpointerError, NonDeterminismError, UnknownInterruptError
from twinstep.func import entrypoint, task
from twinstep.types import Command, interrupt


def asker(saver: BaseCheckpointSaver | None) -> Any:
    @entrypoint(checkpointer=saver)
    def program(x: Any) -> Any:
        return x, interrupt("q")

    return program


def test_w03_none_is_an_answer(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    program = asker(saver)
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume=None), thread) == (1, None)


def test_w03_an_empty_command_goes_on(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    program = asker(saver)
    asked = lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(), thread) == asked


def test_w04_an_answer_to_a_thread_that_never_started_is_refused(lane: Lane, saver: Any, thread: Any) -> None:
    with pytest.raises(UnknownInterruptError, match="nothing to answer"):
        lane.invoke(asker(saver), Command(resume="x"), thread)


def test_w29_an_answer_reaches_no_other_question(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    first = [True]

    @entrypoint(checkpointer=saver)
    def program(x: int) -> list[Any]:
        answers = []
        if first.pop() if first else False:
            answers.append(interrupt("first"))
        answers.append(interrupt("second"))
        return answers

    lane.invoke(program, 1, thread)
    with pytest.raises(NonDeterminismError):
        lane.invoke(program, Command(resume="to the first"), thread)


def test_w30_a_question_without_a_checkpointer_is_an_error_at_once(lane: Lane) -> None:
    with pytest.raises(NoCheckpointerError, match="interrupt"):
        lane.invoke(asker(None), 1)


def test_w31_except_exception_does_not_swallow_a_question(lane: Lane, saver: Any, thread: Any) -> None:
    def node(state: Any) -> Any:
        try:
            return {"x": interrupt("q")}
        except Exception:
            return {"x": -1}

    graph = one_node(node, checkpointer=saver)
    assert lane.invoke(graph, {"x": 0}, thread)["__interrupt__"][0].value == "q"
    assert lane.invoke(graph, Command(resume=5), thread)["x"] == 5


def test_w32_the_questions_of_parallel_tasks_are_all_shown(lane: Lane, saver: Any, thread: Any) -> None:
    ask = task(lambda text: interrupt(text), name="ask")

    @entrypoint(checkpointer=saver)
    def program(x: int) -> list[Any]:
        return [future.result() for future in [ask("q1"), ask("q2")]]

    ids = {question.value: question.id for question in lane.invoke(program, 1, thread)["__interrupt__"]}
    assert set(ids) == {"q1", "q2"}
    assert lane.invoke(program, Command(resume={ids["q2"]: 2, ids["q1"]: 1}), thread) == [1, 2]


def test_w33_a_breakpoint_shows_in_the_result(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    graph = one_node(lambda state: {"x": 1}, checkpointer=saver, interrupt_before=["a"])
    assert lane.invoke(graph, {"x": 0}, thread) == {"x": 0, "log": [], "__interrupt__": []}
    assert lane.invoke(graph, None, thread) == {"x": 1, "log": []}


@pytest.mark.parametrize("answers", [{"0" * 32: 1}, {}])
def test_w54_an_answer_to_no_question_is_an_error(lane: Lane, saver: Any, thread: Any, answers: Any) -> None:
    program = asker(saver)
    lane.invoke(program, 1, thread)
    with pytest.raises(UnknownInterruptError):
        lane.invoke(program, Command(resume=answers), thread)
    assert lane.invoke(program, Command(resume="a"), thread) == (1, "a")


def test_w63_a_failing_sibling_hides_no_question(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    asks = threading.Event()

    def ask(state: Any) -> Any:
        asks.set()
        return {"log": [interrupt("q")]}

    def fail(state: Any) -> Any:
        asks.wait(2)
        raise ZeroDivisionError

    graph = parallel({"a": ask, "b": fail}, checkpointer=saver)
    with pytest.raises(ZeroDivisionError):
        lane.invoke(graph, {"x": 0}, thread)
    assert [question.value for question in lane.state(graph, thread).interrupts] == ["q"]
