"""What compiling finds: parts of a graph that cannot run, cannot end, or will fail; and what it leaves in peace."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import pytest

from tests.conftest import Lane
from tests.graph.kit import Edge, S, build, letters, row, says
from twinstep.errors import InvalidUpdateError
from twinstep.graph import END, START, StateGraph
from twinstep.types import Command, Send, interrupt
from twinstep.warnings import GraphWarning, TwinstepWarning

Builder = StateGraph[Any, Any, Any, Any]


def findings(graph: Builder, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph.compile(**options)
    assert {each.category for each in caught} <= {GraphWarning}
    assert {each.filename for each in caught} <= {__file__}
    return [str(each.message) for each in caught]


def graph_of(names: str, *edges: Edge | str) -> Builder:
    """Return a builder of nodes of one letter; an edge is a pair, or two letters (`>` is START, `.` is END)."""
    places = {">": START, ".": END}
    pairs = [(places.get(e[0], e[0]), places.get(e[1], e[1])) if isinstance(e, str) else e for e in edges]
    return build(letters(names), pairs)


# ---------------------------------------------------------------------- nodes nothing leads to


def test_w18_a_node_nothing_leads_to_is_named() -> None:
    (found,) = findings(graph_of("abz", ">a", "ab"))
    assert found.startswith("Node 'z' cannot be reached by any edge; only a Command(goto='z') or a Send could run it.")
    assert issubclass(GraphWarning, TwinstepWarning)


def test_a_node_that_only_a_command_of_a_nested_graph_reaches_is_warned_of_and_runs(lane: Lane) -> None:
    inner = row({"n": lambda s: Command(graph=Command.PARENT, goto="other", update={"log": ["in"]})}).compile()
    outer = build({"sub": inner, "other": says("other")}, [(START, "sub")])
    with pytest.warns(GraphWarning, match="Node 'other' cannot be reached"):
        graph = outer.compile()
    assert lane.invoke(graph, {})["log"] == ["in", "other"]


def rescue(state: S) -> Command[Literal["z"]]:
    return Command(goto="z")


def test_a_node_that_an_error_handler_leads_to_is_left_in_peace() -> None:
    assert findings(build({"a": (says("a"), {"error_handler": rescue}), "z": says("z")}, [(START, "a")])) == []
    assert findings(graph_of("az", ">a").set_node_defaults(error_handler=rescue)) == []


# ---------------------------------------------------------------------- joins


@pytest.mark.parametrize(
    ("edges", "join", "end", "missing"),
    [
        ([">a", (["a", "z"], "d")], "all", "d", "'z'"),
        ([">a", "dz", (["a", "z"], "d")], "all", "d", "'z'"),
        ([">a", "dy", "yz", (["a", "z"], "d")], "all", "d", "'z'"),
        ([">a", (["y", "z"], "d")], 1, "d", "'y', 'z'"),
    ],
    ids=["unreached", "waits for what follows it", "waits for what follows that", "not one of them"],
)
def test_a_join_that_cannot_fire_is_named(edges: list[Any], join: Any, end: str, missing: str) -> None:
    graph = graph_of("adyz", *[e for e in edges if isinstance(e, str)])
    for starts, target in [e for e in edges if not isinstance(e, str)]:
        graph.add_edge(starts, target, join=join)
    (found,) = [each for each in findings(graph) if "join" in each]
    assert found.startswith(f"The join before '{end}' can never fire: it waits for {missing}, which no edge starts")


def test_joins_that_start_each_other_in_turn_are_left_in_peace() -> None:
    graph = graph_of("abcde", ">a", ">b", (["a", "b"], "c"), "cd", (["a", "c", "d"], "e"))
    assert findings(graph) == []
    graph = graph_of("abd", ">a", "da").add_edge(["a", "b"], "d", join=1)
    assert [each for each in findings(graph) if "join" in each] == []


def test_a_join_whose_end_an_error_handler_may_start_is_left_in_peace() -> None:
    nodes = {"a": (says("a"), {"error_handler": rescue}), "z": says("z")}
    graph = build(nodes, [(START, "a")]).add_edge(["a", "z"], "z")
    assert findings(graph) == []


# ---------------------------------------------------------------------- runs that never end


def always(*ends: str) -> Callable[[Any], Any]:
    return lambda state: ends[0]


@pytest.mark.parametrize(
    ("edges", "choices", "circle"),
    [
        ([">a", "ab", "ba"], {}, "'a', 'b'"),
        ([">a", "aa"], {}, "'a'"),
        ([">a", "ab", "ba", "a."], {}, "'a', 'b'"),
        ([">a", "ba", "ca"], {"a": ["b", "c"]}, "'a', 'b', 'c'"),
        ([">a", "ab"], {"b": ["b"]}, "'b'"),
        ([">a", "bc", "cb"], {"a": ["b"]}, "'b', 'c'"),
    ],
)
def test_a_circle_without_an_exit_is_named(edges: list[str], choices: dict[str, list[str]], circle: str) -> None:
    graph = graph_of("abc", *edges)
    for source, ends in choices.items():
        graph.add_conditional_edges(source, always(*ends), ends)
    found = [each for each in findings(graph) if "never ends" in each]
    assert found == [
        f"The run never ends once it has come to {circle}: every way on leads back there. Add a conditional edge that "
        "may lead to END."
    ]


@pytest.mark.parametrize("ends", [["b", END], ["b", "c"], None], ids=["END", "a last node", "anywhere"])
def test_a_circle_with_an_exit_is_left_in_peace(ends: list[str] | None) -> None:
    graph = graph_of("abc", ">a", "ba", "bc").add_conditional_edges("a", always("b"), ends)
    graph.edges.discard(("b", "c"))
    assert [each for each in findings(graph) if "never ends" in each] == []


def test_circles_within_circles_are_left_in_peace_when_the_outermost_has_an_exit() -> None:
    graph = graph_of("abcd", ">a", "ab", "bc", "cd")
    for source, ends in {"d": ["d", "c"], "c": ["b", "d"], "b": ["a", "c"], "a": ["b", END]}.items():
        graph.edges = {(start, end) for start, end in graph.edges if start != source}
        graph.add_conditional_edges(source, always(*ends), ends)
    assert findings(graph) == []


def asks(state: S) -> dict[str, Any]:
    return {"x": interrupt("what?")}


def leaves(state: S) -> Command[Any]:
    return Command(graph=Command.PARENT, goto="elsewhere")


@pytest.mark.parametrize("node", [asks, leaves, row({"n": asks}).compile()], ids=["asks", "leaves", "nested"])
def test_a_circle_that_a_node_may_stop_is_left_in_peace(node: Any) -> None:
    assert findings(build({"a": says("a"), "b": node}, [(START, "a"), ("a", "b"), ("b", "a")])) == []


@pytest.mark.parametrize("option", [{"interrupt_before": ["a"]}, {"interrupt_after": "*"}])
def test_a_circle_with_a_breakpoint_is_left_in_peace(option: dict[str, Any]) -> None:
    assert findings(graph_of("ab", ">a", "ab", "ba"), **option) == []


# ---------------------------------------------------------------------- two writers of a plain key


def writes_x(state: S) -> dict[str, Any]:
    return {"x": 1}


def writes_x_too(state: S) -> Command[Literal["d"]]:
    if state.get("x"):
        return Command(update={"x": 2, "log": ["x"]}, goto="d")
    return Command(goto="d")


async def writes_x_later(state: S) -> dict[str, Any]:
    def inner() -> dict[str, Any]:
        return {"nothing": 1}

    return {"log": [inner()], "x": 3}


def writes_log(state: S) -> dict[str, Any]:
    return {"log": [1]}


@pytest.mark.parametrize("second", [writes_x_too, writes_x_later])
@pytest.mark.parametrize(
    "edges",
    [
        [(START, "a"), (START, "b")],
        [(START, "m"), ("m", "a"), ("m", "b")],
        [(START, "m"), (START, "n"), ("m", "a"), ("n", "b")],
        [(START, "a"), (START, "m"), ("a", "c"), ("m", "n"), ("c", "m"), ("n", "b"), ("m", "a")],
    ],
    ids=["fork", "later fork", "two paths", "in a circle"],
)
def test_two_writers_of_a_plain_key_that_can_meet_are_named(second: Any, edges: list[Edge]) -> None:
    found = findings(build({**letters("cdmn"), "a": writes_x, "b": second}, edges))
    (said,) = [each for each in found if "both write" in each]
    assert said.startswith("Nodes 'a' and 'b' can run in one superstep and both write 'x', which takes one value per")


def test_what_is_warned_of_fails_when_it_happens(lane: Lane) -> None:
    with pytest.warns(GraphWarning, match="both write 'x'"):
        graph = build({"a": writes_x, "b": writes_x_later}, [(START, "a"), (START, "b")]).compile()
    with pytest.raises(InvalidUpdateError, match="At key 'x': 2 values were written in one superstep"):
        lane.invoke(graph, {})


class Folded(TypedDict, total=False):
    x: Annotated[int, operator.add]


def one_of(ends: list[str]) -> Builder:
    return build({**letters("d"), "a": writes_x, "b": writes_x_later}, []).add_conditional_edges(
        START, always("a"), ends
    )


@pytest.mark.parametrize(
    "graph",
    [
        build({"a": writes_x, "b": writes_x_later}, [(START, "a"), ("a", "b")]),
        build({"a": writes_x, "b": writes_log}, [(START, "a"), (START, "b")]),
        build({"a": writes_x, "b": writes_x}, [(START, "a"), (START, "b")], Folded),
        one_of(["a", "b"]),
        build({"a": writes_x, "m": says("m"), "b": writes_x_later}, [(START, "a"), (START, "m"), (["a", "m"], "b")]),
        build(
            {"m": says("m"), "n": says("n"), "a": writes_x, "b": writes_x_later},
            [(START, "m"), (START, "n"), ("n", "a")],
        ).add_edge(["m", "a"], "b"),
        build({"a": writes_x, "m": says("m"), "b": (writes_x_later, {"defer": True})}, [(START, "a"), (START, "b")]),
    ],
    ids=["in a row", "another key", "reducer", "one branch", "join", "uneven join", "deferred"],
)
def test_writers_that_cannot_meet_are_left_in_peace(graph: Builder) -> None:
    assert [each for each in findings(graph) if "both write" in each] == []


# ---------------------------------------------------------------------- names


def test_a_misspelt_destination_is_named() -> None:
    graph = build({"router": (says("r"), {"destinations": ["writr", "elsewhere"]}), "writer": says("w")}, [])
    found = findings(graph.add_edge(START, "router").add_edge("router", "writer"))
    assert found == [
        "Node 'router' says that its commands may go to 'writr', which is no node here. Did you mean 'writer'?"
    ]


def test_graphs_of_the_usual_shapes_have_no_findings() -> None:
    chain = graph_of("abc", ">a", "ab", "bc", "c.")
    diamond = graph_of("abcd", ">a", "ab", "ac", (["b", "c"], "d"), "d.")
    loop = graph_of("at", ">a", "ta").add_conditional_edges("a", always("t"), ["t", END])
    spread = graph_of("ab", "ab").add_conditional_edges(START, lambda s: [Send("a", {})], ["a"])
    assert [findings(graph) for graph in (chain, diamond, loop, spread)] == [[]] * 4
