"""Edges: what runs after what, joins, choices, deferred nodes (behaviour 1.3)."""

from collections.abc import Callable
from typing import Any, Literal

import pytest

from tests.conftest import Lane
from tests.graph.kit import S, build, letters, row, says
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import GraphValidationError, InvalidUpdateError
from twinstep.graph import END, START, StateGraph
from twinstep.runtime import Runtime
from twinstep.types import Command, RunnableConfig, Send, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]
Builder = StateGraph[Any, Any, Any, Any]


def choosing(choice: Any, path_map: Any = None, nodes: str = "abc") -> Builder:
    """Return the builder of a graph whose node a is followed by whatever `choice` says."""
    return build(letters(nodes), [(START, "a")]).add_conditional_edges("a", lambda state: choice, path_map)


# ---------------------------------------------------------------------- static edges and joins

UNEVEN = [(START, "a"), ("a", "b"), ("b", "c")]


@pytest.mark.parametrize(
    ("defer", "edges", "log"),
    [
        (False, [("a", "d"), ("c", "d")], "abdcd"),  # W43: an edge is an OR; the order shows both arrivals
        (False, [(["a", "c"], "d")], "abcd"),
        (True, [("a", "d"), ("c", "d")], "abcd"),
        (True, [(["a", "c"], "d")], "abcd"),
    ],
    ids=["single edges", "join", "deferred", "deferred join"],
)
def test_w43_uneven_paths_into_one_node(defer: bool, edges: Any, log: str, lane: Lane) -> None:
    nodes = {**letters("abc"), "d": (says("d"), {"defer": defer})}
    assert "".join(lane.invoke(build(nodes, [*UNEVEN, *edges]).compile(), {})["log"]) == log


def test_a_node_that_several_reach_in_one_superstep_runs_once(lane: Lane) -> None:
    graph = build(letters("abc"), [(START, "a"), (START, "b"), ("a", "c"), ("b", "c")])
    assert lane.invoke(graph.compile(), {})["log"] == ["a", "b", "c"]


def test_joins_are_told_apart_whatever_their_nodes_are_called(lane: Lane) -> None:
    nodes = {name: says(name) for name in ("a", "a+b", "b", "c")}
    edges: Any = [(START, "a"), ("a", "a+b"), ("a+b", "b"), (["a+b"], "c"), (["a", "b"], "c")]
    assert lane.invoke(build(nodes, edges).compile(), {})["log"] == ["a", "a+b", "b", "c", "c"]


def test_a_join_fires_again_in_a_loop(lane: Lane) -> None:
    graph = build(letters("abd"), [(START, "a"), (START, "b"), (["a", "b"], "d")])
    graph.add_conditional_edges("d", lambda s: ["a", "b"] if len(s["log"]) < 6 else END, ["a", "b", END])
    assert "".join(lane.invoke(graph.compile(), {})["log"]) == "abdabd"


