"""Static breakpoints: stop before or after a node, and go on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.programs import State, Switch, chain, fan, noted
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import GraphValidationError, InvalidConfigError
from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph
from twinstep.types import Command, GraphOutput, interrupt


@pytest.fixture
def saver() -> InMemorySaver:
    """What is tested here happens before anything is stored, or does not depend on where."""
    return InMemorySaver()


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ({"interrupt_before": ["b"]}, [("b",)]),
        ({"interrupt_after": ["a"]}, [("b",)]),
        ({"interrupt_before": ["a", "c"]}, [("a",), ("c",)]),
        ({"interrupt_before": "*"}, [("a",), ("b",), ("c",)]),
        ({"interrupt_after": "*"}, [("b",), ("c",)]),
        ({"interrupt_before": ["b"], "interrupt_after": ["b"]}, [("b",), ("c",)]),
        ({"interrupt_after": ["c"]}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("set_at", ["compile", "run"])
def test_a_run_stops_at_each_breakpoint_once(lane, saver, thread, options, stops, set_at):
    build = chain("a", "b", "c")
    graph = build.compile(saver, **options) if set_at == "compile" else build.compile(saver)
    given = options if set_at == "run" else {}
    result = lane.invoke(graph, {"x": 1}, thread, **given)
    met = []
    while "__interrupt__" in result:
        assert result["__interrupt__"] == []
        state = lane.state(graph, thread)
        assert (state.metadata["status"], state.interrupts) == ("interrupted", ())
        met.append(state.next)
        result = lane.invoke(graph, None, thread, **given)
    assert met == stops
    assert result == {"x": 1, "log": ["a", "b", "c"]}
    assert lane.state(graph, thread).metadata["status"] == "done"


def test_breakpoints_of_a_run_replace_those_of_the_graph(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["a"])
    lane.invoke(graph, {"x": 1}, thread, interrupt_before=["b"])
    assert lane.state(graph, thread).next == ("b",)
    other = {"configurable": {"thread_id": "2"}}
    assert lane.invoke(graph, {"x": 1}, other, interrupt_before=[])["log"] == ["a", "b"]


def test_a_stream_tells_of_a_breakpoint_in_updates_only(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["b"])
    chunks = lane.stream(graph, {"x": 1}, thread, stream_mode=["updates", "values"])
    assert chunks == [
        ("values", {"x": 1, "log": []}),
        ("updates", {"a": {"log": ["a"]}}),
        ("values", {"x": 1, "log": ["a"]}),
        ("updates", {"__interrupt__": ()}),
    ]


def test_the_second_form_of_output_has_no_interrupts_at_a_breakpoint(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["b"])
    assert lane.invoke(graph, {"x": 1}, thread, version="v2") == GraphOutput({"x": 1, "log": ["a"]}, ())


def test_a_loop_stops_in_every_round(lane, saver, thread):
    def step(state: State) -> State:
        return {"x": state["x"] + 1}

    build = chain(step).add_conditional_edges("step", lambda s: "step" if s["x"] < 3 else "__end__")
    graph = build.compile(saver, interrupt_before=["step"])
    seen = [lane.invoke(graph, {"x": 0}, thread)["x"]]
    while "__interrupt__" in (result := lane.invoke(graph, None, thread)):
        seen.append(result["x"])
    assert (seen, result) == ([0, 1, 2], {"x": 3, "log": []})


def test_parallel_nodes_wait_together(lane, saver, thread):
    ran = Switch(on=False)
    graph = fan(noted("a", ran), "b", then="c").compile(saver, interrupt_before=["b"])
    assert lane.invoke(graph, {"x": 1}, thread)["log"] == []
    assert (ran.calls, lane.state(graph, thread).next) == (0, ("a", "b"))
    assert lane.invoke(graph, None, thread)["log"] == ["a", "b", "c"]


def test_the_state_can_be_changed_at_a_breakpoint(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["b"])
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"x": 9})
    assert lane.invoke(graph, None, thread) == {"x": 9, "log": ["a", "b"]}


def test_a_command_goes_on_from_a_breakpoint_with_an_update(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["b"])
    lane.invoke(graph, {"x": 1}, thread)
    assert lane.invoke(graph, Command(update={"x": 9}), thread) == {"x": 9, "log": ["a", "b"]}


def test_a_new_input_at_a_breakpoint_starts_over(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["b"])
    lane.invoke(graph, {"x": 1}, thread)
    assert lane.invoke(graph, {"x": 2}, thread) == {"x": 2, "log": ["a", "a"], "__interrupt__": []}
    assert lane.invoke(graph, None, thread)["log"] == ["a", "a", "b"]


def test_a_breakpoint_and_a_question_of_one_node_come_one_after_the_other(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    graph = chain("a", ask).compile(saver, interrupt_before=["ask"])
    assert lane.invoke(graph, {"x": 1}, thread)["__interrupt__"] == []
    assert [i.value for i in lane.invoke(graph, None, thread)["__interrupt__"]] == ["?"]
    assert lane.invoke(graph, Command(resume="!"), thread) == {"x": 1, "log": ["a", "!"]}


def test_an_entrypoint_stops_at_a_breakpoint_of_the_run(lane, saver, thread):
    ran = Switch(on=False)

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        ran()
        return n + 1

    assert lane.invoke(flow, 1, thread, interrupt_before=["flow"]) == {"__interrupt__": []}
    assert (ran.calls, lane.state(flow, thread).next) == (0, ("flow",))
    assert lane.invoke(flow, None, thread) == 2


def test_a_breakpoint_in_a_nested_graph_stops_the_whole_run(lane, saver, thread):
    c1 = Switch(on=False)
    child = chain(noted("c1", c1), "c2").compile(interrupt_before=["c2"])
    build = StateGraph(State).add_node("child", child).add_edge(START, "child")
    graph = build.add_node("after", noted("after")).add_edge("child", "after").compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread)["__interrupt__"] == []
    state = lane.state(graph, thread, subgraphs=True)
    assert (state.next, state.tasks[0].state.next) == (("child",), ("c2",))
    assert lane.invoke(graph, None, thread)["log"] == ["c1", "c2", "after"]
    assert c1.calls == 1


@pytest.mark.parametrize("option", ["interrupt_before", "interrupt_after"])
def test_a_breakpoint_at_no_node_is_refused(lane, saver, thread, option):  # W17
    build = chain("apple", "b")
    options: Any = {option: ["appel"]}
    with pytest.raises(GraphValidationError, match="appel"):
        build.compile(saver, **options)
    graph = build.compile(saver)
    with pytest.raises(InvalidConfigError, match=r"'appel' not found.*Did you mean 'apple'"):
        lane.invoke(graph, {"x": 1}, thread, **options)
    assert lane.history(graph, thread) == []


def test_without_a_checkpointer_a_breakpoint_ends_the_run_there(lane):
    graph = chain("a", "b").compile(interrupt_before=["b"])
    assert lane.invoke(graph, {"x": 1}) == {"x": 1, "log": ["a"], "__interrupt__": []}
