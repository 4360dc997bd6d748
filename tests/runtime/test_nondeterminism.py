"""A run that is resumed and does something else than before is told so; nothing is silently wrong.

The eight ways in which code can be different at a resume, each under the three policies where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import NonDeterminismError, ProgramChangedError
from twinstep.func import entrypoint, task
from twinstep.runtime import get_runtime
from twinstep.types import Command, Mismatch, interrupt

ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@task
def work(x: Any) -> Any:
    ran.append(f"work {x}")
    return x


@task
def other(x: Any) -> Any:
    ran.append(f"other {x}")
    return x


@entrypoint()
def child(x: Any) -> Any:
    ran.append(f"child {x}")
    return x


Body = Callable[[], list[Any]]
CASES: dict[str, tuple[Body, Body, str, str]] = {
    # name: what runs first, what runs when it is resumed, recorded, actual
    "a changed argument": (lambda: [work(1).result()], lambda: [work(2).result()], r"work\(1\)", r"work\(2\)"),
    "swapped calls": (
        lambda: [work(1).result(), work(2).result()],
        lambda: [work(2).result(), work(1).result()],
        r"work\(1\)",
        r"work\(2\)",
    ),
    "a missing call": (lambda: [work(1).result(), other(1).result()], lambda: [work(1).result()], r"other\(1\)", ""),
    "a missing one of two": (
        lambda: [work(1).result(), work(2).result()],
        lambda: [work(1).result()],
        r"work\(2\)",
        "",
    ),
    "an extra call": (lambda: [work(1).result()], lambda: [work(0).result(), work(1).result()], "1", "0"),
    "another task": (lambda: [work(1).result()], lambda: [other(1).result()], r"work\(1\)", ""),
    "a changed question": (lambda: [interrupt("one?")], lambda: [interrupt("two?")], r"one\?", r"two\?"),
    "a missing question": (lambda: [interrupt("one?")], lambda: [1], r"one\?", ""),
    "a changed child": (lambda: [child.invoke(1)], lambda: [child.invoke(2)], "called with 1 first", "with 2"),
    "another order in parallel": (
        lambda: [f.result() for f in [work("a"), work("b")]],
        lambda: [f.result() for f in [work("b"), work("a")]],
        r"work\('a'\)",
        r"work\('b'\)",
    ),
}


def changing(saver: Any, first: Body, then: Body, on_mismatch: Mismatch = "error") -> Any:
    """Return a program that does one thing up to its last question, and another when that is answered."""
    bodies = iter((first, first, then, then) if "interrupt" in first.__code__.co_names else (first, then, then))

    @entrypoint(checkpointer=saver, on_mismatch=on_mismatch)
    def flow(x: int) -> list[Any]:
        return [*next(bodies)(), interrupt("go on?", key="last")]

    return flow


def stopped(lane: Lane, flow: Any, thread: Any) -> None:
    """Run up to the last question."""
    found = lane.invoke(flow, 1, thread)["__interrupt__"]
    if found[0].value != "go on?":
        found = lane.invoke(flow, Command(resume="yes"), thread)["__interrupt__"]
    assert found[0].value == "go on?"


@pytest.mark.parametrize("case", CASES)
def test_what_was_recorded_and_what_is_asked_for_now_are_shown(lane, saver, thread, case):  # W8, W29
    first, then, recorded, actual = CASES[case]
    flow = changing(saver, first, then)
    stopped(lane, flow, thread)
    with pytest.raises(NonDeterminismError, match=recorded) as caught:
        lane.invoke(flow, Command(resume="yes"), thread)
    assert re.search(actual, str(caught.value))
    assert caught.value.name
    assert lane.state(flow, thread).metadata["status"] == "failed"


@pytest.mark.parametrize("case", [case for case in CASES if "question" not in case])
def test_a_program_that_is_mended_goes_on(lane, saver, thread, case):
    first, then, _, _ = CASES[case]
    flow = changing(saver, first, then)
    stopped(lane, flow, thread)
    with pytest.raises(NonDeterminismError):
        lane.invoke(flow, Command(resume="yes"), thread)
    before = list(ran)
    mended = changing(saver, first, first)
    result = lane.invoke(mended, None, thread)
    assert result[-1] == "yes"
    assert ran == before, "what had finished ran again"


@pytest.mark.parametrize("case", [case for case in CASES if "question" not in case and "child" not in case])
def test_by_policy_the_code_of_now_decides(lane, saver, thread, case):
    first, then, _, _ = CASES[case]
    flow = changing(saver, first, then, "rerun")
    stopped(lane, flow, thread)
    ran.clear()
    result = lane.invoke(flow, Command(resume="yes"), thread)
    assert result == [*then_alone(then), "yes"]


def then_alone(body: Body) -> list[Any]:
    """Return what a body returns in a run of its own."""
    return list(entrypoint()(lambda x: body()).invoke(1))


@pytest.mark.parametrize("case", ["a changed argument", "swapped calls", "another order in parallel"])
def test_by_policy_the_record_decides(lane, saver, thread, case):
    first, then, _, _ = CASES[case]
    flow = changing(saver, first, then, "accept")
    stopped(lane, flow, thread)
    ran.clear()
    assert lane.invoke(flow, Command(resume="yes"), thread)[-1] == "yes"
    assert ran == []


def test_a_lost_task_is_named(lane, saver, thread):
    flow = changing(saver, *CASES["another task"][:2])
    stopped(lane, flow, thread)
    with pytest.raises(ProgramChangedError) as caught:
        lane.invoke(flow, Command(resume="yes"), thread)
    assert caught.value.missing == ("work",)


def test_calls_and_questions_with_keys_may_change_their_order(lane, saver, thread):
    keyed = task(work.action.fn, name="keyed", key=str)
    orders = iter(["ab", "ba", "ba"])

    @entrypoint(checkpointer=saver)
    def flow(x: int) -> Any:
        order = next(orders)
        got = {name: keyed(name).result() for name in order}
        asked = {name: interrupt(f"{order} {name}?", key=name) for name in "ab"}
        return [got, asked]

    lane.invoke(flow, 1, thread)
    lane.invoke(flow, Command(resume=1), thread)
    assert lane.invoke(flow, Command(resume=2), thread) == [{"a": "a", "b": "b"}, {"a": 1, "b": 2}]
    assert ran == ["work a", "work b"]


def test_long_arguments_are_shown_cut(lane, saver, thread):
    flow = changing(saver, lambda: [work("x" * 10_000).result()], lambda: [work(10**5000).result()])
    stopped(lane, flow, thread)
    with pytest.raises(NonDeterminismError) as caught:
        lane.invoke(flow, Command(resume=1), thread)
    assert len(str(caught.value)) < 1000
    assert "xxx'...'xxx" in str(caught.value)


def test_the_records_of_finished_calls_of_other_tasks_are_no_lost_calls(lane, saver, thread):
    """A task that is taken from the record does not call again what it had called."""

    @task
    def outer(x: int) -> Any:
        return work(x).result()

    @entrypoint(checkpointer=saver)
    def flow(x: int) -> Any:
        return [outer(x).result(), interrupt("?"), other(x).result()]

    lane.invoke(flow, 1, thread)
    assert lane.invoke(flow, Command(resume="yes"), thread) == [1, "yes", 1]
    assert ran == ["work 1", "other 1"]


def test_the_same_question_of_two_children_is_two_questions(lane: Lane, saver: BaseCheckpointSaver, thread: Any):
    """An approval of one child must not approve another."""

    @entrypoint()
    def asks(x: int) -> list[Any]:
        return [x, interrupt("approve?")]

    call = task(lambda x: asks.invoke(x), name="call")
    flow = entrypoint(checkpointer=saver)(lambda x: [f.result() for f in [call(0), call(1)]])
    first, second = lane.invoke(flow, 1, thread)["__interrupt__"]
    left = lane.invoke(flow, Command(resume={first.id: "yes"}), thread)["__interrupt__"]
    assert [question.id for question in left] == [second.id]
    assert lane.invoke(flow, Command(resume={second.id: "no"}), thread) == [[0, "yes"], [1, "no"]]


@task
def asks(x: Any) -> Any:
    return interrupt(f"{x}?")


@entrypoint()
def asking(x: Any) -> Any:
    return [work(x).result(), asks(x).result()]


CALLS: dict[str, Callable[[Any], Any]] = {
    "a call": lambda x: asks(x).result(),
    "a nested run": lambda x: asking.invoke(x)[-1],
}


@pytest.mark.parametrize("what", CALLS)
def test_what_was_asked_in_a_call_that_is_not_made_again_is_no_lost_answer(lane, saver, thread, what):
    calls = [CALLS[what], CALLS[what]]

    @entrypoint(checkpointer=saver)
    def flow(x: Any) -> Any:
        return [call(n) for n, call in enumerate(calls)]

    lane.invoke(flow, 1, thread)
    lane.invoke(flow, Command(resume="first"), thread)
    del calls[1]
    with pytest.raises(NonDeterminismError, match=r"not asked a question again that was answered \('1\?'\)"):
        lane.invoke(flow, Command(resume="second"), thread)
    calls.append(CALLS[what])
    assert lane.invoke(flow, None, thread) == ["first", "second"]


def test_the_idempotency_key_is_the_same_at_every_resume(lane, saver, thread):
    keys: list[str] = []

    @task
    def pay(x: int) -> None:
        info = get_runtime().execution_info
        assert info is not None
        keys.append(info.idempotency_key)
        if len(keys) == 1:
            raise ConnectionError

    flow = entrypoint(checkpointer=saver)(lambda x: pay(x).result())
    with pytest.raises(ConnectionError):
        lane.invoke(flow, 1, thread)
    lane.invoke(flow, None, thread)
    lane.invoke(flow, 1, thread)
    assert keys[0] == keys[1] != keys[2]
