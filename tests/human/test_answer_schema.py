"""`response_schema`: the question says what its answer must look like, and a wrong answer can be given again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, ValidationError

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import is_invalid_resume
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.serde import register_type
from twinstep.types import Command, RetryPolicy, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


class Model(BaseModel):
    age: int


@dataclass
class Data:
    age: int


class Typed(TypedDict):
    age: int


for own in (Model, Data):
    register_type(own)


class State(TypedDict, total=False):
    found: Any


def asking(
    place: str, saver: BaseCheckpointSaver | None, ask: Callable[[], Any], colour: Colour = lambda fn: fn
) -> Any:
    """Make a program that asks at a place and returns `{"found": answer}`."""
    if place == "entrypoint":
        return entrypoint(checkpointer=saver)(colour(lambda x: {"found": ask()}))
    if place == "task":
        work = task(colour(ask))
        return entrypoint(checkpointer=saver)(lambda x: {"found": work().result()})
    if place == "nested entrypoint":
        inner = entrypoint()(colour(lambda x: {"found": ask()}))
        return entrypoint(checkpointer=saver)(lambda x: inner.invoke(x))
    builder = StateGraph(State)
    builder.add_node("node", colour(lambda state: {"found": ask()}))
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile(checkpointer=saver)


PLACES = ["entrypoint", "task", "nested entrypoint", "node"]
INPUT: Any = {"found": None}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("schema", "found"), [(Model, Model(age=5)), (Data, Data(5)), (Typed, {"age": 5})], ids=["model", "data", "typed"]
)
def test_the_answer_arrives_as_the_type_that_was_asked_for(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, place: str, schema: Any, found: Any
) -> None:
    program = asking(place, saver, lambda: interrupt("how old?", response_schema=schema))
    (question,) = lane.invoke(program, INPUT, thread)["__interrupt__"]
    assert question.response_schema["properties"]["age"]["type"] == "integer"
    assert lane.state(program, thread).interrupts == (question,)
    assert lane.invoke(program, Command(resume={"age": "5"}), thread) == {"found": found}


@pytest.mark.parametrize(("schema", "good", "bad"), [(int, 5, "five"), (Literal["yes", "no"], "no", "maybe")])
def test_any_type_can_be_asked_for(lane: Lane, thread: Any, schema: Any, good: Any, bad: Any) -> None:
    program = asking("entrypoint", InMemorySaver(), lambda: interrupt("?", response_schema=schema))
    lane.invoke(program, INPUT, thread)
    with pytest.raises(ValidationError):
        lane.invoke(program, Command(resume=bad), thread)
    assert lane.invoke(program, Command(resume=good), thread) == {"found": good}


@pytest.mark.parametrize("by_id", [True, False], ids=["by id", "plain"])
@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_answer_is_refused_and_can_be_given_again(
    lane: Lane, colour: Colour, saver: BaseCheckpointSaver, thread: Any, place: str, by_id: bool
) -> None:
    program = asking(place, saver, lambda: interrupt("how old?", response_schema=Model), colour)
    (question,) = lane.invoke(program, INPUT, thread)["__interrupt__"]
    for wrong in ("old", {"age": "old"}, None):
        with pytest.raises(ValidationError) as caught:
            lane.invoke(program, Command(resume={question.id: wrong} if by_id else wrong), thread)
        assert is_invalid_resume(caught.value)
        assert any(question.id in note for note in caught.value.__notes__)
        state = lane.state(program, thread)
        assert (state.interrupts, state.metadata["status"]) == ((question,), "interrupted")
        assert state.tasks[0].error is None
    assert lane.invoke(program, None, thread)["__interrupt__"] == [question]
    assert lane.invoke(program, Command(resume={"age": 5}), thread) == {"found": Model(age=5)}


def test_a_wrong_answer_leaves_the_right_ones_before_it(lane: Lane, saver: Any, thread: Any) -> None:
    def both() -> list[Any]:
        return [interrupt("name?"), interrupt("age?", response_schema=int)]

    program = asking("task", saver, both)
    lane.invoke(program, INPUT, thread)
    lane.invoke(program, Command(resume="Ada"), thread)
    with pytest.raises(ValidationError):
        lane.invoke(program, Command(resume="old"), thread)
    assert lane.invoke(program, Command(resume=5), thread) == {"found": ["Ada", 5]}


@pytest.mark.parametrize("unit", ["task", "entrypoint"])
def test_a_wrong_answer_is_not_retried(lane: Lane, thread: Any, unit: str) -> None:
    tries: list[int] = []

    def ask(x: int) -> Any:
        tries.append(x)
        return interrupt("?", response_schema=int)

    retry = RetryPolicy(initial_interval=0, jitter=False, retry_on=Exception)
    if unit == "task":
        work = task(retry_policy=retry)(ask)
        program = entrypoint(checkpointer=InMemorySaver())(lambda x: work(x).result())
    else:
        program = entrypoint(checkpointer=InMemorySaver(), retry_policy=retry)(ask)
    lane.invoke(program, 1, thread)
    with pytest.raises(ValidationError):
        lane.invoke(program, Command(resume="wrong"), thread)
    assert len(tries) == 2
    assert lane.invoke(program, Command(resume=5), thread) == 5


def test_of_several_answers_the_wrong_one_can_be_given_again(lane: Lane, saver: Any, thread: Any) -> None:
    ask = task(lambda text: interrupt(text, response_schema=int), name="ask")
    program = entrypoint(checkpointer=saver)(lambda x: [f.result() for f in [ask("a"), ask("b")]])
    a, b = (question.id for question in lane.invoke(program, 1, thread)["__interrupt__"])
    with pytest.raises(ValidationError):
        lane.invoke(program, Command(resume={a: 1, b: "wrong"}), thread)
    pending = {question.id for question in lane.state(program, thread).interrupts}
    assert b in pending
    rest = {id: 2 if id == b else 1 for id in pending}
    assert lane.invoke(program, Command(resume=rest), thread) == [1, 2]


def test_a_json_schema_is_passed_on_and_not_checked(lane: Lane, thread: Any) -> None:
    schema = {"type": "integer"}
    program = asking("entrypoint", InMemorySaver(), lambda: interrupt("?", response_schema=schema))
    (question,) = lane.invoke(program, INPUT, thread)["__interrupt__"]
    assert question.response_schema == schema
    assert lane.invoke(program, Command(resume="text"), thread) == {"found": "text"}


def test_another_validation_error_is_no_invalid_resume(lane: Lane, thread: Any) -> None:
    program = entrypoint(checkpointer=InMemorySaver())(lambda x: Model(age=x))
    with pytest.raises(ValidationError) as caught:
        lane.invoke(program, "old", thread)
    assert not is_invalid_resume(caught.value)
    assert lane.state(program, thread).metadata["status"] == "failed"
