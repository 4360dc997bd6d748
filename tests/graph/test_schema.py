"""State schemas: what nodes are given, what they may return, and what comes out (behaviour 1.1)."""

from __future__ import annotations

import operator
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, NotRequired, Required, TypedDict, TypeVar, cast

import pydantic
import pytest
import typing_extensions

from tests.conftest import Lane
from tests.graph.kit import S, build, one, row, says, side_by_side
from twinstep.channels import MISSING, EphemeralValue, LastValue, Topic, UntrackedValue
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import EmptyInputError, GraphValidationError, InvalidUpdateError
from twinstep.graph import END, START, StateGraph
from twinstep.managed import IsLastStep, RemainingSteps
from twinstep.types import Command


class Typed(TypedDict, total=False):
    a: int
    log: Annotated[list[str], operator.add]
    note: str


@dataclass
class Data:
    a: int
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    note: str | None = None


class Model(pydantic.BaseModel):
    a: int
    log: Annotated[list[str], operator.add] = []
    note: str | None = "unset"


def get(state: Any, key: str) -> Any:
    return state[key] if isinstance(state, dict) else getattr(state, key)


def three(a: Any, b: Any, c: Any) -> Any: ...


def last(a: Any, b: Any) -> Any:
    return b


T = TypeVar("T")


class Boxed(TypedDict, Generic[T]):
    a: T
    log: Annotated[list[T], operator.add]


class BoxedToo(typing_extensions.TypedDict, Generic[T]):
    a: T
    log: Annotated[list[T], operator.add]


@dataclass(frozen=True)
class BoxedData(Generic[T]):
    a: T
    log: Annotated[list[T], operator.add] = field(default_factory=list)


# ---------------------------------------------------------------------- kinds of state


@pytest.mark.parametrize("schema", [Boxed, Boxed[int], BoxedToo[int], BoxedData, BoxedData[int]])
def test_a_generic_state_has_its_keys_with_and_without_arguments(schema: Any, lane: Lane) -> None:
    builder = StateGraph(schema).add_node("n", lambda s: {"log": [get(s, "a")]}).add_edge(START, "n")
    assert lane.invoke(builder.compile(), {"a": 1, "log": [0]}) == {"a": 1, "log": [0, 1]}
    assert {*builder.compile().get_input_jsonschema()["properties"]} == {"a", "log"}


@pytest.mark.parametrize("schema", [Typed, Data, Model])
def test_nodes_are_given_an_instance_of_the_state_and_the_output_is_a_dict(schema: type, lane: Lane) -> None:
    def node(state: Any) -> dict[str, Any]:
        return {"a": get(state, "a") + 1, "log": [type(state).__name__]}

    kind = "dict" if schema is Typed else schema.__name__
    graph = row({"n": node, "m": node}, schema).compile()
    assert lane.invoke(graph, {"a": 1, "log": ["in"]}) == {"a": 3, "log": ["in", kind, kind]}


@pytest.mark.parametrize(
    ("schema", "node", "given", "out"),
    [
        (int, lambda n: n + 1, 4, 5),
        (int, lambda n: None, 4, 4),
        (list, lambda items: [*items, 2], [1], [1, 2]),
        (dict, lambda d: {"b": d}, {"a": 1}, {"b": {"a": 1}}),
        (Annotated[list, operator.add], lambda items: [len(items)], ["x"], ["x", 1]),
        (Annotated[list[int], last], lambda items: [len(items)], ["x"], [1]),
    ],
)
def test_a_bare_type_is_the_whole_state(schema: Any, node: Any, given: Any, out: Any, lane: Lane) -> None:
    graph = one(node, schema)
    assert lane.invoke(graph, given) == out
    assert lane.stream(graph, given, stream_mode="values") == [given, out]


def test_a_state_class_made_inside_a_function_may_name_what_that_function_knows() -> None:
    class Item(pydantic.BaseModel):
        n: int

    class Local(TypedDict):
        item: Item
        log: Annotated[list[Item], operator.add]

    graph = one(lambda s: {"log": [s["item"]]}, Local)
    assert graph.invoke({"item": Item(n=1)})["log"] == [Item(n=1)]


