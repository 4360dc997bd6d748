"""What users see, to the letter: chunks, results, snapshots and histories of small programs of both kinds.

The tests are numbered as in the project's list of outputs; where a name has a W number, the output is not that of the
reference but the mended one.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conftest import Lane
from tests.graph.kit import S, build, letters, row, says
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import GraphDrained, NodeError
from twinstep.func import entrypoint, task
from twinstep.graph import END, START
from twinstep.runtime import RunControl
from twinstep.types import (
    CachePolicy,
    Command,
    GraphOutput,
    Interrupt,
    RunnableConfig,
    Send,
    StateSnapshot,
    StateUpdate,
    interrupt,
)

Thread = dict[str, Any]
T: Thread = {"configurable": {"thread_id": "1"}}


@task
def add(x: int) -> int:
    return x + 1


@entrypoint()
def wf(x: int) -> int:
    return add(x).result()


def asks(state: Any) -> dict[str, Any]:
    return {"log": [interrupt("q")]}


def two() -> Any:
    return row({"a": lambda s: {"x": s["x"] + 1, "log": ["a"]}, "b": says("b")})


def nested(checkpointer: Any = None) -> Any:
    inner = row({"sa": says("sa")}).compile(checkpointer)
    return build({"sub": inner}, [(START, "sub")])


def is_question(found: Any) -> bool:
    (question,) = found
    assert question == Interrupt(value="q", id=question.id, response_schema=None)
    return re.fullmatch("[0-9a-f]{32}", question.id) is not None


def test_01_updates_of_a_graph(lane: Lane) -> None:
    assert lane.stream(two().compile(), {"x": 0}) == [{"a": {"x": 1, "log": ["a"]}}, {"b": {"log": ["b"]}}]


def test_02_a_node_that_returns_none(lane: Lane) -> None:
    assert lane.stream(row({"b": lambda s: None}).compile(), {"x": 0}) == [{"b": None}]


def test_03_updates_of_an_entrypoint(lane: Lane) -> None:
    assert lane.stream(wf, 1) == [{"add": 2}, {"wf": 2}]


def test_04_values_of_an_entrypoint(lane: Lane) -> None:
    assert lane.stream(wf, 1, stream_mode="values") == [2]


def test_05_a_cached_task(lane: Lane) -> None:
    @task(cache_policy=CachePolicy())
    def slow_add(x: int) -> int:
        return x * 2

    @entrypoint(cache=InMemoryCache())
    def twice(x: int) -> list[int]:
        return [slow_add(x).result(), slow_add(x).result()]

    cached = {"slow_add": 10, "__metadata__": {"cached": True}}
    assert lane.stream(twice, 5) == [{"slow_add": 10}, cached, {"twice": [10, 10]}]


def test_06_a_question_in_updates(lane: Lane) -> None:
    (chunk,) = lane.stream(row({"n": asks}).compile(InMemorySaver()), {"x": 0}, T)
    assert list(chunk) == ["__interrupt__"]
    assert isinstance(chunk["__interrupt__"], tuple)
    assert is_question(chunk["__interrupt__"])


def test_07_a_question_of_a_graph(lane: Lane) -> None:
    out = lane.invoke(row({"n": asks}).compile(InMemorySaver()), {"x": 0}, T)
    assert out == {"x": 0, "log": [], "__interrupt__": out["__interrupt__"]}
    assert isinstance(out["__interrupt__"], list)
    assert is_question(out["__interrupt__"])


def test_08_a_question_of_an_entrypoint(lane: Lane) -> None:
    out = lane.invoke(entrypoint(InMemorySaver())(lambda x: interrupt("q")), 1, T)
    assert list(out) == ["__interrupt__"]
    assert is_question(out["__interrupt__"])


def test_09_a_question_in_version_2(lane: Lane) -> None:
    out = lane.invoke(row({"n": asks}).compile(InMemorySaver()), {"x": 0}, T, version="v2")
    assert out == GraphOutput(value={"x": 0, "log": []}, interrupts=out.interrupts)
    assert is_question(out.interrupts)


def test_10_a_static_breakpoint_in_updates(lane: Lane) -> None:
    graph = row({"n": says("n")}).compile(InMemorySaver(), interrupt_before=["n"])
    assert lane.stream(graph, {"x": 0}, T) == [{"__interrupt__": ()}]


def test_11_updates_of_nested_graphs(lane: Lane) -> None:
    first, last = lane.stream(nested().compile(), {"x": 0}, subgraphs=True)
    ((namespace,), update) = first
    assert re.fullmatch("sub:[0-9a-f-]{32,36}", namespace)
    assert update == {"sa": {"log": ["sa"]}}
    assert last == ((), {"sub": {"log": ["sa"]}}), "W19: what is new, and not the whole list again"


def test_12_several_modes_with_nested_graphs(lane: Lane) -> None:
    chunks = lane.stream(nested().compile(), {"x": 0}, stream_mode=["values"], subgraphs=True)
    assert chunks[0] == ((), "values", {"x": 0, "log": []})
    assert chunks[-1] == ((), "values", {"x": 0, "log": ["sa"]})


def test_13_parts_of_version_2(lane: Lane) -> None:
    graph = row({"b": says("b")}).compile()
    assert lane.stream(graph, {"x": 0}, version="v2") == [{"type": "updates", "ns": (), "data": {"b": {"log": ["b"]}}}]
    assert lane.stream(graph, {"x": 0}, version="v2", stream_mode="values")[0] == {
        "type": "values",
        "ns": (),
        "data": {"x": 0, "log": []},
        "interrupts": (),
    }


def test_14_15_how_a_task_begins_and_ends(lane: Lane) -> None:
    chunks = [chunk for chunk in lane.stream(wf, 1, stream_mode="tasks") if chunk["name"] == "add"]
    id = chunks[0]["id"]
    assert chunks == [
        {"id": id, "name": "add", "input": ((1,), {}), "triggers": ("__pregel_push",)},
        {"id": id, "name": "add", "error": None, "result": {"__return__": 2}, "interrupts": []},
    ]


def test_16_the_order_of_debug(lane: Lane) -> None:
    saved = entrypoint(InMemorySaver())(lambda x: add(x).result())
    chunks = lane.stream(saved, 1, T, stream_mode="debug")
    assert [(chunk["step"], chunk["type"]) for chunk in chunks] == [
        (-1, "checkpoint"),
        (0, "task"),
        (0, "task"),
        (0, "task_result"),
        (0, "task_result"),
        (0, "checkpoint"),
    ]


def test_17_the_history_of_two_nodes(saver: BaseCheckpointSaver, lane: Lane) -> None:
    graph = two().compile(saver)
    lane.invoke(graph, {"x": 0}, T)
    history = lane.history(graph, T)
    assert [(s.metadata["step"], s.next) for s in history] == [(2, ()), (1, ("b",)), (0, ("a",)), (-1, ("__start__",))]


def test_18_accumulating(saver: BaseCheckpointSaver, lane: Lane) -> None:
    @entrypoint(checkpointer=saver)
    def accumulate(n: int, *, previous: int | None) -> entrypoint.final[int, int]:
        return entrypoint.final(value=previous or 0, save=(previous or 0) + n)

    assert [lane.invoke(accumulate, n, T) for n in (1, 2, 3)] == [0, 1, 3]


def fan() -> Any:
    graph = build({"n": lambda packet: {"log": [packet["i"] * 10]}}, [])
    return graph.add_conditional_edges(START, lambda s: [Send("n", {"i": i}) for i in range(3)], ["n"]).compile()


def test_19_a_fan_out_with_a_reducer(lane: Lane) -> None:
    assert lane.invoke(fan(), {"x": 1}) == {"x": 1, "log": [0, 10, 20]}


@pytest.mark.parametrize("mode", ["values", "updates", "tasks", "debug"])
def test_20_both_lanes_show_the_same(mode: Any) -> None:
    def shown(lane: Lane) -> list[Any]:
        chunks = lane.stream(two().compile(), {"x": 0}, stream_mode=mode)
        return [re.sub(r"'(timestamp|id)': '[^']*'", "", repr(chunk)) for chunk in chunks]

    assert shown(Lane("sync")) == shown(Lane("async")) != []


def test_21_the_state_of_an_empty_thread(saver: BaseCheckpointSaver, lane: Lane) -> None:
    nothing: RunnableConfig = {"configurable": {"thread_id": "nothing"}}
    assert lane.state(two().compile(saver), nothing) == StateSnapshot(
        values={}, next=(), config=nothing, metadata=None, created_at=None, parent_config=None, tasks=(), interrupts=()
    )


def test_22_w53_the_state_after_a_failure_has_the_exception_itself(saver: BaseCheckpointSaver, lane: Lane) -> None:
    @task
    def three() -> int:
        return 3

    @entrypoint(checkpointer=saver)
    def w2(x: int) -> int:
        three().result()
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        lane.invoke(w2, 1, T)
    state = lane.state(w2, T)
    (failed,) = state.tasks
    assert state.next == ("w2",)
    assert (type(failed.error), str(failed.error)) == (ValueError, "boom")


def test_23_the_notes_of_a_failure(lane: Lane) -> None:
    @task
    def flaky() -> int:
        raise ValueError("boom")

    @entrypoint()
    def w2(x: int) -> int:
        return flaky().result()

    with pytest.raises(ValueError, match="boom") as caught:
        lane.invoke(w2, 1)
    names = [re.match(r"During task with name '(\w+)' and id '[0-9a-f-]+'$", note) for note in caught.value.__notes__]
    assert [found and found[1] for found in names] == ["flaky", "w2"]


def test_24_going_on_after_a_drain(saver: BaseCheckpointSaver, lane: Lane) -> None:
    control = RunControl()

    def a(state: S) -> dict[str, Any]:
        control.request_drain(reason="bye")
        return {"log": ["a"]}

    graph = row({"a": a, "b": says("b")}).compile(saver)
    with pytest.raises(GraphDrained, match=r"^Graph drained: bye$"):
        lane.invoke(graph, {"x": 0}, T, control=control)
    assert lane.state(graph, T).next == ("b",)
    assert lane.invoke(graph, None, T) == {"x": 0, "log": ["a", "b"]}


def test_25_an_error_handler_in_updates(lane: Lane) -> None:
    def handler(state: S, error: NodeError) -> Command[Any]:
        return Command(update={"log": ["handled"]}, goto="fin")

    def a(state: S) -> dict[str, Any]:
        raise ValueError

    graph = build({"a": (a, {"error_handler": handler, "destinations": ["fin"]}), "fin": says("fin")}, [(START, "a")])
    assert lane.stream(graph.compile(), {"x": 0}) == [
        {"__error_handler__a": {"log": ["handled"]}},
        {"fin": {"log": ["fin"]}},
    ]


def test_26_a_path_function_sees_its_node_and_not_the_siblings(lane: Lane) -> None:
    seen: list[Any] = []

    def path(state: S) -> str:
        seen.append(state["log"])
        return END

    graph = build(letters("ab"), [(START, "a"), (START, "b")]).add_conditional_edges("a", path, [END])
    lane.invoke(graph.compile(), {"log": ["in"]})
    assert seen == [["in", "a"]]


def test_27_printing(lane: Lane, capsys: pytest.CaptureFixture[str]) -> None:
    lane.invoke(row({"a": says("a")}).compile(), {"x": 0}, print_mode="updates")
    assert capsys.readouterr().out == "\x1b[1m[updates]\x1b[0m {'a': {'log': ['a']}}\n"


def test_28_updates_from_outside_in_bulk(saver: BaseCheckpointSaver, lane: Lane) -> None:
    graph = two().compile(saver)
    lane.call(graph, "bulk_update_state", T, [[StateUpdate({"x": 1}, "a")], [StateUpdate({"x": 2}, "b")]])
    history = lane.history(graph, T)
    assert [(s.metadata["source"], s.metadata["step"], s.values["x"]) for s in history] == [
        ("update", 1, 2),
        ("update", 0, 1),
    ]


def test_29_replaying_a_question(saver: BaseCheckpointSaver, lane: Lane) -> None:
    graph = row({"a": says("a"), "i": asks}).compile(saver)
    lane.invoke(graph, {"x": 0}, T)
    lane.invoke(graph, Command(resume="r"), T)
    asked = next(s for s in lane.history(graph, T) if s.next == ("i",))
    assert lane.invoke(graph, None, asked.config)["__interrupt__"][0].value == "q"
    assert [(s.metadata["source"], s.metadata["step"], s.next) for s in lane.history(graph, T)] == [
        ("fork", 2, ("i",)),
        ("loop", 2, ()),
        ("loop", 1, ("i",)),
        ("loop", 0, ("a",)),
        ("input", -1, ("__start__",)),
    ]


@pytest.mark.parametrize(("mode", "namespace"), [(None, "sub:ID"), (True, "sub"), (False, None)])
def test_30_where_a_nested_graph_keeps_its_checkpoints(
    mode: bool | None, namespace: str | None, saver: BaseCheckpointSaver, lane: Lane
) -> None:
    lane.invoke(nested(mode).compile(saver), {"x": 0}, T)
    found = {each.config["configurable"]["checkpoint_ns"] for each in lane.call(saver, "list", T)}
    assert {re.sub(":[0-9a-f-]+", ":ID", ns) for ns in found} == {"", namespace} - {None}
