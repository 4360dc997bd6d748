"""Pydantic states: what is written is validated when it is written, key by key."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Self, TypedDict

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from tests.conftest import Lane
from tests.graph.kit import S, one, row, side_by_side
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import InvalidUpdateError
from twinstep.graph import START, StateGraph, add_messages
from twinstep.types import Command, Overwrite


class P(BaseModel):
    a: int = 0
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    numbers: Annotated[list[int], operator.add] = []
    tags: Annotated[dict[str, int], operator.or_] = {}
    even: int = 0

    @field_validator("even")
    @classmethod
    def check_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value


BAD: list[tuple[str, Any]] = [
    ("a", "no int"),
    ("share", 1.5),
    ("numbers", ["no int"]),
    ("tags", {"one": "no int"}),
    ("even", 3),
]


@pytest.mark.parametrize(("key", "value"), BAD)
@pytest.mark.parametrize(
    "returns", [dict, lambda u: Command(update=u), lambda u: {k: Overwrite(v) for k, v in u.items()}]
)
def test_w14_the_output_of_the_last_node_is_validated(key: str, value: Any, returns: Any, lane: Lane) -> None:
    with pytest.raises(ValidationError) as caught:
        lane.invoke(one(lambda s: returns({key: value}), P), {})
    assert f"At key '{key}' of 'LangGraph'" in caught.value.__notes__
    assert "task with name 'n'" in caught.value.__notes__[-1]


def test_w14_a_bad_value_of_one_of_several_nodes_is_found(lane: Lane) -> None:
    graph = side_by_side({"good": lambda s: {"numbers": [1]}, "bad": lambda s: {"numbers": ["x"]}}, P).compile()
    with pytest.raises(ValidationError, match="valid integer"):
        lane.invoke(graph, {})


@pytest.mark.parametrize(("key", "value"), BAD)
def test_w14_bad_input_is_refused_before_anything_is_stored(
    key: str, value: Any, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row({"n": lambda s: None}, P).compile(saver)
    with pytest.raises(ValidationError):
        lane.invoke(graph, {key: value}, thread)
    assert lane.state(graph, thread).values == {}


def test_values_are_stored_as_their_type(saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]) -> None:
    graph = row({"n": lambda s: {"a": "2", "numbers": ["3"], "tags": Overwrite({"t": "4"})}}, P).compile(saver)
    expected = {"numbers": [1, 3], "tags": {"t": 4}, "a": 2}
    assert lane.invoke(graph, {"a": "1", "numbers": ["1"]}, thread) == expected
    lane.update(graph, thread, {"a": "5"})
    assert lane.state(graph, thread).values == {**expected, "a": 5}
    with pytest.raises(ValidationError):
        lane.update(graph, thread, {"a": "no int"})


class Whole(BaseModel):
    low: int = 0
    high: int = 10

    @field_validator("low")
    @classmethod
    def below_high(cls, value: int, info: ValidationInfo) -> int:
        return value

    @model_validator(mode="after")
    def in_order(self) -> Whole:
        assert self.low <= self.high
        return self


def test_validators_of_the_whole_run_when_the_next_node_reads_it(lane: Lane) -> None:
    graph = row({"n": lambda s: {"low": 20}, "m": lambda s: {"high": 30}}, Whole).compile()
    with pytest.raises(ValidationError) as caught:
        lane.invoke(graph, {"low": 1})
    assert "Before task with name 'm'" in "".join(caught.value.__notes__)
    with pytest.raises(ValidationError, match="valid integer"):
        lane.invoke(one(lambda s: {"low": "x"}, Whole), {})


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str = ""

    @field_validator("name")
    @classmethod
    def lower(cls, value: str) -> str:
        return value.lower()


def test_a_frozen_model_may_be_a_state(lane: Lane) -> None:
    assert lane.invoke(one(lambda s: {"name": "N"}, Frozen), {"name": "a"}) == {"name": "N"}


class Chat(BaseModel):
    messages: Annotated[list[Any], add_messages] = []


def test_a_reducer_that_takes_other_values_than_its_type_is_left_alone(lane: Lane) -> None:
    assert [m.content for m in lane.invoke(one(lambda s: {"messages": "b"}, Chat), {"messages": "a"})["messages"]] == [
        "a",
        "b",
    ]


class Given(BaseModel):
    x: int


def test_an_input_schema_is_validated_and_other_writes_are_not(lane: Lane) -> None:
    graph = row({"n": lambda s: {"log": [s["x"]], "x": "free"}}, S, input_schema=Given).compile()
    assert lane.invoke(graph, {"x": "4"}) == {"x": "free", "log": [4]}
    assert lane.invoke(graph, Given(x=4)) == {"x": "free", "log": [4]}
    with pytest.raises(ValidationError):
        lane.invoke(graph, {"x": "four"})


class Private(BaseModel):
    secret: int


def test_private_keys_are_validated_as_the_first_schema_that_has_them_says(lane: Lane) -> None:
    class Wider(TypedDict):
        secret: Any

    reads = lambda s: {"log": [s.secret]}  # noqa: E731
    graph = row({"n": lambda s: {"secret": "7"}, "m": (reads, {"input_schema": Private})}).compile()
    assert lane.invoke(graph, {})["log"] == [7]
    graph = row(
        {"n": (lambda s: {"secret": "7"}, {"input_schema": Wider}), "m": (reads, {"input_schema": Private})}
    ).compile()
    assert lane.invoke(graph, {})["log"] == [7], "read as the node's model"


def test_w15_an_instance_writes_only_what_was_set(lane: Lane) -> None:
    assert lane.invoke(one(lambda s: P(a=5), P), {"share": 0.25, "even": 4}) == {
        "a": 5,
        "share": 0.25,
        "numbers": [],
        "tags": {},
        "even": 4,
    }


def test_a_text_behind_a_reducer_does_not_hide_it(lane: Lane) -> None:
    class Described(TypedDict):
        log: Annotated[list[int], operator.add, "what happened"]

    assert lane.invoke(one(lambda s: {"log": [2]}, Described), {"log": [1]}) == {"log": [1, 2]}


class Ordered(BaseModel):
    low: int = 0
    high: int = 10

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Paired(BaseModel):
    low: int = 0
    high: int = 10

    @field_validator("high")
    @classmethod
    def above(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data["low"]:
            raise ValueError("low is above high")
        return value


@pytest.mark.parametrize("model", [Ordered, Paired])
def test_what_a_validator_of_the_whole_refuses_is_no_result(
    model: Any, lane: Lane, saver: BaseCheckpointSaver, thread: dict[str, Any]
) -> None:
    write = {"low": 11}
    builder = StateGraph(model).add_node("n", lambda state: dict(write)).add_edge(START, "n")
    graph = builder.compile(saver)
    with pytest.raises(ValidationError, match="low is above high") as caught:
        lane.invoke(graph, {"low": 0, "high": 10}, thread)
    assert "In the state at the end of 'LangGraph'" in caught.value.__notes__
    assert lane.state(graph, thread).next == ("n",)
    write["low"] = 9
    assert lane.invoke(graph, None, thread) == {"low": 9, "high": 10}
    builder.add_node("m", lambda state: {"high": 20}).add_edge("n", "m")
    write["low"] = 15
    with pytest.raises(ValidationError, match="low is above high"):
        lane.invoke(builder.compile(), {"low": 0, "high": 10})  # the next node reads it, as ever


def test_a_field_with_an_alias_is_a_key_by_its_name(lane: Lane) -> None:
    class Aliased(BaseModel):
        number: int = Field(0, alias="Number")

    graph = StateGraph(Aliased).add_node("n", lambda state: {"number": state.number + 1}).add_edge(START, "n").compile()
    assert lane.invoke(graph, {"number": 3}) == {"number": 4}
    with pytest.raises(InvalidUpdateError, match="Input key 'Number' is not in Aliased"):
        lane.invoke(graph, {"Number": 3})