def test_required_and_notrequired_do_not_hide_a_reducer(lane: Lane) -> None:
    class State(TypedDict):
        a: Required[Annotated[list[int], operator.add]]
        b: NotRequired[Annotated[list[int], operator.add]]

    assert lane.invoke(one(lambda s: {"a": [1], "b": [1]}, State), {"a": [0]}) == {"a": [0, 1], "b": [1]}


def test_an_unset_plain_key_is_absent_and_a_reducer_is_always_there(lane: Lane) -> None:
    seen: list[Any] = []
    graph = one(lambda s: seen.append(dict(s)))
    assert lane.invoke(graph, {}) == {"log": []}
    assert seen == [{"log": []}]


@pytest.mark.parametrize(
    ("typ", "start"), [(list, []), (int, 0), (dict, {}), (Sequence[int], []), (Mapping[str, int], {})]
)
def test_a_reducer_starts_as_its_type(typ: Any, start: Any) -> None:
    State = TypedDict("State", {"k": Annotated[typ, last]})  # noqa: UP013
    seen: list[Any] = []
    one(lambda s: seen.append(s["k"]), State).invoke({})
    assert seen == [start]


def test_a_reducer_whose_type_has_no_start_takes_the_first_write_as_it_is(lane: Lane) -> None:
    State = TypedDict("State", {"k": Annotated[int | None, operator.mul]})  # noqa: UP013
    graph = one(lambda s: {"k": 3}, State)
    assert lane.invoke(graph, {}) == {"k": 3}
    assert lane.invoke(graph, {"k": 5}) == {"k": 15}


def test_a_channel_in_an_annotation_is_that_channel(
    saver: BaseCheckpointSaver, thread: dict[str, Any], lane: Lane
) -> None:
    class State(TypedDict, total=False):
        once: Annotated[int, EphemeralValue]
        parts: Annotated[Sequence[int], Topic(int)]
        lock: Annotated[Any, UntrackedValue]
        seen: Annotated[list[Any], operator.add]

    def first(state: State) -> dict[str, Any]:
        return {"once": 1, "parts": [1, 2], "lock": threading.Lock()}

    def look(state: State) -> dict[str, Any]:
        return {"seen": [state.get("once"), state.get("parts"), "lock" in state]}

    graph = row({"first": first, "one": look, "two": look}, State).compile(saver)
    out = lane.invoke(graph, {}, thread)
    assert out["seen"] == [1, [1, 2], True, None, None, True]
    assert "lock" in out, "kept for the run"
    assert lane.state(graph, thread).values == {"seen": out["seen"]}, "and never stored"


# ---------------------------------------------------------------------- schemas that cannot be used


def test_a_reducer_takes_two_values() -> None:
    class State(TypedDict):
        log: Annotated[list[int], three]

    with pytest.raises(GraphValidationError, match=r"Invalid reducer signature for 'log'.*Got \(a, b, c\)"):
        StateGraph(State)


class Plain(TypedDict):
    log: list[Any]


class Other(TypedDict):
    log: Annotated[list[Any], last]


class Folded(TypedDict):
    x: Annotated[int, operator.add]


def test_a_key_may_be_plain_in_a_second_schema(lane: Lane) -> None:
    graph = row({"n": says("n")}, input_schema=Plain, output_schema=Plain).compile()
    assert lane.invoke(graph, {"log": ["in"]}) == {"log": ["in", "n"]}


@pytest.mark.parametrize("second", [Other, Folded], ids=["another reducer", "a reducer after none"])
def test_a_key_cannot_have_another_reducer_in_a_second_schema(second: type) -> None:
    with pytest.raises(GraphValidationError, match="already exists with a different type"):
        StateGraph(S, input_schema=second)
    with pytest.raises(GraphValidationError, match="already exists with a different type"):
        StateGraph(S).add_node("n", says("n"), input_schema=second)


@pytest.mark.parametrize("place", ["input_schema", "output_schema"])
def test_managed_values_are_no_input_and_no_output(place: str) -> None:
    class M(TypedDict):
        last: IsLastStep
        rem: RemainingSteps

    with pytest.raises(GraphValidationError, match="Invalid managed channels detected in M: last, rem"):
        StateGraph(S, **{place: M})


