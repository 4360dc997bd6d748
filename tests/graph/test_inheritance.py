"""What nested graphs and entrypoints have from their caller: context, store, cache; and what they say themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from tests.conftest import Lane
from tests.graph.kit import S, one, row, says
from twinstep.cache.memory import InMemoryCache
from twinstep.errors import InvalidConfigError
from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph
from twinstep.runtime import Runtime
from twinstep.store.memory import InMemoryStore
from twinstep.types import NOTHING, CachePolicy


@dataclass
class User:
    name: str
    age: int = 0


class Model(BaseModel):
    name: str


class Typed(TypedDict):
    name: str


def tells_context(state: Any, runtime: Runtime[Any]) -> dict[str, Any]:
    return {"log": [runtime.context]}


def with_context(schema: Any, node: Any = tells_context) -> Any:
    return StateGraph(S, context_schema=schema).add_node("n", node).add_edge(START, "n").compile()


# ---------------------------------------------------------------------- contexts


@pytest.mark.parametrize("schema", [User, Model, Typed])
def test_w36_a_context_is_made_its_schema(schema: Any, lane: Lane) -> None:
    graph = with_context(schema)
    expected = schema(name="ann")
    assert lane.invoke(graph, {}, context={"name": "ann"})["log"] == [expected]
    assert lane.invoke(graph, {}, context=expected)["log"] == [expected]


@pytest.mark.parametrize("schema", [User, Model, Typed])
@pytest.mark.parametrize(
    ("context", "message"),
    [
        (NOTHING, "'LangGraph' needs a context=, a"),
        (None, "'LangGraph' needs a context=, a"),
        ("ann", "'LangGraph' was given a context that is no"),
        ({"name": 3}, "'LangGraph' was given a context that is no"),
        ({}, "'LangGraph' was given a context that is no"),
    ],
)
def test_w36_a_context_that_does_not_fit_is_refused(schema: Any, context: Any, message: str, lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        lane.invoke(with_context(schema), {}, context=context)


@pytest.mark.parametrize("schema", [User, Typed])
def test_w36_a_misspelt_field_of_a_context_is_named(schema: Any, lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match=r"a context with 'nmae', which \w+ has not .*Did you mean 'name'"):
        lane.invoke(with_context(schema), {}, context={"name": "ann", "nmae": "bob"})


def test_without_a_schema_a_context_is_any_value_or_none(lane: Lane) -> None:
    graph = one(tells_context)
    assert [lane.invoke(graph, {}, context=c)["log"] for c in (None, 0, "x", {"a": 1})] == [
        [None],
        [0],
        ["x"],
        [{"a": 1}],
    ]


def test_a_schema_that_needs_nothing_needs_no_context(lane: Lane) -> None:
    @dataclass
    class Defaults:
        name: str = "nobody"

    assert lane.invoke(with_context(Defaults), {})["log"] == [Defaults()]


def test_w37_a_falsy_context_of_a_child_is_its_context(lane: Lane) -> None:
    inner = one(tells_context)
    falsy: list[Any] = [{}, 0, "", None]
    for given in falsy:
        outer = one(lambda s, given=given: inner.invoke({}, context=given))
        assert lane.invoke(outer, {}, context={"of": "parent"})["log"] == [given]


def test_a_child_has_the_context_of_its_parent_in_its_own_schema(lane: Lane) -> None:
    for inner in (with_context(User), one(with_context(User)), one(lambda s: with_context(User).invoke({}))):
        assert lane.invoke(one(inner), {}, context={"name": "ann"})["log"] == [User("ann")]
    both = with_context(Model, with_context(User))
    assert lane.invoke(both, {}, context=Model(name="ann"))["log"] == [Model(name="ann")], "as the parent's class"


def test_a_child_that_needs_a_context_is_not_run_without_one(lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match="needs a context=, a User"):
        lane.invoke(one(with_context(User)), {})


# ---------------------------------------------------------------------- stores and caches


def shown(node: Any, **options: Any) -> Any:
    return StateGraph(S).add_node("n", node).add_edge(START, "n").compile(**options)


def tells_store(state: Any, store: Any) -> dict[str, Any]:
    return {"log": [None if store is None else store.get(("ns",), "whose").value["is"]]}


def store_of(whose: str) -> InMemoryStore:
    store = InMemoryStore()
    store.put(("ns",), "whose", {"is": whose})
    return store


def as_graph(node: Any, **options: Any) -> Any:
    return shown(node, **options)


def as_entrypoint(node: Any, **options: Any) -> Any:
    def program(state: dict[str, Any], store: Any) -> dict[str, Any]:
        return node(state, store)

    return entrypoint(**options)(program)


@pytest.mark.parametrize("kind", [as_graph, as_entrypoint])
@pytest.mark.parametrize(
    ("own", "parent", "expected"),
    [(None, "parent", "parent"), ("own", None, "own"), ("own", "parent", "own"), (None, None, None)],
)
def test_w20_a_child_has_its_own_store_or_else_its_caller_s(
    kind: Callable[..., Any], own: str | None, parent: str | None, expected: str | None, lane: Lane
) -> None:
    inner = kind(tells_store, store=own and store_of(own))
    for outer in (
        shown(inner, store=parent and store_of(parent)),
        shown(lambda s: inner.invoke(s), store=parent and store_of(parent)),
    ):
        assert lane.invoke(outer, {})["log"] == [expected]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("parent", [True, False])
def test_w21_a_child_has_its_own_cache_or_else_its_caller_s(own: bool, parent: bool, lane: Lane) -> None:
    ran: list[int] = []

    def node(state: Any) -> dict[str, Any]:
        ran.append(1)
        return {"log": ["n"]}

    builder = StateGraph(S).add_node("n", node, cache_policy=CachePolicy()).add_edge(START, "n")
    inner = builder.compile(cache=InMemoryCache() if own else None)
    outer = row({"sub": inner}).compile(cache=InMemoryCache() if parent else None)
    assert [lane.invoke(outer, {})["log"] for _ in range(2)] == [["n"], ["n"]]
    assert len(ran) == (1 if own or parent else 2)


# ---------------------------------------------------------------------- what is no option


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": 5}, "store= takes a store, such as InMemoryStore"),
        ({"cache": "memory"}, "cache= takes a cache, such as InMemoryCache"),
        ({"checkpointer": 5}, "Invalid checkpointer"),
    ],
)
def test_what_is_no_store_cache_or_saver_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        row({"n": says("n")}).compile(**options)
    with pytest.raises(InvalidConfigError, match=message):
        entrypoint(**options)(lambda x: x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_policy": 5}, "cache_policy takes a CachePolicy, got 5"),
        ({"timeout": "5"}, "run_timeout is a number of seconds or a timedelta, got '5'"),
        ({"retry_policy": 5}, "A retry policy is a RetryPolicy or a sequence"),
    ],
)
def test_what_is_no_policy_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        StateGraph(S).add_node("n", says("n"), **options)
    with pytest.raises(InvalidConfigError, match=message):
        StateGraph(S).set_node_defaults(**options)
    with pytest.raises(InvalidConfigError, match=message):
        entrypoint(**options)