def test_a_join_waits_for_the_missing_node_across_interrupts(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    nodes = {**letters("abd"), "c": lambda s: {"log": [interrupt("c?")]}}
    graph = build(nodes, [(START, "a"), ("a", "b"), ("b", "c"), (["a", "c"], "d")]).compile(saver)
    assert lane.invoke(graph, {}, thread)["log"] == ["a", "b"]
    assert lane.invoke(graph, Command(resume="c"), thread)["log"] == ["a", "b", "c", "d"]


@pytest.mark.filterwarnings("ignore::twinstep.warnings.JoinWarning")
def test_a_join_that_did_not_fire_does_not_count_in_the_next_run(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = build(letters("abd"), [(["a", "b"], "d")])
    graph.add_conditional_edges(START, lambda s: ["a"] if s["x"] else ["b"], ["a", "b"])
    compiled = graph.compile(saver)
    assert lane.invoke(compiled, {"x": 1}, thread)["log"] == ["a"]
    assert lane.invoke(compiled, {"x": 0}, thread)["log"] == ["a", "b"]


def test_a_deferred_node_of_an_abandoned_run_is_not_due_in_the_next_one(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    nodes = {**letters("ac"), "b": lambda s: {"log": [interrupt("b?")]}, "d": (says("d"), {"defer": True})}
    graph = build(nodes, [("a", "b"), ("a", "d")])
    graph.add_conditional_edges(START, lambda s: "a" if s["x"] else "c", ["a", "c"])
    compiled = graph.compile(saver)
    assert lane.invoke(compiled, {"x": 1}, thread)["log"] == ["a"]
    assert lane.invoke(compiled, {"x": 0}, thread)["log"] == ["a", "c"]


@pytest.mark.parametrize("end", [END, ["a", "b"]])
def test_an_edge_to_the_end_is_optional(end: Any, lane: Lane) -> None:
    graph = build(letters("ab"), [(START, "a"), (START, "b")])
    graph.add_edge("a", END) if end == END else graph.add_edge(end, END)
    assert lane.invoke(graph.compile(), {})["log"] == ["a", "b"]


# ---------------------------------------------------------------------- deferred nodes


def test_deferred_nodes_run_together_when_nothing_else_is_due(lane: Lane) -> None:
    nodes = {**letters("abc"), "d": (says("d"), {"defer": True}), "e": (says("e"), {"defer": True})}
    graph = build(nodes, [*UNEVEN, ("a", "d"), ("b", "d"), ("b", "e"), ("d", END)])
    assert "".join(lane.invoke(graph.compile(), {})["log"]) == "abcde"


def test_a_deferred_node_can_start_a_loop_and_wait_again(lane: Lane) -> None:
    graph = build(
        {**letters("ab"), "d": (says("d"), {"defer": True})}, [(START, "a"), ("a", "b"), ("a", "d"), ("b", "d")]
    )
    graph.add_conditional_edges("d", lambda s: "a" if s["log"].count("d") < 2 else END, ["a", END])
    assert "".join(lane.invoke(graph.compile(), {})["log"]) == "abdabd"


def test_a_deferred_node_waits_across_interrupts(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    nodes = {**letters("a"), "b": lambda s: {"log": [interrupt("b?")]}, "d": (says("d"), {"defer": True})}
    graph = build(nodes, [(START, "a"), ("a", "b"), ("a", "d")]).compile(saver)
    assert lane.invoke(graph, {}, thread)["log"] == ["a"]
    assert lane.invoke(graph, Command(resume="b"), thread)["log"] == ["a", "b", "d"]


# ---------------------------------------------------------------------- choices


@pytest.mark.parametrize(
    ("choice", "path_map", "log"),
    [
        ("b", None, "ab"),
        (END, None, "a"),
        ([], None, "a"),
        (["b", "c"], None, "abc"),
        (("c", END), None, "ac"),
        ([Send("c", {}), "b"], None, "abc"),
        (Send("c", {}), None, "ac"),
        ("b", ["b", END], "ab"),
        ("yes", {"yes": "b", "no": END}, "ab"),
        ("no", {"yes": "b", "no": END}, "a"),
        (True, {True: "b", False: "c"}, "ab"),
        (["yes", "no"], {"yes": "b", "no": "c"}, "abc"),
        ([Send("c", {}), "yes"], {"yes": "b"}, "abc"),
    ],
)
def test_where_a_choice_leads(choice: Any, path_map: Any, log: str, lane: Lane) -> None:
    graph = choosing(choice, path_map).add_conditional_edges(START, lambda state: [])  # any node can be reached
    assert "".join(lane.invoke(graph.compile(), {})["log"]) == log


@pytest.mark.parametrize(
    ("choice", "path_map", "message"),
    [
        (None, None, "did not return a valid destination: None"),
        ([None], None, "did not return a valid destination: None"),
        (START, None, "did not return a valid destination: '__start__'"),
        ("nowhere", None, "'nowhere'"),
        (5, None, "5"),
        ("q", {"yes": "b", "no": "c"}, r"returned 'q', which is not in its path map \('yes', 'no'\)"),
        ("yess", {"yes": "b", "no": "c"}, "Did you mean 'yes'"),
        ({}, {"yes": "b", "no": "c"}, "not in its path map"),
        (Send("cc", {}), None, "'cc'.*Did you mean 'c'"),
        (Send(END, {}), None, "END"),
    ],
)
def test_w1_a_choice_that_leads_nowhere_is_an_error(choice: Any, path_map: Any, message: str, lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match=message) as caught:
        lane.invoke(choosing(choice, path_map).compile(), {})
    assert "'a'" in "".join([str(caught.value), *caught.value.__notes__])


def test_a_path_function_sees_the_updates_of_its_node_and_not_those_of_siblings(lane: Lane) -> None:
    seen: list[Any] = []

    def path(state: S) -> str:
        seen.append(dict(state))
        return END

    graph = build({"a": lambda s: {"log": ["a"], "x": 1}, **letters("b")}, [(START, "a"), (START, "b")])
    lane.invoke(graph.add_conditional_edges("a", path, [END]).compile(), {"x": 0, "log": ["in"]})
    assert seen == [{"x": 1, "log": ["in", "a"]}]


def test_a_path_function_may_have_parameters_filled_in_and_any_colour(colour: Colour, lane: Lane) -> None:
    def path(state: S, config: RunnableConfig, *, runtime: Runtime[Any]) -> str:
        return str(config["configurable"]["way"] if runtime.context else END)

    graph = build(letters("ab"), [(START, "a")]).add_conditional_edges("a", colour(path), ["b", END]).compile()
    assert lane.invoke(graph, {}, {"configurable": {"way": "b"}}, context=1)["log"] == ["a", "b"]
    assert lane.invoke(graph, {}, {"configurable": {"way": "b"}}, context=0)["log"] == ["a"]


def literally(state: Any) -> Literal["b", "c"]:
    return "b"


def test_the_literal_of_a_path_function_is_its_path_map() -> None:
    graph = build(letters("ab"), [(START, "a")]).add_conditional_edges("a", literally)
    with pytest.raises(GraphValidationError, match="At 'a' node, 'literally' branch found unknown target 'c'"):
        graph.compile()


def test_several_choices_of_one_node_all_count(lane: Lane) -> None:
    graph = build(letters("abc"), [(START, "a")])
    graph.add_conditional_edges("a", lambda s: "b", ["b"]).add_conditional_edges("a", lambda s: "c", ["c"])
    assert lane.invoke(graph.compile(), {})["log"] == ["a", "b", "c"]


def test_a_path_function_cannot_be_added_twice() -> None:
    graph = build(letters("abc"), [(START, "a")]).add_conditional_edges("a", literally)
    with pytest.raises(GraphValidationError, match="Branch with name `literally` already exists for node `a`"):
        graph.add_conditional_edges("a", literally)


@pytest.mark.parametrize(("x", "log"), [(0, []), (1, ["a"]), (2, ["a", "a"])])
def test_the_start_may_be_a_choice(x: int, log: list[str], lane: Lane) -> None:
    graph = build(letters("a"), [])
    graph.add_conditional_edges(START, lambda s: [Send("a", {})] * s["x"] if s["x"] else END, ["a", END])
    assert lane.invoke(graph.compile(), {"x": x})["log"] == log


def test_a_failing_path_function_fails_its_node(lane: Lane) -> None:
    graph = build(letters("ab"), [(START, "a")]).add_conditional_edges("a", lambda s: s["nokey"], ["b"])
    with pytest.raises(KeyError) as caught:
        lane.invoke(graph.compile(), {})
    assert "'a'" in caught.value.__notes__[0]


# ---------------------------------------------------------------------- sugar


def first(state: S) -> dict[str, Any]:
    return {"log": ["first"]}


def test_a_sequence_is_nodes_with_edges_between_them(lane: Lane) -> None:
    graph = StateGraph(S).add_sequence([first, ("k", says("k")), ("l", says("l"))])
    assert graph.edges == {("first", "k"), ("k", "l")}
    assert lane.invoke(graph.add_edge(START, "first").add_edge("l", END).compile(), {})["log"] == ["first", "k", "l"]


def test_a_sequence_needs_nodes_of_different_names() -> None:
    with pytest.raises(GraphValidationError, match="Sequence requires at least one node"):
        StateGraph(S).add_sequence([])
    with pytest.raises(GraphValidationError, match="Node `first` already present"):
        StateGraph(S).add_sequence([first, first])


def test_a_long_row_of_nodes_runs_in_order(lane: Lane) -> None:
    names = [f"n{i:03}" for i in range(100)]
    graph = row({name: says(name) for name in names}).compile()
    assert lane.invoke(graph, {})["log"] == names