@pytest.mark.parametrize("key", ["__start__", "__end__", "__pregel_tasks", "branch:to:n", "join:a+b:n"])
def test_keys_the_engine_uses_are_refused(key: str) -> None:
    with pytest.raises(GraphValidationError, match=key.replace("+", r"\+")):
        StateGraph(cast(Any, TypedDict)("State", {key: int}))


class WithConstants(pydantic.BaseModel):
    LIMIT: ClassVar[int] = 3
    model_config = pydantic.ConfigDict(frozen=True)
    a: int = 0
    _private: int = pydantic.PrivateAttr(default=1)


@dataclass
class DataWithConstants:
    LIMIT: ClassVar[int] = 3
    a: int = 0
    derived: int = field(default=5, init=False)


@pytest.mark.parametrize("schema", [WithConstants, DataWithConstants])
def test_only_fields_are_keys(schema: type, lane: Lane) -> None:
    assert list(StateGraph(schema).channels) == ["a"]
    assert lane.invoke(one(lambda s: {"a": s.a + s.LIMIT}, schema), {"a": 1}) == {"a": 4}


# ---------------------------------------------------------------------- input and output


class Question(TypedDict):
    question: str


class Answer(TypedDict):
    answer: str


class Whole(Question, Answer):
    draft: str


def answering() -> Any:
    def node(state: Any) -> dict[str, Any]:
        return {"answer": state["question"] + "!", "draft": str(sorted(state))}

    return row({"n": node}, Whole, input_schema=Question, output_schema=Answer).compile()


def test_input_and_output_schemas_cut_out_what_goes_in_and_out(lane: Lane) -> None:
    assert lane.invoke(answering(), {"question": "q"}) == {"answer": "q!"}
    assert lane.invoke(answering(), {"question": "q", "draft": "no"}, output_keys="draft") == "['question']"
    assert lane.stream(answering(), {"question": "q"}, stream_mode="values")[-1] == {
        "question": "q",
        "answer": "q!",
        "draft": "['question']",
    }


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, EmptyInputError, "received no input"),
        (5, InvalidUpdateError, "Expected dict, got 5"),
        ({"questoin": "q"}, InvalidUpdateError, "'questoin' is not in Question.*Did you mean 'question'"),
    ],
)
def test_what_is_no_input_is_refused(given: Any, error: type[Exception], message: str, lane: Lane) -> None:
    with pytest.raises(error, match=message):
        lane.invoke(answering(), given)


@pytest.mark.parametrize(
    "node",
    [lambda s: {"lgo": 1}, lambda s: Command(update={"lgo": 1}), lambda s: [Command(), {"lgo": 1}]],
    ids=["dict", "Command", "list"],
)
def test_w16_a_typo_in_a_returned_key_is_an_error_that_knows_better(node: Any, lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match=r"'n'.*'lgo'.*Did you mean 'log'") as caught:
        lane.invoke(one(node), {"x": 1})
    assert "During task with name 'n'" in caught.value.__notes__[0]


def test_managed_values_are_read_only(lane: Lane) -> None:
    class M(TypedDict):
        rem: RemainingSteps
        x: int

    with pytest.raises(InvalidUpdateError, match="'rem'"):
        lane.invoke(one(lambda s: {"rem": 3}, M), {"x": 1})


# ---------------------------------------------------------------------- pydantic and dataclasses


def test_pydantic_coerces_the_input_of_every_node(lane: Lane) -> None:
    seen: list[Any] = []
    lane.invoke(one(lambda s: seen.append(s), Model), {"a": "5"})
    assert seen == [Model(a=5)]


@pytest.mark.parametrize("schema", [Data, Model])
def test_an_input_that_does_not_fit_names_the_node_it_was_for(schema: type, lane: Lane) -> None:
    with pytest.raises((pydantic.ValidationError, TypeError)) as caught:
        lane.invoke(one(says("n"), schema), {"log": []})
    assert "'n'" in "".join(getattr(caught.value, "__notes__", []))


