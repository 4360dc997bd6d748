"""`interrupt`: a question stops the run, and `Command(resume=...)` answers it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane, in_notebooks_too
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import (
    EmptyInputError,
    NoCheckpointerError,
    NodeInterrupt,
    NonDeterminismError,
    UnknownInterruptError,
)
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.types import Command, GraphOutput, Interrupt, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def joined(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *right]


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], joined]


def chain(*nodes: tuple[str, Callable[..., Any]], **options: Any) -> Any:
    """Make a graph that runs the nodes one after the other."""
    builder = StateGraph(State)
    for name, node in nodes:
        builder.add_node(name, node)
    names = [START, *(name for name, _ in nodes), END]
    for before, after in pairwise(names):
        builder.add_edge(before, after)
    return builder.compile(**options)


def asking(kind: str, colour: Colour, saver: BaseCheckpointSaver, question: Callable[[], Any]) -> Any:
    """Make a program of a kind that asks and returns what `question` returns, under `log` if it is a graph."""
    if kind == "graph":
        return chain(("node", colour(lambda state: {"log": [question()]})), checkpointer=saver)
    if kind == "entrypoint":
        return entrypoint(checkpointer=saver)(colour(lambda x: {"x": x["x"], "log": [question()]}))
    ask = task(colour(question))
    return entrypoint(checkpointer=saver)(lambda x: {"x": x["x"], "log": [ask().result()]})


@pytest.fixture(params=["graph", "entrypoint", "task"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


INPUT = {"x": 0}


def questions(result: Any) -> list[Any]:
    return [question.value for question in result["__interrupt__"]]


# ---------------------------------------------------------------------- asking and answering


@in_notebooks_too
def test_a_question_stops_the_run_and_its_answer_lets_it_go_on(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    program = asking(kind, colour, saver, lambda: interrupt({"ask": "sure?"}))
    result = lane.invoke(program, INPUT, thread)
    (question,) = result.pop("__interrupt__")
    assert result == ({"x": 0, "log": []} if kind == "graph" else {})
    assert question == Interrupt({"ask": "sure?"}, question.id, response_schema=None)
    assert len(question.id) == 32
    assert set(question.id) <= set("0123456789abcdef")
    assert lane.invoke(program, Command(resume="yes"), thread) == {"x": 0, "log": ["yes"]}


@pytest.mark.parametrize("answer", [None, False, 0, "", [], (), (1, 2), {"a": 1}, {"0" * 31: 1}], ids=repr)
def test_any_value_can_be_the_answer(lane: Lane, saver: BaseCheckpointSaver, thread: Any, answer: Any) -> None:
    program = asking("task", lambda fn: fn, saver, lambda: interrupt("?"))
    lane.invoke(program, INPUT, thread)
    result = lane.invoke(program, Command(resume=answer), thread)["log"][0]
    assert (result, type(result)) == (answer, type(answer))


def test_the_state_shows_the_question_until_it_is_answered(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    program = asking(kind, colour, saver, lambda: interrupt("q"))
    result = lane.invoke(program, INPUT, thread)
    state = lane.state(program, thread)
    assert list(state.interrupts) == result["__interrupt__"]
    assert state.tasks[0].interrupts == state.interrupts
    assert (state.next, state.metadata["status"]) == ((state.tasks[0].name,), "interrupted")
    lane.invoke(program, Command(resume=1), thread)
    state = lane.state(program, thread)
    assert (state.interrupts, state.next, state.metadata["status"]) == ((), (), "done")


def test_none_asks_the_same_question_again(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    program = asking(kind, colour, saver, lambda: interrupt("q"))
    first = lane.invoke(program, INPUT, thread)["__interrupt__"]
    assert lane.invoke(program, None, thread)["__interrupt__"] == first
    assert lane.invoke(program, Command(), thread)["__interrupt__"] == first
    assert lane.invoke(program, Command(resume="a"), thread)["log"] == ["a"]


def test_a_new_input_abandons_the_question(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    program = asking(kind, colour, saver, lambda: interrupt("q"))
    (old,) = lane.invoke(program, INPUT, thread)["__interrupt__"]
    (new,) = lane.invoke(program, {"x": 1}, thread)["__interrupt__"]
    assert new.id != old.id
    with pytest.raises(UnknownInterruptError, match=old.id):
        lane.invoke(program, Command(resume={old.id: "late"}), thread)
    assert lane.invoke(program, Command(resume="a"), thread) == {"x": 1, "log": ["a"]}


def test_several_questions_are_asked_one_after_the_other(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    program = asking(kind, colour, saver, lambda: (interrupt("a?"), interrupt("b?"), interrupt("c?")))
    asked = [questions(lane.invoke(program, INPUT, thread))]
    asked += [questions(lane.invoke(program, Command(resume=n), thread)) for n in (1, 2)]
    assert asked == [["a?"], ["b?"], ["c?"]]
    assert lane.invoke(program, Command(resume=3), thread)["log"] == [(1, 2, 3)]


def test_the_same_question_in_a_loop_gets_an_answer_each_time(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    def until_positive() -> list[int]:
        answers: list[int] = []
        while not answers or answers[-1] <= 0:
            answers.append(interrupt("a positive number, please"))
        return answers

    program = asking(kind, colour, saver, until_positive)
    ids = {lane.invoke(program, INPUT, thread)["__interrupt__"][0].id}
    for answer in (-1, 0):
        ids.add(lane.invoke(program, Command(resume=answer), thread)["__interrupt__"][0].id)
    assert lane.invoke(program, Command(resume=5), thread)["log"] == [[-1, 0, 5]]
    assert len(ids) == 3


def test_a_node_runs_again_from_its_start_but_others_do_not(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any
) -> None:
    ran: list[str] = []

    def ask(state: State) -> Any:
        ran.append("ask")
        return {"log": [interrupt("?")]}

    nodes = [
        ("before", colour(lambda state: ran.append("before"))),
        ("ask", colour(ask)),
        ("after", colour(lambda state: ran.append("after"))),
    ]
    graph = chain(*nodes, checkpointer=saver)
    lane.invoke(graph, INPUT, thread)
    assert ran == ["before", "ask"]
    lane.invoke(graph, Command(resume=1), thread)
    assert ran == ["before", "ask", "ask", "after"]


def test_what_a_node_would_have_written_before_its_question_is_dropped(lane: Lane, saver: Any, thread: Any) -> None:
    graph = chain(("ask", lambda state: {"x": 9, "log": [interrupt("?")]}), checkpointer=saver)
    assert lane.invoke(graph, INPUT, thread)["x"] == 0
    assert lane.state(graph, thread).values == {"x": 0, "log": []}


def test_threads_wait_for_their_own_answers(lane: Lane, saver: BaseCheckpointSaver, kind: str) -> None:
    program = asking(kind, lambda fn: fn, saver, lambda: interrupt("?"))
    one, two = ({"configurable": {"thread_id": name}} for name in ("one", "two"))
    lane.invoke(program, {"x": 1}, one)
    lane.invoke(program, {"x": 2}, two)
    assert lane.invoke(program, Command(resume="b"), two) == {"x": 2, "log": ["b"]}
    assert lane.invoke(program, Command(resume="a"), one) == {"x": 1, "log": ["a"]}


def test_version_2_has_the_questions_beside_the_value(lane: Lane, saver: Any, thread: Any, kind: str) -> None:
    program = asking(kind, lambda fn: fn, saver, lambda: interrupt("q"))
    output = lane.invoke(program, INPUT, thread, version="v2")
    assert isinstance(output, GraphOutput)
    assert output.value == ({"x": 0, "log": []} if kind == "graph" else None)
    assert [question.value for question in output.interrupts] == ["q"]


def test_a_question_in_a_stream_of_a_graph(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    graph = chain(("ask", lambda state: {"log": [interrupt("q")]}), checkpointer=saver)
    chunks = lane.stream(graph, INPUT, thread, stream_mode=["updates", "values"])
    question = chunks[1][1]["__interrupt__"][0]
    assert chunks == [
        ("values", {"x": 0, "log": []}),
        ("updates", {"__interrupt__": (question,)}),
        ("values", {"x": 0, "log": [], "__interrupt__": (question,)}),
    ]
    lane.invoke(graph, INPUT, {"configurable": {"thread_id": "2"}})
    parts = lane.stream(graph, None, {"configurable": {"thread_id": "2"}}, stream_mode="values", version="v2")
    assert [(part["data"], len(part["interrupts"])) for part in parts] == [({"x": 0, "log": []}, n) for n in (0, 1)]


def test_resume_can_bring_an_update_along(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    graph = chain(("ask", lambda state: {"log": [state["x"], interrupt("?")]}), checkpointer=saver)
    lane.invoke(graph, INPUT, thread)
    assert lane.invoke(graph, Command(resume="a", update={"x": 5}), thread) == {"x": 5, "log": [5, "a"]}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_questions_work_in_every_durability(lane: Lane, saver: Any, thread: Any, kind: str, durability: Any) -> None:
    program = asking(kind, lambda fn: fn, saver, lambda: [interrupt("a"), interrupt("b")])
    lane.invoke(program, INPUT, thread, durability=durability)
    lane.invoke(program, Command(resume=1), thread, durability=durability)
    assert lane.invoke(program, Command(resume=2), thread, durability=durability) == {"x": 0, "log": [[1, 2]]}


# ---------------------------------------------------------------------- what cannot be answered


def test_without_a_checkpointer_a_question_is_refused_at_once(lane: Lane, colour: Colour, kind: str) -> None:
    program = asking(kind, colour, None, lambda: interrupt("q"))  # type: ignore[arg-type]
    with pytest.raises(NoCheckpointerError, match=r"interrupt\(\) in .* needs a checkpointer"):
        lane.invoke(program, INPUT)
    with pytest.raises(NoCheckpointerError, match="resume"):
        lane.invoke(program, Command(resume=1))


def test_an_answer_to_a_thread_that_never_started_is_refused(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    ran: list[int] = []
    program = asking(kind, lambda fn: fn, saver, lambda: ran.append(1))
    with pytest.raises((UnknownInterruptError, EmptyInputError)):
        lane.invoke(program, Command(resume="x"), thread)
    assert ran == []
    assert lane.state(program, thread).metadata is None


@pytest.mark.parametrize("answer", ["x", None, {"0" * 32: 1}, {}], ids=repr)
def test_an_answer_to_nothing_is_refused(lane: Lane, saver: Any, thread: Any, kind: str, answer: Any) -> None:
    program = asking(kind, lambda fn: fn, saver, lambda: "done")
    lane.invoke(program, INPUT, thread)
    with pytest.raises(UnknownInterruptError) as caught:
        lane.invoke(program, Command(resume=answer), thread)
    assert caught.value.reason == ("empty_map" if answer == {} else "not_pending")
    assert lane.state(program, thread).metadata["status"] == "done"


@pytest.mark.parametrize(("answer", "reason"), [({"0" * 32: 1}, "not_pending"), ({}, "empty_map")])
def test_an_answer_to_an_unknown_question_is_refused_and_changes_nothing(
    lane: Lane, saver: Any, thread: Any, kind: str, answer: Any, reason: str
) -> None:
    program = asking(kind, lambda fn: fn, saver, lambda: interrupt("q"))
    (question,) = lane.invoke(program, INPUT, thread)["__interrupt__"]
    with pytest.raises(UnknownInterruptError) as caught:
        lane.invoke(program, Command(resume=answer), thread)
    assert (caught.value.reason, caught.value.pending_ids) == (reason, (question.id,))
    assert caught.value.interrupt_ids == tuple(answer)
    assert lane.invoke(program, Command(resume="a"), thread)["log"] == ["a"]


def test_an_answer_can_name_its_question(lane: Lane, saver: BaseCheckpointSaver, thread: Any, kind: str) -> None:
    program = asking(kind, lambda fn: fn, saver, lambda: interrupt("q"))
    (question,) = lane.invoke(program, INPUT, thread)["__interrupt__"]
    assert lane.invoke(program, Command(resume={question.id: "a"}), thread)["log"] == ["a"]


def test_an_answer_is_used_once(lane: Lane, saver: BaseCheckpointSaver, thread: Any, kind: str) -> None:
    program = asking(kind, lambda fn: fn, saver, lambda: interrupt("q"))
    for turn in ("a", "b"):
        (question,) = lane.invoke(program, INPUT, thread)["__interrupt__"]
        assert lane.invoke(program, Command(resume=turn), thread)["log"][-1] == turn
        with pytest.raises(UnknownInterruptError):
            lane.invoke(program, Command(resume={question.id: "again"}), thread)


# ---------------------------------------------------------------------- questions pass through user code


def test_except_exception_does_not_swallow_a_question(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, kind: str
) -> None:
    cleaned: list[str] = []

    def careless() -> Any:
        try:
            return interrupt("q")
        except Exception as error:
            return f"swallowed {error!r}"
        finally:
            cleaned.append("up")

    program = asking(kind, colour, saver, careless)
    assert questions(lane.invoke(program, INPUT, thread)) == ["q"]
    assert cleaned == ["up"]
    assert lane.invoke(program, Command(resume="a"), thread)["log"] == ["a"]


def test_except_exception_around_a_task_does_not_swallow_its_question(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any
) -> None:
    ask = task(colour(lambda: interrupt("q")))

    @entrypoint(checkpointer=saver)
    def program(x: int) -> Any:
        try:
            return ask().result()
        except Exception as error:
            return f"swallowed {error!r}"

    assert questions(lane.invoke(program, 1, thread)) == ["q"]
    assert lane.invoke(program, Command(resume="a"), thread) == "a"


# ---------------------------------------------------------------------- which question is which


def test_an_answer_never_reaches_another_question(lane: Lane, saver: Any, thread: Any, kind: str) -> None:
    first_time = [True]

    def fickle() -> Any:
        if first_time:
            first_time.clear()
            interrupt("first?")
        return interrupt("second?")

    program = asking(kind, lambda fn: fn, saver, fickle)
    lane.invoke(program, INPUT, thread)
    with pytest.raises(NonDeterminismError, match=r"second\?"):
        lane.invoke(program, Command(resume="to the first"), thread)


def test_a_changed_question_is_another_question(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    texts = iter(["first text", "second text"])
    program = asking("entrypoint", lambda fn: fn, saver, lambda: interrupt(next(texts)))
    lane.invoke(program, INPUT, thread)
    with pytest.raises(NonDeterminismError, match="second text"):
        lane.invoke(program, Command(resume="a"), thread)


@pytest.mark.parametrize(("on_mismatch", "result"), [("rerun", ["second text"]), ("accept", "a")])
def test_a_changed_question_can_be_asked_anew_or_accept_the_answer(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, on_mismatch: Any, result: Any
) -> None:
    texts = iter(["first text", "second text", "second text"])
    program = entrypoint(checkpointer=saver, on_mismatch=on_mismatch)(lambda x: interrupt(next(texts)))
    lane.invoke(program, 1, thread)
    found = lane.invoke(program, Command(resume="a"), thread)
    assert (questions(found) if on_mismatch == "rerun" else found) == result


def test_a_key_names_a_question_whose_text_changes(lane: Lane, saver: Any, thread: Any, kind: str) -> None:
    texts = iter(["it is 10:00, go on?", "it is 10:05, go on?"])
    program = asking(kind, lambda fn: fn, saver, lambda: interrupt(next(texts), key="go on"))
    lane.invoke(program, INPUT, thread)
    assert lane.invoke(program, Command(resume="yes"), thread)["log"] == ["yes"]


def test_questions_with_keys_may_change_places(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    turns = iter([("a", "b"), ("b", "a"), ("b", "a")])
    program = entrypoint(checkpointer=saver)(lambda x: {key: interrupt("?", key=key) for key in next(turns)})
    (a,) = lane.invoke(program, 1, thread)["__interrupt__"]
    (b,) = lane.invoke(program, Command(resume="to a"), thread)["__interrupt__"]
    assert a.id != b.id
    assert lane.invoke(program, Command(resume="to b"), thread) == {"b": "to b", "a": "to a"}


def test_equal_questions_at_two_places_are_two_questions(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    def name() -> Any:
        return interrupt("name?")

    def other() -> Any:
        return interrupt("name?")

    program = entrypoint(checkpointer=saver)(lambda x: [name(), other(), name()])
    lane.invoke(program, 1, thread)
    for answer in ("a", "b"):
        lane.invoke(program, Command(resume=answer), thread)
    assert lane.invoke(program, Command(resume="c"), thread) == ["a", "b", "c"]


def test_the_same_question_has_the_same_id_when_it_is_asked_again(lane: Lane, saver: Any, thread: Any) -> None:
    program = entrypoint(checkpointer=saver)(lambda x: [interrupt({"b": 1, "a": {2, 3}}), interrupt("?")])
    first = lane.invoke(program, 1, thread)["__interrupt__"]
    assert lane.invoke(program, None, thread)["__interrupt__"] == first


def test_a_question_that_cannot_be_stored_is_refused(lane: Lane, thread: Any, kind: str) -> None:
    program = asking(kind, lambda fn: fn, InMemorySaver(), lambda: interrupt(object()))
    with pytest.raises(TypeError, match="object"):
        lane.invoke(program, INPUT, thread)


def test_a_question_with_values_of_many_types_arrives_as_it_is(lane: Lane, saver: Any, thread: Any) -> None:
    value = {"pair": (1, 2), "set": {1}, 3: b"raw"}
    program = entrypoint(checkpointer=saver)(lambda x: interrupt(value))
    (question,) = lane.invoke(program, 1, thread)["__interrupt__"]
    assert question.value == value
    (stored,) = lane.state(program, thread).interrupts
    assert (stored, type(stored.value["pair"])) == (question, tuple)


# ---------------------------------------------------------------------- static breakpoints, older spelling


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("names", ["*", ["ask"]], ids=["every", "named"])
def test_a_static_breakpoint_stops_a_run_and_none_goes_on(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, where: str, names: Any
) -> None:
    ran: list[str] = []
    nodes = [(name, lambda state, name=name: ran.append(name)) for name in ("ask", "last")]
    graph = chain(*nodes, checkpointer=saver, **{where: names})
    assert lane.invoke(graph, INPUT, thread) == {"x": 0, "log": [], "__interrupt__": []}
    assert ran == ([] if where == "interrupt_before" else ["ask"])
    state = lane.state(graph, thread)
    assert state.next == (("ask",) if where == "interrupt_before" else ("last",))
    assert (state.interrupts, state.metadata["status"]) == ((), "interrupted")
    rest = lane.stream(graph, None, thread)
    again = where == "interrupt_before" and names == "*"
    assert (rest[-1] == {"__interrupt__": ()}) == again
    if again:
        lane.invoke(graph, None, thread)
    assert ran == ["ask", "last"]
    assert lane.state(graph, thread).next == ()


def test_an_entrypoint_takes_breakpoints_at_run_time(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    program = entrypoint(checkpointer=saver)(lambda x: x + 1)
    assert lane.invoke(program, 1, thread, interrupt_before="*") == {"__interrupt__": []}
    assert lane.state(program, thread).next == ("<lambda>",)
    assert lane.invoke(program, None, thread) == 2


def test_a_node_may_raise_its_question(lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any) -> None:
    def node(state: State) -> Any:
        if state["x"] == 0:
            raise NodeInterrupt("x is 0")
        return {"log": [state["x"]]}

    graph = chain(("node", colour(node)), checkpointer=saver)
    (question,) = lane.invoke(graph, INPUT, thread)["__interrupt__"]
    assert (question.value, len(question.id)) == ("x is 0", 32)
    assert lane.invoke(graph, None, thread)["__interrupt__"] == [question]
    assert lane.invoke(graph, Command(update={"x": 5}), thread) == {"x": 5, "log": [5]}


# ---------------------------------------------------------------------- the usual patterns


def test_a_review_decides_the_way(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    def review(state: State) -> Command[Any]:
        return Command(goto="send" if interrupt({"send?": state["x"]}) else END)

    builder = StateGraph(State)
    builder.add_node("review", review, destinations=("send", END))
    builder.add_node("send", lambda state: {"log": ["sent"]})
    builder.add_edge(START, "review")
    graph = builder.compile(checkpointer=saver)
    for answer, log in ((False, []), (True, ["sent"])):
        lane.invoke(graph, INPUT, thread)
        assert lane.invoke(graph, Command(resume=answer), thread)["log"] == log


def test_a_review_of_each_step_of_an_essay(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    written: list[str] = []

    @task
    def write(topic: str, hint: str) -> str:
        written.append(hint)
        return f"{topic}: {hint}"

    @entrypoint(checkpointer=saver)
    def essay(topic: str) -> dict[str, Any]:
        hint, drafts = "first", []
        while True:
            drafts.append(write(topic, hint).result())
            hint = interrupt({"draft": drafts[-1]})
            if hint == "good":
                return {"essay": drafts[-1], "drafts": len(drafts)}

    assert lane.invoke(essay, "cat", thread)["__interrupt__"][0].value == {"draft": "cat: first"}
    assert lane.invoke(essay, Command(resume="longer"), thread)["__interrupt__"][0].value == {"draft": "cat: longer"}
    assert lane.invoke(essay, Command(resume="good"), thread) == {"essay": "cat: longer", "drafts": 2}
    assert written == ["first", "longer"]
