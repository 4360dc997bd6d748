"""The surprises of the reference in graphs (behaviour.md, section 11), and what happens here instead."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel, ValidationError

from tests.conftest import Lane
from tests.warts.kit import State, one_node
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import GraphRecursionError, GraphValidationError, InvalidConfigError, InvalidUpdateError
from twinstep.graph import END, START, StateGraph
from twinstep.store.memory import InMemoryStore
from twinstep.types import CachePolicy, Command, Overwrite, Send
from twinstep.warnings import GraphWarning


@pytest.mark.parametrize("way", ["path", "goto", "send"])
def test_w01_going_to_an_unknown_node_is_an_error(lane: Lane, way: str) -> None:
    chosen: dict[str, Any] = {"goto": Command(goto="b"), "send": Send("b", {})}
    builder = StateGraph(State).add_node("a", lambda state: chosen.get(way)).add_edge(START, "a")
    if way == "path":
        builder.add_conditional_edges("a", lambda state: "b")
    with pytest.raises(InvalidUpdateError, match="'b'"):
        lane.invoke(builder.compile(), {"x": 0})


class Maybe(TypedDict, total=False):
    x: int
    count: Annotated[int | None, lambda left, right: (left or 0) + right]


@pytest.mark.parametrize("key", ["x", "count"])
def test_w05_overwrite_is_unwrapped_on_every_key(lane: Lane, key: str) -> None:
    assert lane.invoke(one_node(lambda state: {key: Overwrite(7)}, Maybe), {})[key] == 7


@pytest.mark.parametrize("nodes", [1, 3])
def test_w09_n_nodes_need_a_limit_of_n(lane: Lane, nodes: int) -> None:
    builder = StateGraph(State).add_sequence([(f"n{i}", lambda state: {"log": [1]}) for i in range(nodes)])
    graph = builder.add_edge(START, "n0").compile()
    assert len(lane.invoke(graph, {"x": 0}, {"recursion_limit": nodes})["log"]) == nodes
    if nodes > 1:
        with pytest.raises(GraphRecursionError):
            lane.invoke(graph, {"x": 0}, {"recursion_limit": nodes - 1})


class Person(BaseModel):
    age: int
    name: str = "nobody"


def test_w14_the_last_node_of_a_pydantic_graph_is_validated_too(lane: Lane) -> None:
    with pytest.raises(ValidationError, match="notint"):
        lane.invoke(one_node(lambda state: {"age": "notint"}, Person), {"age": 1})


def test_w15_a_returned_model_leaves_fields_alone_that_were_not_set(lane: Lane) -> None:
    graph = one_node(lambda state: Person(age=5), Person)
    assert lane.invoke(graph, {"age": 1, "name": "Ada"}) == {"age": 5, "name": "Ada"}


@pytest.mark.parametrize("where", ["node", "input", "update"])
def test_w16_unknown_keys_are_refused(lane: Lane, saver: BaseCheckpointSaver, thread: Any, where: str) -> None:
    graph = one_node(lambda state: {"nokey": 1} if where == "node" else None, checkpointer=saver)
    method, arguments = {
        "node": ("invoke", ({"x": 0}, thread)),
        "input": ("invoke", ({"nokey": 1}, thread)),
        "update": ("update_state", (thread, {"nokey": 6})),
    }[where]
    with pytest.raises(InvalidUpdateError, match="nokey"):
        lane.call(graph, method, *arguments)


def test_w17_unknown_nodes_in_run_time_breakpoints_are_refused(lane: Lane, saver: Any, thread: Any) -> None:
    graph = one_node(lambda state: None, checkpointer=saver)
    with pytest.raises(InvalidConfigError, match="'aa' not found"):
        lane.invoke(graph, {"x": 0}, thread, interrupt_before=["aa"])


def test_w18_a_node_that_nothing_reaches_is_warned_of() -> None:
    builder = StateGraph(State).add_node("a", lambda s: None).add_node("z", lambda s: None).add_edge(START, "a")
    with pytest.warns(GraphWarning, match="'z' cannot be reached"):
        builder.compile()


def test_w19_a_graph_as_a_node_does_not_double_lists(lane: Lane) -> None:
    child = one_node(lambda state: {"log": ["c"]})
    assert lane.invoke(one_node(child), {"log": ["p"]})["log"] == ["p", "c"]


@pytest.mark.parametrize("outer", [True, False])
def test_w20_a_childs_own_store_is_used(lane: Lane, outer: bool) -> None:
    own, seen = InMemoryStore(), []
    child = one_node(lambda state, store: seen.append(store), store=own)
    lane.invoke(one_node(child, store=InMemoryStore() if outer else None), {"x": 0})
    assert seen == [own]


def test_w21_stores_and_caches_are_inherited_alike(lane: Lane) -> None:
    ran, stores, store = [], [], InMemoryStore()

    def node(state: State, store: Any) -> None:
        ran.append(1)
        stores.append(store)

    child = StateGraph(State).add_node("c", node, cache_policy=CachePolicy()).add_edge(START, "c").compile()
    graph = one_node(child, cache=InMemoryCache(), store=store)
    for _ in range(2):
        lane.invoke(graph, {"x": 0})
    assert (ran, stores) == ([1], [store])


def test_w23_a_builder_with_a_default_error_handler_compiles_twice(lane: Lane) -> None:
    builder = StateGraph(State).add_node("a", lambda state: 1 / 0).add_edge(START, "a")
    builder.set_node_defaults(error_handler=lambda state: {"log": ["handled"]})
    assert [lane.invoke(builder.compile(), {"x": 0})["log"] for _ in range(2)] == [["handled"], ["handled"]]


@dataclass
class Context:
    user: str


@pytest.mark.parametrize("context", [None, "str", {"usr": "Ada"}])
def test_w36_a_context_is_required_and_validated(lane: Lane, context: Any) -> None:
    graph = StateGraph(State, Context).add_node("a", lambda state: None).add_edge(START, "a").compile()
    with pytest.raises(InvalidConfigError, match="Context"):
        lane.invoke(graph, {"x": 0}, context=context)
    lane.invoke(graph, {"x": 0}, context={"user": "Ada"})


def test_w37_a_child_may_be_given_an_empty_context(lane: Lane) -> None:
    seen: list[Any] = []
    child = one_node(lambda state, runtime: seen.append(runtime.context))
    lane.invoke(one_node(lambda state: child.invoke({"x": 0}, context={}) and None), {"x": 0}, context={"k": 1})
    assert seen == [{}]


def test_w38_drawings_have_no_edges_that_do_not_exist() -> None:
    builder = StateGraph(State)
    for name in "abc":
        builder.add_node(name, lambda state: None, defer=name == "c")
    for start, end in ((START, "a"), ("a", "b"), ("a", "c"), ("b", END), ("c", END)):
        builder.add_edge(start, end)
    edges = {(edge.source, edge.target) for edge in builder.compile().get_graph().edges}
    assert edges == {(START, "a"), ("a", "b"), ("a", "c"), ("b", END), ("c", END)}


def test_w43_separate_edges_run_a_node_per_arrival_and_a_join_once(lane: Lane) -> None:
    """Kept: it is documented. `add_edge([...], ...)`, `join=` and `defer=True` are the ways to run once."""
    for joined, expected in ((False, ["a", "b", "c", "d", "d"]), (True, ["a", "b", "c", "d"])):
        builder = StateGraph(State)
        for name in "abcd":
            builder.add_node(name, lambda state, name=name: {"log": [name]})
        for start, end in ((START, "a"), (START, "b"), ("b", "c")):
            builder.add_edge(start, end)
        edges: list[Any] = [["a", "c"]] if joined else ["a", "c"]
        for edge in edges:
            builder.add_edge(edge, "d")
        assert sorted(lane.invoke(builder.compile(), {"log": []})["log"]) == expected


def test_w44_changes_in_place_stay_with_the_node(lane: Lane) -> None:
    given = {"log": ["p"]}
    graph = one_node(lambda state: state["log"].append("hidden"))
    assert lane.invoke(graph, given) == {"log": ["p"]}
    assert given == {"log": ["p"]}


def test_w46_a_config_is_injected_whatever_its_annotation(lane: Lane) -> None:
    seen: list[Any] = []

    def node(state: State, config: dict) -> None:
        seen.append(config["configurable"]["user"])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = one_node(node)
    lane.invoke(graph, {"x": 0}, {"configurable": {"user": "Ada"}})
    assert seen == ["Ada"]


def test_w61_packets_are_coerced_like_states(lane: Lane) -> None:
    seen: list[Any] = []
    builder = StateGraph(Person).add_node("n", lambda state: seen.append(state))
    builder.add_conditional_edges(START, lambda state: [Send("n", {"age": "5"})], ["n"])
    lane.invoke(builder.compile(), {"age": 1})
    assert seen == [Person(age=5)]


def test_w45_mistakes_in_building_say_what_is_wrong() -> None:
    with pytest.raises(GraphValidationError, match="add_node"):
        StateGraph(State).add_node("a")