@pytest.mark.parametrize(
    "graph",
    [
        one(lambda s: {"a": "notint"}, Model),
        side_by_side({"n": lambda s: {"a": "notint"}, "m": lambda s: {"log": ["m"]}}, Model).compile(),
    ],
    ids=["last node", "parallel nodes"],
)
def test_w14_what_a_node_returns_is_validated(graph: Any, lane: Lane) -> None:
    with pytest.raises(pydantic.ValidationError, match="notint"):
        lane.invoke(graph, {"a": 1})


@pytest.mark.parametrize(
    ("given", "out"),
    [
        (Model(a=1), {"a": 1, "log": [], "note": "unset"}),
        (Data(a=1), {"a": 1, "log": []}),
        ({"a": 1}, {"a": 1, "log": []}),
    ],
    ids=["model", "dataclass", "dict"],
)
def test_an_instance_as_input_writes_every_field_that_is_not_none(given: Any, out: Any, lane: Lane) -> None:
    schema = type(given) if not isinstance(given, dict) else Model
    assert lane.invoke(one(lambda s: None, schema), given) == out


@pytest.mark.parametrize(
    ("schema", "returned", "out"),
    [
        (Model, Model(a=5), {"a": 5, "log": [], "note": "mine"}),
        (Model, Model(a=5, note=None), {"a": 5, "log": [], "note": None}),
        (Data, Data(a=5, log=["d"]), {"a": 5, "log": ["d"], "note": "mine"}),
    ],
)
def test_w15_an_instance_that_a_node_returns_leaves_untouched_fields_alone(
    schema: type, returned: Any, out: Any, lane: Lane
) -> None:
    assert lane.invoke(one(lambda s: returned, schema), {"a": 1, "note": "mine"}) == out


# ---------------------------------------------------------------------- private state


class Private(TypedDict):
    secret: int


def test_private_keys_are_seen_only_by_nodes_that_ask_for_them(lane: Lane) -> None:
    def write(state: S) -> dict[str, Any]:
        return {"secret": 5}

    def read(state: Private) -> dict[str, Any]:
        return {"log": [dict(state)]}

    def other(state: S) -> dict[str, Any]:
        return {"log": [sorted(state)]}

    graph = row({"write": write, "read": read, "other": other}).compile()
    assert lane.invoke(graph, {"x": 1}) == {"x": 1, "log": [{"secret": 5}, ["log", "x"]]}
    assert all("secret" in chunk for chunk in lane.stream(graph, {"x": 1}, stream_mode="values")[1:])


def test_input_schema_of_a_node_wins_over_its_annotation() -> None:
    def read(state: S) -> dict[str, Any]:
        return {"log": [dict(state)]}

    def first(state: S) -> dict[str, Any]:
        return {"secret": 5}

    graph = row({"first": first, "read": (read, {"input_schema": Private})}).compile()
    assert graph.invoke({"x": 1})["log"] == [{"secret": 5}]


def test_path_functions_are_given_the_input_of_their_node() -> None:
    seen: list[Any] = []

    def read(state: Private) -> None: ...

    def path(state: Any) -> str:
        seen.append(dict(state))
        return END

    graph = build({"first": (lambda s: {"secret": 5}), "read": read}, [(START, "first"), ("first", "read")])
    graph.add_conditional_edges("read", path, [END])
    graph.compile().invoke({"x": 1})
    assert seen == [{"secret": 5}]


class Seven(LastValue[int, int]):
    """A channel of a program's own."""

    def from_checkpoint(self, checkpoint: Any) -> Seven:
        return super().from_checkpoint(7 if checkpoint is MISSING else checkpoint)


class Begun(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    x: int
    n: Annotated[int, Seven]
    idle: int


def test_what_has_a_value_before_anything_is_written(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    seen: list[Any] = []

    def node(state: Begun) -> Begun:
        seen.append(list(state.items()))
        return {"n": state["n"] + 1}

    graph = StateGraph(Begun).add_node(node).add_edge(START, "node").compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread) == {"log": [], "x": 1, "n": 8}
    assert lane.invoke(graph, {"x": 2}, thread) == {"log": [], "x": 2, "n": 9}
    assert seen == [[("log", []), ("n", 7), ("x", 1)], [("log", []), ("x", 2), ("n", 8)]]
