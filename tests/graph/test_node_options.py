"""What nodes have by default, what traces show of them, and how their failures are handled over a resume."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Lane
from tests.graph.kit import S, build, letters, row, says
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import NodeError, NodeTimeoutError
from twinstep.func import task
from twinstep.graph import START, StateGraph
from twinstep.types import CachePolicy, Command, RetryPolicy, TracePolicy, interrupt, omit_payload

Node = Callable[..., Any]
AT_ONCE = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3)


def failing(times: int) -> tuple[Node, list[int]]:
    """Return a node that fails so often before it succeeds, and its attempts."""
    tries: list[int] = []

    def node(state: Any) -> dict[str, Any]:
        tries.append(len(tries) + 1)
        if len(tries) <= times:
            raise ConnectionError(f"try {len(tries)}")
        return {"log": ["ok"]}

    return node, tries


def handled(state: S, error: NodeError) -> dict[str, Any]:
    return {"log": [f"{error.node}: {error.error}"]}


def two(first: Any, second: Any, **defaults: Any) -> StateGraph[Any, Any, Any, Any]:
    """Return the builder of first -> second with node defaults."""
    return row({"first": first, "second": second}).set_node_defaults(**defaults)


# ---------------------------------------------------------------------- set_node_defaults


def test_defaults_hold_where_a_node_does_not_say_otherwise(lane: Lane) -> None:
    (one, tries), (other, others) = failing(2), failing(2)
    graph = two(one, (other, {"retry_policy": AT_ONCE._replace(max_attempts=1)}), retry_policy=AT_ONCE).compile()
    with pytest.raises(ConnectionError, match="try 1"):
        lane.invoke(graph, {})
    assert (tries, others) == ([1, 2, 3], [1])


def test_defaults_are_of_the_graph_and_not_of_the_order_of_calls(lane: Lane) -> None:
    node, tries = failing(2)
    builder = StateGraph(S).set_node_defaults(retry_policy=AT_ONCE).add_node("n", node).add_edge(START, "n")
    assert lane.invoke(builder.compile(), {})["log"] == ["ok"]
    assert tries == [1, 2, 3]


def test_no_retries_can_be_said_against_the_default(lane: Lane) -> None:
    node, tries = failing(1)
    with pytest.raises(ConnectionError):
        lane.invoke(two((node, {"retry_policy": []}), says("s"), retry_policy=AT_ONCE).compile(), {})
    assert tries == [1]


def test_a_default_timeout(lane: Lane) -> None:
    slow = lambda state: threading.Event().wait(5)  # noqa: E731
    with pytest.raises(NodeTimeoutError):
        lane.invoke(two(says("f"), slow, timeout=0.03).compile(), {})


def test_a_default_cache_policy(lane: Lane) -> None:
    node, tries = failing(0)
    graph = two(node, says("s"), cache_policy=CachePolicy()).compile(cache=InMemoryCache())
    assert [lane.invoke(graph, {}) for _ in range(2)] == [{"log": ["ok", "s"]}] * 2
    assert tries == [1]


def test_a_default_error_handler_takes_every_node_that_has_none(lane: Lane) -> None:
    own = (failing(1)[0], {"error_handler": lambda state: {"log": ["own"]}})
    graph = build({"a": failing(1)[0], "b": own}, [(START, "a"), (START, "b")]).set_node_defaults(error_handler=handled)
    chunks = lane.stream(graph.compile(), {})
    assert {"__default_error_handler__": {"log": ["a: try 1"]}} in chunks
    assert {"__error_handler__b": {"log": ["own"]}} in chunks
    assert len(chunks) == 2


def test_handlers_have_the_default_retries_and_no_handler_of_their_own(lane: Lane) -> None:
    handler, tries = failing(2)
    graph = two((failing(9)[0], {"error_handler": handler, "retry_policy": ()}), says("s"), retry_policy=AT_ONCE)
    assert lane.invoke(graph.compile(), {})["log"] == ["ok"]
    assert tries == [1, 2, 3]
    broken = two(failing(9)[0], says("s"), error_handler=lambda state: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lane.invoke(broken.compile(), {})


def test_nested_graphs_do_not_inherit_defaults(lane: Lane) -> None:
    node, tries = failing(1)
    inner = row({"n": node}).compile()
    with pytest.raises(ConnectionError):
        lane.invoke(two(says("f"), (inner, {"retry_policy": ()}), retry_policy=AT_ONCE).compile(), {})
    assert tries == [1]


def test_w23_a_builder_with_a_default_error_handler_compiles_twice(lane: Lane) -> None:
    builder = two(failing(99)[0], says("s"), error_handler=handled)
    assert [lane.invoke(builder.compile(), {})["log"] for _ in range(2)] == [["first: try 1"], ["first: try 2"]]


def test_later_defaults_are_added_to_earlier_ones(lane: Lane) -> None:
    node, tries = failing(9)
    graph = two(node, says("s"), error_handler=handled).set_node_defaults(retry_policy=AT_ONCE).compile()
    assert lane.invoke(graph, {})["log"] == ["first: try 3"]
    assert tries == [1, 2, 3]


# ---------------------------------------------------------------------- error handlers over a resume


def asking_handler(saver: BaseCheckpointSaver | None, node: Node) -> Any:
    def handler(state: S, error: NodeError) -> Command[Any]:
        answer = interrupt(f"{type(error.error).__name__}: {error.error}")
        return Command(update={"log": [answer, type(error.error).__name__, error.node]}, goto="fin")

    nodes = {"a": (node, {"error_handler": handler, "destinations": ["fin"]}), "b": says("b"), "fin": says("fin")}
    return build(nodes, [(START, "a"), ("a", "b")]).compile(saver)


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_w53_a_handler_that_is_resumed_has_the_real_failure_and_the_node_does_not_run_again(
    durability: Any, lane: Lane, thread: dict[str, Any], tmp_path: Path
) -> None:
    node, tries = failing(1)
    with SqliteSaver.from_conn_string(str(tmp_path / "t.sqlite")) as saver:
        first = lane.invoke(asking_handler(saver, node), {}, thread, durability=durability)
        assert [question.value for question in first["__interrupt__"]] == ["ConnectionError: try 1"]
    with SqliteSaver.from_conn_string(str(tmp_path / "t.sqlite")) as saver:  # as another process would open it
        out = lane.invoke(asking_handler(saver, node), Command(resume="yes"), thread, durability=durability)
    assert out["log"] == ["yes", "ConnectionError", "a", "fin"]
    assert tries == [1]


def test_what_a_node_has_asked_and_called_is_apart_from_what_its_handler_asks_and_calls(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    ran: list[Any] = []

    @task
    def note(what: str) -> str:
        ran.append(what)
        return what

    def node(state: S) -> dict[str, Any]:
        note("node").result()
        raise ValueError(interrupt("which?"))

    def handler(state: S, error: NodeError) -> dict[str, Any]:
        called = note("handler").result()
        return {"log": [str(error.error), called, interrupt("which?"), interrupt("sure?")]}

    graph = row({"n": (node, {"error_handler": handler})}).compile(saver)
    inputs: list[Any] = [{}, Command(resume="a"), Command(resume="b")]
    asked = [lane.invoke(graph, given, thread) for given in inputs]
    assert [out["__interrupt__"][0].value for out in asked] == ["which?", "which?", "sure?"]
    assert lane.invoke(graph, Command(resume="c"), thread)["log"] == ["a", "handler", "b", "c"]
    assert ran == ["node", "handler"]


def test_a_node_whose_handler_failed_is_tried_again(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    node, tries = failing(1)
    handler = lambda state: 1 / 0  # noqa: E731
    graph = row({"n": (node, {"error_handler": handler}), "m": says("m")}).compile(saver)
    with pytest.raises(ZeroDivisionError):
        lane.invoke(graph, {}, thread)
    assert lane.invoke(graph, None, thread)["log"] == ["ok", "m"]
    assert tries == [1, 2]


class Stopped(BaseException):
    """What stops the program from outside."""


def test_a_run_that_was_stopped_in_the_handler_goes_on_with_the_handler(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    node, tries = failing(1)
    handled_by: list[str] = []

    def handler(state: S, error: NodeError) -> dict[str, Any]:
        handled_by.append(str(error.error))
        if len(handled_by) == 1:
            raise Stopped
        return {"log": [str(error.error)]}

    graph = row({"n": (node, {"error_handler": handler})}).compile(saver)
    with pytest.raises(Stopped):
        lane.invoke(graph, {}, thread)
    assert lane.invoke(graph, None, thread)["log"] == ["try 1"]
    assert (tries, handled_by) == ([1], ["try 1", "try 1"])


def test_a_wrong_answer_is_not_a_failure_for_the_handler(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    ask = lambda state: {"x": interrupt("how many?", response_schema=int)}  # noqa: E731
    graph = row({"n": (ask, {"error_handler": handled})}).compile(saver)
    lane.invoke(graph, {}, thread)
    with pytest.raises(ValueError, match="valid integer"):
        lane.invoke(graph, Command(resume="many"), thread)
    assert lane.invoke(graph, Command(resume=3), thread) == {"x": 3, "log": []}


def test_the_next_superstep_knows_nothing_of_a_handled_failure(lane: Lane, thread: dict[str, Any]) -> None:
    node = failing(1)[0]
    graph = row({"n": (node, {"error_handler": handled})}).compile(InMemorySaver())
    assert lane.invoke(graph, {}, thread)["log"] == ["n: try 1"]
    assert lane.invoke(graph, {}, thread)["log"] == ["n: try 1", "ok"]


# ---------------------------------------------------------------------- trace policies


@pytest.mark.parametrize("mode", ["tasks", "debug"])
def test_a_trace_policy_decides_what_traces_show(mode: Any, lane: Lane) -> None:
    policy = TracePolicy(process_inputs=omit_payload, process_outputs=lambda writes: sorted(writes))
    graph = build({"n": (says("secret"), {"trace_policy": policy}), **letters("m")}, [(START, "n"), ("n", "m")])
    chunks = [chunk.get("payload", chunk) for chunk in lane.stream(graph.compile(), {"x": 1}, stream_mode=mode)]
    shown = [chunk.get("input", chunk.get("result")) for chunk in chunks]
    assert shown == [{}, ["log"], {"x": 1, "log": ["secret"]}, {"log": ["m"]}]


def test_a_trace_policy_changes_neither_state_nor_updates(lane: Lane) -> None:
    policy = TracePolicy(process_inputs=omit_payload, process_outputs=omit_payload)
    graph = row({"n": (lambda s: {"log": [s["x"]]}, {"trace_policy": policy})}).compile()
    assert lane.stream(graph, {"x": 1}) == [{"n": {"log": [1]}}]
    assert lane.invoke(graph, {"x": 1}) == {"x": 1, "log": [1]}
