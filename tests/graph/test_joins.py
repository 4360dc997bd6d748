"""Joins: how many nodes have to run before the next one does, and what is said of a join that never fires."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.conftest import Lane
from tests.graph.kit import Edge, build, letters, says
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import GraphValidationError
from twinstep.graph import END, START, StateGraph
from twinstep.graph.nodes import Join
from twinstep.types import Command, Send, interrupt
from twinstep.warnings import JoinWarning

UNEVEN: list[Edge] = [(START, "a"), (START, "b"), (START, "c"), ("b", "x"), ("c", "y"), ("y", "z")]
"""Three paths of one, two and three supersteps: a; b, x; c, y, z."""


def uneven(join: Join, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    """Return the builder of three uneven paths that meet in d."""
    nodes: dict[str, Any] = {**letters("abcxyz"), "d": (says("d"), options)}
    return build(nodes, UNEVEN).add_edge(["a", "x", "z"], "d", join=join)


@pytest.mark.parametrize(
    ("join", "log"),
    [
        ("all", "abcxyzd"),
        (3, "abcxyzd"),
        (2, "abcxydz"),
        (1, "abcdxyz"),
        ("any", "abcdxydzd"),
    ],
)
def test_a_join_waits_for_as_many_as_it_says(
    join: Join, log: str, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = uneven(join).compile(saver)
    assert "".join(lane.invoke(graph, {}, thread)["log"]) == log
    assert "".join(lane.invoke(graph, {}, thread)["log"]) == log * 2, "nothing is left over for the next run"


def test_a_deferred_join_of_some_runs_when_nothing_else_is_due(lane: Lane) -> None:
    assert "".join(lane.invoke(uneven(2, defer=True).compile(), {})["log"]) == "abcxyzd"


def test_late_nodes_do_not_count_for_the_next_round(lane: Lane) -> None:
    graph = build(letters("abcxd"), [(START, "a"), (START, "b"), (START, "x"), ("x", "c")])
    graph.add_edge(["a", "b", "c"], "d", join=2)
    graph.add_conditional_edges("d", lambda s: ["a", "b", "x"] if len(s["log"]) < 6 else END, ["a", "b", "x", END])
    assert "".join(lane.invoke(graph.compile(), {})["log"]) == "abxcdabxcd"


def test_a_round_of_a_join_goes_on_after_a_question(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    nodes = {**letters("abd"), "c": lambda s: {"log": [interrupt("q")]}}
    graph = build(nodes, [(START, "a"), (START, "b"), (START, "c")]).add_edge(["a", "b", "c"], "d", join=2)
    app = graph.compile(saver)
    assert "__interrupt__" in lane.invoke(app, {}, thread)
    assert lane.invoke(app, Command(resume="c"), thread)["log"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("join", [0, 4, -1, True, "some", None, 1.5])
def test_a_join_that_cannot_be_is_refused(join: Any) -> None:
    with pytest.raises(GraphValidationError, match="join is 'all', 'any' or a number from 1 to 3"):
        uneven(join)


# ---------------------------------------------------------------------- joins that never fire


def choosing(*chosen: Any, join: Join = "all") -> Any:
    """Return a graph that runs what is chosen of a, b, c, and joins them in d."""
    graph = build(letters("abcd"), []).add_edge(["a", "b", "c"], "d", join=join)
    return graph.add_conditional_edges(START, lambda s: list(chosen), ["a", "b", "c"]).compile(name="flow")


def test_a_join_that_waits_at_the_end_is_named(lane: Lane) -> None:
    with pytest.warns(JoinWarning, match="'flow' has ended while its join before 'd' was waiting: a, c had run, b had"):
        assert lane.invoke(choosing("a", "c"), {})["log"] == ["a", "c"]


def test_packets_arrive_at_a_join_too(lane: Lane) -> None:
    with pytest.warns(JoinWarning, match="before 'd' was waiting: a had run, b, c had not"):
        lane.invoke(choosing(Send("a", {})), {})


def test_a_join_inside_a_nested_graph_is_named(lane: Lane) -> None:
    outer = build({"sub": choosing("a")}, [(START, "sub")]).compile()
    with pytest.warns(JoinWarning, match="'flow'"):
        lane.invoke(outer, {})


@pytest.mark.parametrize(
    ("chosen", "join"), [(["a", "b", "c"], "all"), (["a"], "any"), (["a", "c"], 2), (["a", "b", "c"], 2), (["b"], 1)]
)
def test_a_join_that_has_fired_is_not_named(chosen: list[str], join: Join, lane: Lane) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lane.invoke(choosing(*chosen, join=join), {})["log"] == [*chosen, "d"]


def test_a_run_that_stops_for_a_question_is_not_at_its_end(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    nodes = {**letters("ad"), "b": lambda s: {"log": [interrupt("q")]}}
    graph = build({**nodes, **letters("x")}, [(START, "a"), (START, "x"), ("x", "b")]).add_edge(["a", "b"], "d")
    app = graph.compile(saver)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lane.invoke(app, {}, thread)
        assert lane.invoke(app, Command(resume="b"), thread)["log"] == ["a", "x", "b", "d"]
