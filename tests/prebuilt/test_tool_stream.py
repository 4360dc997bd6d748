"""The `tools` stream and `ToolCallTransformer`: the calls of tools while they run."""

from __future__ import annotations

import asyncio
import operator
import threading
from typing import Any

import pytest

from tests.conftest import Lane
from tests.prebuilt.kit import asked, call, in_graph
from twinstep import interrupt, task
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.prebuilt import ToolCallTransformer, ToolNode, ToolRuntime, tool
from twinstep.types import Command


@tool
def look(place: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Look around."""
    runtime.emit_output_delta("trees")
    helper = threading.Thread(target=runtime.emit_output_delta, args=({"and": place},))
    helper.start()
    helper.join()
    return "a forest"


@tool
async def alook(place: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Look around."""
    runtime.emit_output_delta("trees")
    runtime.emit_output_delta({"and": place})
    return "a forest"


@tool
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)


def look_north() -> str:
    """Answer a call."""
    return str(look.invoke(call("look", {"place": "north"}, "9")).content)


def events(found: dict[str, Any]) -> tuple[Any, ...]:
    """Show a chunk as what happened, to which call, and what of it."""
    rest = [
        getattr(found[key], "content", found[key]) for key in ("input", "delta", "output", "message") if key in found
    ]
    return (found["event"], found["tool_call_id"], *rest)


@pytest.mark.parametrize("found", [look, alook], ids=lambda each: str(each.name))
def test_the_tools_stream_tells_a_call_from_start_to_end(lane: Lane, found: Any) -> None:
    graph = in_graph(ToolNode([found]))
    chunks = lane.stream(graph, {"messages": [asked(call(found.name, {"place": "north"}))]}, stream_mode="tools")
    assert [events(chunk) for chunk in chunks] == [
        ("tool-started", "1", {"place": "north"}),
        ("tool-output-delta", "1", "trees"),
        ("tool-output-delta", "1", {"and": "north"}),
        ("tool-finished", "1", "a forest"),
    ]
    assert chunks[0]["tool_name"] == found.name


def test_failures_are_told_whether_they_are_handled_or_not(lane: Lane) -> None:
    asking = {"messages": [asked(call("fail", {"why": "no"}), call("fail", {"whi": 1}, "2"), call("none", {}, "3"))]}
    chunks = lane.stream(in_graph(ToolNode([fail], handle_tool_errors=True)), asking, stream_mode="tools")
    told = {chunk["tool_call_id"]: chunk for chunk in chunks}
    assert told.keys() == {"1", "2"}  # what does not exist has not started
    assert told["1"] == {"event": "tool-error", "tool_call_id": "1", "message": "no"}
    assert "why: Field required" in told["2"]["message"]
    assert len(chunks) == 4


def test_a_tool_that_a_node_invokes_with_a_call_is_told_too(lane: Lane) -> None:
    def node(state: Any) -> Any:
        look.invoke({"place": "aside"})  # plain arguments are no call of a model
        return {"messages": [look.invoke(call("look", {"place": "north"}, "7"))]}

    chunks = lane.stream(in_graph(node), {"messages": []}, stream_mode="tools")
    assert {events(chunk)[1] for chunk in chunks} == {"7"}
    assert [chunk["event"] for chunk in chunks][-1] == "tool-finished"


def test_a_finished_tool_is_not_told_again_when_the_run_goes_on(lane: Lane) -> None:
    @tool
    def ask(what: str) -> str:
        """Ask."""
        return str(interrupt(what))

    graph = in_graph(ToolNode([ask, look]), checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    asking = {"messages": [asked(call("look", {"place": "north"}), call("ask", {"what": "?"}, "2"))]}
    first = lane.stream(graph, asking, thread, stream_mode="tools")
    assert sorted(events(chunk)[:2] for chunk in first if chunk["event"] != "tool-output-delta") == [
        ("tool-finished", "1"),
        ("tool-started", "1"),
        ("tool-started", "2"),
    ]
    again = lane.stream(graph, Command(resume="yes"), thread, stream_mode="tools")
    assert [events(chunk)[:2] for chunk in again] == [("tool-started", "2"), ("tool-finished", "2")]


def test_a_task_in_another_process_tells_its_calls() -> None:
    remote = task(executor="process")(look_north)
    chunks = list(in_graph(lambda state: remote().result() and {}).stream({"messages": []}, stream_mode="tools"))
    assert [events(chunk) for chunk in chunks][1:] == [
        ("tool-output-delta", "9", "trees"),
        ("tool-output-delta", "9", {"and": "north"}),
        ("tool-finished", "9", "a forest"),
    ]


def test_a_run_stream_shows_each_call_while_it_runs() -> None:
    graph = in_graph(ToolNode([look, fail], handle_tool_errors=True), transformers=[ToolCallTransformer])
    run = graph.stream_events({"messages": [asked(call("look", {"place": "n"}), call("fail", {"why": "no"}, "2"))]})
    found = sorted(run.tool_calls, key=operator.attrgetter("tool_call_id"))
    assert [(each.tool_name, each.input, list(each.output_deltas), each.output, each.error) for each in found] == [
        ("look", {"place": "n"}, ["trees", {"and": "n"}], "a forest", None),
        ("fail", {"why": "no"}, [], None, "no"),
    ]
    assert all(each.completed for each in found)
    assert run.tool_calls is run.extensions["tool_calls"]


def test_the_calls_of_a_run_that_stops_or_fails_end_with_it() -> None:
    @tool
    def ask(runtime: ToolRuntime[Any, Any]) -> str:
        """Ask."""
        runtime.emit_output_delta("well")
        return str(interrupt("?"))

    async def read() -> list[Any]:
        graph = in_graph(ToolNode([ask]), checkpointer=InMemorySaver(), transformers=[ToolCallTransformer])
        run = await graph.astream_events({"messages": [asked(call("ask"))]}, {"configurable": {"thread_id": "1"}})
        async for each in run.tool_calls:
            return [[delta async for delta in each.output_deltas], each.completed]
        raise AssertionError("no call was shown")

    assert asyncio.run(read()) == [["well"], False]
    run = in_graph(ToolNode([fail])).stream_events(
        {"messages": [asked(call("fail", {"why": "no"}))]}, transformers=[ToolCallTransformer]
    )
    with pytest.raises(ValueError, match="no"):
        list(run.tool_calls)


def test_a_projection_that_is_not_there_says_which_are() -> None:
    run = in_graph(lambda state: {}).stream_events({"messages": []})
    with pytest.raises(AttributeError, match=r"no 'tool_calls'.*values, messages, lifecycle, subgraphs"):
        run.tool_calls  # noqa: B018
    run.abort()
