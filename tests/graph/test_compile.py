"""Compiling: what is checked, what the messages say, what the compiled graph tells of itself (behaviour 1.4)."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest

from tests.conftest import Lane
from tests.graph.kit import S, build, letters, row, says
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.errors import GraphValidationError, InvalidConfigError, InvalidUpdateError, NoCheckpointerError
from twinstep.func import entrypoint
from twinstep.graph import END, START, StateGraph
from twinstep.pregel.protocol import PregelProtocol
from twinstep.types import Command, Send

Builder = StateGraph[Any, Any, Any, Any]


def base() -> Builder:
    """Return the builder of START -> alpha -> beta."""
    return row({"alpha": says("a"), "beta": says("b")})


def condition(state: Any) -> str:
    return "beta"


def literally(state: Any) -> Literal["alpha", "gamma"]:
    return "alpha"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StateGraph(S).add_node("a", says("a")).compile(), "must have an entrypoint: add at least one edge"),
        (lambda: base().add_edge("alhpa", "beta").compile(), "edge starting at unknown node 'alhpa'.*mean 'alpha'"),
        (lambda: base().add_edge("alpha", "betta").compile(), "edge ending at unknown node `betta`.*mean 'beta'"),
        (lambda: base().add_edge(["alpha", "beta"], "betta").compile(), "ending at unknown node `betta`.*mean 'beta'"),
        (lambda: base().add_edge(["alpha", "betta"], END), "Need to add_node `betta` first.*mean 'beta'"),
        (lambda: base().add_edge([], "beta"), "at least one node to wait for"),
        (lambda: base().add_edge(END, "beta"), "END cannot be a start node"),
        (lambda: base().add_edge("beta", START), "START cannot be an end node"),
        (
            lambda: base().add_conditional_edges("alpha", condition, ["betta", END]).compile(),
            "At 'alpha' node, 'condition' branch found unknown target 'betta'.*mean 'beta'",
        ),
        (
            lambda: base().add_conditional_edges("alpha", condition, {"yes": "betta"}).compile(),
            "At 'alpha' node, 'condition' branch found unknown target 'betta'",
        ),
        (
            lambda: base().add_conditional_edges("alpha", literally).compile(),
            "At 'alpha' node, 'literally' branch found unknown target 'gamma'",
        ),
        (lambda: base().add_conditional_edges("alhpa", condition).compile(), "unknown node 'alhpa'.*mean 'alpha'"),
        (lambda: base().compile(interrupt_before=["alhpa"]), "Interrupt node `alhpa` not found.*mean 'alpha'"),
        (lambda: base().compile(interrupt_after=["alhpa"]), "Interrupt node `alhpa` not found.*mean 'alpha'"),
        (
            lambda: base().compile(interrupt_before="*", interrupt_after=["alhpa"]),
            "Interrupt node `alhpa` not found",
        ),
        (lambda: base().validate(interrupt=["alhpa"]), "Interrupt node `alhpa` not found"),
    ],
)
def test_what_cannot_work_is_refused_with_a_hint(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(GraphValidationError, match=message):
        make()


@pytest.mark.parametrize("given", ["memory", 5, object()])
def test_what_is_no_checkpointer_is_refused(given: Any) -> None:
    with pytest.raises(InvalidConfigError, match=f"Invalid checkpointer.*got {type(given).__name__}"):
        base().compile(checkpointer=given)


def test_checkpointer_true_needs_a_caller(lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match="checkpointer=True"):
        lane.invoke(base().compile(checkpointer=True), {})


@pytest.mark.parametrize("checkpointer", [None, False])
def test_a_graph_without_a_checkpointer_has_no_state_to_look_into(
    checkpointer: Any, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = base().compile(checkpointer)
    assert lane.invoke(graph, {}, thread) == {"log": ["a", "b"]}
    with pytest.raises(NoCheckpointerError, match="No checkpointer set"):
        lane.state(graph, thread)


@pytest.mark.parametrize("option", ["interrupt_before", "interrupt_after"])
def test_w17_unknown_names_in_breakpoints_of_a_call_are_refused(option: str, lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match=r"'alhpa' not found.*mean 'alpha'"):
        lane.invoke(base().compile(), {}, **{option: ["alhpa"]})


# ---------------------------------------------------------------------- unreachable nodes (W18)


def commanding(state: Any) -> Command[Literal["lost"]]:
    return Command(goto="lost")


@pytest.mark.parametrize(
    "add",
    [
        lambda g: g,
        lambda g: g.add_edge("lost", "beta"),
        lambda g: g.add_conditional_edges("alpha", condition, ["beta"]),
    ],
)
def test_w18_a_node_nothing_leads_to_is_warned_of(add: Callable[[Builder], Builder]) -> None:
    graph = add(base().add_node("lost", says("lost")))
    with pytest.warns(UserWarning, match="Node 'lost' cannot be reached"):
        graph.compile()


@pytest.mark.parametrize(
    "add",
    [
        lambda g: g.add_edge("beta", "lost"),
        lambda g: g.add_edge(["alpha", "beta"], "lost"),
        lambda g: g.add_conditional_edges("beta", condition),
        lambda g: g.add_conditional_edges("beta", lambda s: [Send("lost", {})], ["lost"]),
        lambda g: g.add_node("go", commanding).add_edge("beta", "go"),
        lambda g: g.add_node("go", lambda s: Command(goto="lost"), destinations=("lost",)).add_edge("beta", "go"),
        lambda g: g.add_node("go", says("g"), destinations={"lost": "label"}).add_edge("beta", "go"),
    ],
)
def test_a_node_something_may_lead_to_is_not_warned_of(add: Callable[[Builder], Builder]) -> None:
    with warnings.catch_warnings(action="error"):
        add(base().add_node("lost", says("lost"))).compile()


# ---------------------------------------------------------------------- the compiled graph


def test_a_builder_can_be_compiled_again_and_the_graphs_are_independent(lane: Lane, thread: dict[str, Any]) -> None:
    builder = base()
    plain, stopping = builder.compile(), builder.compile(interrupt_before=["beta"], name="stopping")
    assert lane.invoke(plain, {}) == {"log": ["a", "b"]}
    assert lane.invoke(stopping, {})["log"] == ["a"]
    assert (plain.name, stopping.name) == ("LangGraph", "stopping")
    assert plain.builder is builder
    assert stopping.builder is builder


def test_what_a_builder_knows() -> None:
    def joined(state: Any) -> str:
        return END

    graph = build(letters("abc"), [(START, "a"), (["a", "b"], "c"), ("a", "b")], input_schema=S)
    graph.add_conditional_edges("c", joined, {"stop": END})
    assert list(graph.nodes) == ["a", "b", "c"]
    assert graph.edges == {(START, "a"), ("a", "b")}
    assert graph.waiting_edges == {(("a", "b"), "c")}
    assert list(graph.branches["c"]) == ["joined"]
    assert list(graph.channels) == ["x", "log"]
    assert graph.managed == {}
    assert (graph.state_schema, graph.input_schema, graph.output_schema, graph.context_schema) == (S, S, S, None)
    assert list(graph.schemas) == [S]
    assert graph.compiled is False
    graph.compile()
    assert graph.compiled is True


def test_what_a_compiled_graph_knows(saver: BaseCheckpointSaver) -> None:
    graph = base().compile(saver, interrupt_before=["beta"], interrupt_after="*")
    assert set(graph.nodes) == {"__start__", "alpha", "beta"}
    assert {"x", "log", "__start__", "branch:to:alpha", "branch:to:beta", "__pregel_tasks"} <= set(graph.channels)
    assert graph.input_channels == "__start__"
    assert list(graph.output_channels) == ["x", "log"]
    assert list(graph.stream_channels) == ["x", "log"]
    assert graph.stream_mode == "updates"
    assert list(graph.interrupt_before_nodes) == ["beta"]
    assert graph.interrupt_after_nodes in ("*", ("*",), ["*"])
    assert list(graph.trigger_to_nodes["branch:to:alpha"]) == ["alpha"]
    assert (graph.checkpointer, graph.store, graph.cache, graph.config) == (saver, None, None, None)


def test_a_copy_with_other_options_leaves_the_graph_as_it_was(lane: Lane) -> None:
    graph = base().compile()
    short = graph.with_config({"recursion_limit": 1}, tags=["short"])
    assert short.config == {"recursion_limit": 1, "tags": ["short"]}
    assert graph.config is None
    assert lane.invoke(graph, {}) == {"log": ["a", "b"]}
    with pytest.raises(RecursionError):
        lane.invoke(short, {})


@pytest.mark.parametrize("n", [1, 7])
def test_a_batch_is_runs_of_their_own_in_order(n: int, lane: Lane) -> None:
    graph = base().compile()
    outs = lane.call(graph, "batch", [{"x": i, "log": [i]} for i in range(n)])
    assert outs == [{"x": i, "log": [i, "a", "b"]} for i in range(n)]


def test_a_batch_can_hand_back_exceptions(lane: Lane) -> None:
    graph = row({"n": lambda s: {"log": [1 / s["x"]]}}).compile()
    out, error = lane.call(graph, "batch", [{"x": 1}, {"x": 0}], return_exceptions=True)
    assert out == {"x": 1, "log": [1.0]}
    assert isinstance(error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        lane.call(graph, "batch", [{"x": 1}, {"x": 0}])


def test_an_edge_to_several_nodes_is_refused() -> None:
    with pytest.raises(GraphValidationError, match=r"an edge ends at one node; add one edge for each"):
        StateGraph(S).add_node("a", says("a")).add_edge("a", ["b", "c"])  # type: ignore[arg-type]


def test_the_name_of_the_constant_is_not_its_value(lane: Lane) -> None:
    with pytest.raises(GraphValidationError, match=r"END is a constant: from twinstep\.graph import END"):
        row({"a": says("a")}).add_edge("a", "END").compile()
    graph = row({"a": says("a")}).add_conditional_edges("a", lambda s: "END").compile()
    with pytest.raises(InvalidUpdateError, match="END is a constant"):
        lane.invoke(graph, {})


def test_whatever_runs_like_a_graph_can_be_held_as_one() -> None:
    held: list[PregelProtocol] = [row({"a": says("a")}).compile(), entrypoint()(lambda state: state)]
    assert all(isinstance(each, PregelProtocol) for each in held)
    assert not isinstance(row({"a": says("a")}), PregelProtocol), "a builder cannot be run"
