"""Graphs inside graphs: as nodes and called by nodes, with every kind of checkpointer (behaviour 1.7)."""

import asyncio
import functools
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane, in_notebooks_too
from tests.graph.kit import build, letters, one, row, says, side_by_side
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import InvalidUpdateError
from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph
from twinstep.types import Command, Overwrite, Send, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]
MODES = [None, True, False]


def child(words: str = "c", **options: Any) -> Any:
    """Return a compiled row of nodes that append their letters."""
    return row(letters(words)).compile(**options)


def calling(graph: Any, times: int = 1, lane: str = "sync") -> Callable[..., Any]:
    """Return a node that calls a graph with an empty log, and appends what it returns."""

    def node(state: Any) -> dict[str, Any]:
        return {"log": [word for _ in range(times) for word in graph.invoke({"log": []})["log"]]}

    async def async_node(state: Any) -> dict[str, Any]:
        return {"log": [word for _ in range(times) for word in (await graph.ainvoke({"log": []}))["log"]]}

    return async_node if lane == "async" else node


# ---------------------------------------------------------------------- a graph as a node


def test_w19_what_a_nested_graph_adds_counts_once(lane: Lane) -> None:
    graph = row({"sub": child(), **letters("e")}).compile()
    assert lane.invoke(graph, {"x": 1, "log": ["p"]}) == {"x": 1, "log": ["p", "c", "e"]}
    assert lane.stream(graph, {"log": ["p"]})[0]["sub"]["log"] == ["c"]


class Totals(TypedDict, total=False):
    n: Annotated[int, operator.add]
    d: Annotated[dict[str, int], operator.or_]
    log: Annotated[list[str], operator.add]


@pytest.mark.parametrize("other_is_a_graph", [True, False])
@pytest.mark.parametrize(
    ("first", "second", "out"),
    [
        ({"log": ["a"]}, {"log": ["b"]}, {"log": ["in", "a", "b"]}),
        ({"n": 1}, {"n": 5}, {"n": 16}),
        ({"d": {"a": 1}}, {"d": {"b": 2}}, {"d": {"in": 0, "a": 1, "b": 2}}),
        ({"n": 1}, {"log": ["b"]}, {"n": 11, "log": ["in", "b"]}),
        ({"log": Overwrite(["z"])}, {"n": 1}, {"n": 11, "log": ["z"]}),
    ],
)
def test_w19_nested_graphs_and_siblings_fold_into_one_key(
    first: Any, second: Any, out: Any, other_is_a_graph: bool, lane: Lane
) -> None:
    def nested(update: Any) -> Any:
        return one(lambda s: update, Totals)

    other = nested(second) if other_is_a_graph else lambda s: second
    given = {"n": 10, "d": {"in": 0}, "log": ["in"]}
    graph = side_by_side({"a": nested(first), "b": other}, Totals).compile()
    assert lane.invoke(graph, given) == {**given, **out}


def test_nested_graphs_side_by_side_may_read_one_key(lane: Lane) -> None:
    graph = side_by_side({"a": child("a"), "b": child("b")}).compile()
    assert lane.invoke(graph, {"x": 1}) == {"x": 1, "log": ["a", "b"]}
    assert lane.stream(row({"sub": child()}).compile(), {"x": 1}) == [{"sub": {"log": ["c"]}}]


def test_packets_to_a_nested_graph_each_ask_and_are_answered(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    inner = one(lambda s: {"log": [(s["x"], interrupt(f"q{s['x']}"))]})
    graph = build({"sub": inner}, [])
    graph.add_conditional_edges(START, lambda s: [Send("sub", {"x": i}) for i in range(3)], ["sub"])
    compiled = graph.compile(saver)
    asked = lane.invoke(compiled, {}, thread)["__interrupt__"]
    assert [question.value for question in asked] == ["q0", "q1", "q2"]
    answers = {question.id: question.value.upper() for question in asked}
    assert lane.invoke(compiled, Command(resume=answers), thread)["log"] == [(0, "Q0"), (1, "Q1"), (2, "Q2")]


class Other(TypedDict):
    foo: str


class Shares(TypedDict, total=False):
    x: int
    own: str


def test_a_nested_graph_shares_the_keys_of_the_same_name(lane: Lane) -> None:
    seen: list[Any] = []

    def node(state: Any) -> dict[str, Any]:
        seen.append(dict(state))
        return {"x": state["x"] + 1, "own": "kept inside"}

    assert lane.invoke(row({"sub": one(node, Shares)}).compile(), {"x": 1, "log": []}) == {"x": 2, "log": []}
    assert seen == [{"x": 1}]


def test_a_nested_graph_without_a_common_key_contributes_nothing(lane: Lane) -> None:
    graph = row({"sub": one(lambda s: {"foo": "bar"}, Other)}).compile()
    assert lane.invoke(graph, {"x": 1}) == {"x": 1, "log": []}


def test_an_entrypoint_may_be_a_node(lane: Lane) -> None:
    @entrypoint()
    def words(state: Any) -> dict[str, Any]:
        return {"log": [f"x={state['x']}"], "unknown": 1}

    assert lane.invoke(row({"sub": words}).compile(), {"x": 1}) == {"x": 1, "log": ["x=1"]}


def test_graphs_nest_deeply(lane: Lane) -> None:
    graph = child("c")
    for _ in range(6):
        graph = row({"sub": graph}).compile()
    assert lane.invoke(graph, {"log": ["p"]})["log"] == ["p", "c"]


@pytest.mark.parametrize("how", ["node", "call", "async call"])
def test_a_nested_graph_sees_the_options_of_its_caller(how: str, lane: Lane, thread: dict[str, Any]) -> None:
    def look(state: Any, config: Any, runtime: Any) -> dict[str, Any]:
        configurable = config["configurable"]
        return {"log": [configurable["thread_id"], configurable["mine"], config["tags"], runtime.context]}

    inner = one(look)
    node = {"node": inner, "call": calling(inner), "async call": calling(inner, lane="async")}[how]
    config = {"configurable": {**thread["configurable"], "mine": 7}, "tags": ["t"]}
    assert lane.invoke(row({"sub": node}).compile(), {}, config, context="ctx")["log"] == ["1", 7, ["t"], "ctx"]


# ---------------------------------------------------------------------- commands to the parent


def handing_over(command: Command) -> Any:
    """Return a graph whose first node hands over to the graph around it; its second node never runs."""
    return row({"h": lambda s: command, **letters("n")}).compile()


def entrypoint_around(graph: Any) -> Any:
    @entrypoint()
    def inner(state: Any) -> Any:
        return graph.invoke(state)

    return inner


AROUND: dict[str, Callable[[Any], Any]] = {
    "node": lambda graph: graph,
    "call": lambda graph: lambda state: graph.invoke(state),
    "entrypoint": entrypoint_around,
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize(
    ("command", "chunks"),
    [
        (Command(update={"log": ["u"]}, goto="other"), [{"sub": {"log": ["u"]}}, {"other": {"log": ["other"]}}]),
        (Command(goto=[Send("other", {})]), [{"sub": None}, {"other": {"log": ["other"]}}]),
        (Command(update=[("log", ["u"]), ("x", 5)]), [{"sub": {"log": ["u"], "x": 5}}]),
    ],
)
def test_a_nested_graph_can_command_the_graph_around_it(around: Any, command: Command, chunks: Any, lane: Lane) -> None:
    command = Command(graph=Command.PARENT, update=command.update, goto=command.goto)
    nodes = {"sub": (around(handing_over(command)), {"destinations": ["other"]}), "other": says("other")}
    assert lane.stream(build(nodes, [(START, "sub")]).compile(), {"log": ["p"]}) == chunks


@pytest.mark.parametrize("around", [AROUND["node"], AROUND["call"]], ids=["node", "call"])
@pytest.mark.parametrize(
    ("command", "message"),
    [(Command(update={"lgo": 1}), "'lgo'.*Did you mean 'log'"), (Command(goto="othr"), "'othr'.*Did you mean 'other'")],
)
def test_a_command_to_the_parent_must_fit_the_parent(around: Any, command: Command, message: str, lane: Lane) -> None:
    command = Command(graph=Command.PARENT, update=command.update, goto=command.goto)
    nodes = {"sub": (around(handing_over(command)), {"destinations": ["other"]}), "other": says("other")}
    with pytest.raises(InvalidUpdateError, match=message):
        lane.invoke(build(nodes, [(START, "sub")]).compile(), {})


def test_a_command_to_the_parent_goes_one_level_up(lane: Lane) -> None:
    command: Any = Command(graph=Command.PARENT, update={"log": ["u"]}, goto="other")

    def around(graph: Any) -> Any:
        nodes = {"sub": (graph, {"destinations": ["other"]}), "other": says("other")}
        return build(nodes, [(START, "sub")]).compile()

    assert lane.invoke(around(around(handing_over(command))), {})["log"] == ["u", "other"]


def test_a_command_to_the_parent_is_on_record(saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]) -> None:
    command: Any = Command(graph=Command.PARENT, update={"log": ["u"]}, goto="ask")
    nodes = {
        "sub": (handing_over(command), {"destinations": ["ask"]}),
        "ask": lambda s: {"log": [interrupt("q")]},
    }
    graph = build(nodes, [(START, "sub")]).compile(saver)
    assert lane.invoke(graph, {}, thread)["log"] == ["u"]
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["u", "yes"]
    assert lane.invoke(graph, {}, thread)["log"] == ["u", "yes", "u"]


# ---------------------------------------------------------------------- checkpointer = None, True, False, own


def noting(ran: list[str], word: str) -> Callable[..., Any]:
    """Return a node that appends a word to the log, and to a list that shows how often it ran."""

    def node(state: Any) -> dict[str, Any]:
        ran.append(word)
        return {"log": [word]}

    return node


def asking(ran: list[str]) -> StateGraph[Any, Any, Any, Any]:
    """Return the builder of first -> ask, which notes what ran."""

    def ask(state: Any) -> dict[str, Any]:
        ran.append("ask")
        return {"log": [interrupt("q")]}

    return row({"first": noting(ran, "first"), "ask": ask})


@in_notebooks_too
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["node", "call"])
def test_a_question_of_a_nested_graph_stops_the_run_and_is_answered_through_it(
    mode: Any, how: str, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    ran: list[str] = []
    inner = asking(ran).compile(checkpointer=mode)
    node = inner if how == "node" else calling(inner)
    graph = row({**letters("a"), "sub": node, **letters("z")}).compile(saver)
    out = lane.invoke(graph, {}, thread)
    assert (out["log"], [i.value for i in out["__interrupt__"]]) == (["a"], ["q"])
    assert lane.state(graph, thread).next == ("sub",)
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["a", "first", "yes", "z"]
    # what keeps nothing starts from its beginning; what keeps checkpoints goes on where it stopped
    assert ran == (["first", "ask", "first", "ask"] if mode is False else ["first", "ask", "ask"])


def counting(state: Any) -> dict[str, Any]:
    return {"x": state.get("x", 0) + 1, "log": ["c"]}


@pytest.mark.parametrize(("mode", "second"), [(None, 1), (True, 2), (False, 1)])
def test_only_checkpointer_true_remembers_across_calls_of_the_parent(
    mode: Any, second: int, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    inner = row({"c": counting}).compile(checkpointer=mode)
    graph = row({"sub": lambda s: {"log": [inner.invoke({})]}}).compile(saver)
    assert lane.invoke(graph, {}, thread)["log"][-1] == {"x": 1, "log": ["c"]}
    assert lane.invoke(graph, {}, thread)["log"][-1] == {"x": second, "log": ["c"] * second}
    fresh = {"configurable": {"thread_id": "2"}}
    assert lane.invoke(graph, {}, fresh)["log"][-1] == {"x": 1, "log": ["c"]}, "another thread has a memory of its own"


def test_a_remembering_graph_as_a_node_adds_only_what_is_new(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row({"sub": child("c", checkpointer=True)}).compile(saver)
    assert lane.invoke(graph, {"log": ["p"]}, thread)["log"] == ["p", "c"]
    assert lane.invoke(graph, {"log": ["q"]}, thread)["log"] == ["p", "c", "q", "c"]


def test_each_call_place_of_a_task_has_a_memory_of_its_own(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    inner = row({"c": counting}).compile(checkpointer=True)
    graph = row({"sub": lambda s: {"log": [inner.invoke({})["x"], inner.invoke({})["x"]]}}).compile(saver)
    assert lane.invoke(graph, {}, thread)["log"] == [1, 1]
    assert lane.invoke(graph, {}, thread)["log"] == [1, 1, 2, 2]


def namespaces(saver: BaseCheckpointSaver) -> set[str]:
    """Return the namespaces in a saver, without task ids."""
    found = {tuple_.config["configurable"]["checkpoint_ns"] for tuple_ in saver.list(None)}
    return {"|".join(level.split(":")[0] + ":id" * (":" in level) for level in ns.split("|")) for ns in found}


@pytest.mark.parametrize(("mode", "expected"), [(None, {"", "sub:id"}), (True, {"", "sub"}), (False, {""})])
def test_where_a_nested_graph_keeps_its_checkpoints(
    mode: Any, expected: set[str], saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row({"sub": child(checkpointer=mode)}).compile(saver)
    lane.invoke(graph, {}, thread)
    assert namespaces(saver) == expected


def test_the_saver_of_the_parent_wins(saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]) -> None:
    own = InMemorySaver()
    graph = row({"sub": child(checkpointer=own)}).compile(saver)
    assert lane.invoke(graph, {}, thread)["log"] == ["c"]
    assert list(own.list(None)) == []
    assert namespaces(saver) == {"", "sub:id"}


def test_a_call_with_another_thread_is_a_run_of_its_own(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    own = child(checkpointer=InMemorySaver())
    elsewhere = {"configurable": {"thread_id": "elsewhere"}}
    graph = row({"sub": lambda s: {"log": [len(own.invoke({}, elsewhere)["log"])]}}).compile(saver)
    assert lane.invoke(graph, {}, thread)["log"] == [1]
    assert lane.invoke(graph, {}, thread)["log"] == [1, 2]
    assert own.get_state(elsewhere).values["log"] == ["c", "c"]
    assert namespaces(saver) == {""}


def test_finished_nested_graphs_are_not_run_again_when_a_sibling_asks(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    ran: list[str] = []
    graph = side_by_side({"a": asking(ran).compile(), "d": one(noting(ran, "done"))}).compile(saver)
    lane.invoke(graph, {}, thread)
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["first", "yes", "done"]
    assert sorted(ran) == ["ask", "ask", "done", "first"]


def test_two_nested_graphs_ask_and_are_answered_one_by_one(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    inner = one(lambda s: {"log": [interrupt("same question")]})
    graph = side_by_side({"a": inner, "b": inner}).compile(saver)
    asked = lane.invoke(graph, {}, thread)["__interrupt__"]
    assert len({question.id for question in asked}) == 2
    first = next(task.interrupts[0].id for task in lane.state(graph, thread).tasks if task.name == "a")
    left = lane.invoke(graph, Command(resume={first: "A"}), thread)["__interrupt__"]
    assert [question.id for question in left] == [question.id for question in asked if question.id != first]
    assert lane.invoke(graph, Command(resume="B"), thread)["log"] == ["A", "B"]


@pytest.mark.parametrize("mode", MODES)
def test_a_failing_nested_graph_goes_on_where_it_failed(
    mode: Any, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    ran: list[str] = []

    def fail_once(state: Any) -> dict[str, Any]:
        ran.append("fail")
        if ran.count("fail") == 1:
            raise ValueError("boom")
        return {"log": ["ok"]}

    inner = row({"first": noting(ran, "first"), "fail": fail_once}).compile(checkpointer=mode)
    graph = row({"sub": inner}).compile(saver)
    with pytest.raises(ValueError, match="boom"):
        lane.invoke(graph, {}, thread)
    assert lane.invoke(graph, None, thread)["log"] == ["first", "ok"]
    assert ran == ["first", "fail"] * 2 if mode is False else ["first", "fail", "fail"]


# ---------------------------------------------------------------------- looking inside


@pytest.mark.parametrize(("mode", "ns"), [(None, "sub:"), (True, "sub")])
def test_the_state_of_a_nested_graph_is_found_through_its_task(
    mode: Any, ns: str, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row({"sub": asking([]).compile(checkpointer=mode)}).compile(saver)
    lane.invoke(graph, {"log": ["p"]}, thread)
    config = lane.state(graph, thread).tasks[0].state
    assert config["configurable"]["checkpoint_ns"].startswith(ns)
    inside = lane.state(graph, config)
    assert (inside.values, inside.next) == ({"log": ["p", "first"]}, ("ask",))
    nested = lane.state(graph, thread, subgraphs=True).tasks[0].state
    assert (nested.values, nested.next, nested.interrupts) == (inside.values, inside.next, inside.interrupts)


inner_of_module = child()


def uses_a_global(state: Any) -> dict[str, Any]:
    return {"log": inner_of_module.invoke({})["log"]}


def test_nested_graphs_are_found_as_nodes_and_in_the_code_of_nodes() -> None:
    inner = child()
    graph = row({"a": inner, "b": uses_a_global, "c": calling(inner), "d": says("d")}).compile()
    assert dict(graph.get_subgraphs()) == {"a": inner, "b": inner_of_module, "c": inner}
    outer = row({"o": graph}).compile()
    assert [name for name, _ in outer.get_subgraphs()] == ["o"]
    assert [name for name, _ in outer.get_subgraphs(recurse=True)] == ["o", "o|a", "o|b", "o|c"]
    assert list(outer.get_subgraphs(namespace="o|b")) == [("o|b", inner_of_module)]

    async def found() -> list[Any]:
        return [each async for each in outer.aget_subgraphs(namespace="o|b")]

    assert asyncio.run(found()) == [("o|b", inner_of_module)]
    assert list(outer.get_subgraphs(namespace="o|b", recurse=True)) == [("o|b", inner_of_module)]
    assert list(outer.get_subgraphs(namespace="o|z")) == []


class Team:
    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def node(self, state: Any) -> dict[str, Any]:
        return {"log": self.graph.invoke({})["log"]}

    def __call__(self, state: Any) -> dict[str, Any]:
        return self.node({"log": self.graph.name})


def given(graph: Any, state: Any) -> dict[str, Any]:
    return {"log": graph.invoke({})["log"]}


def test_nested_graphs_are_found_in_objects_and_partials() -> None:
    inner = child()
    nodes = {"method": Team(inner).node, "object": Team(inner), "partial": functools.partial(given, inner), "len": len}
    assert dict(row(nodes).compile().get_subgraphs()) == dict.fromkeys(["method", "object", "partial"], inner)


# ---------------------------------------------------------------------- streams of nested graphs


@pytest.mark.parametrize("how", ["node", "call", "async call"])
def test_a_stream_with_subgraphs_shows_where_each_chunk_is_from(how: str, lane: Lane) -> None:
    inner = child("k")
    node = {"node": inner, "call": calling(inner, 2), "async call": calling(inner, 2, "async")}[how]
    chunks = lane.stream(row({"sub": node}).compile(), {"log": []}, subgraphs=True)
    first = chunks[0][0]
    assert len(first) == 1
    assert first[0].startswith("sub:")
    update = {"k": {"log": ["k"]}}
    if how == "node":
        assert chunks == [(first, update), ((), {"sub": {"log": ["k"]}})]
    else:
        assert chunks == [(first, update), ((*first, "1"), update), ((), {"sub": {"log": ["k", "k"]}})]
    assert lane.stream(row({"sub": node}).compile(), {"log": []}) == [chunks[-1][1]], "without: the root only"


def test_namespaces_grow_with_every_level(lane: Lane) -> None:
    graph = row({"outer": row({"inner": child("k")}).compile()}).compile()
    chunks = lane.stream(graph, {}, subgraphs=True, stream_mode="updates")
    names = [[level.split(":")[0] for level in ns] for ns, _ in chunks]
    assert names == [["outer", "inner"], ["outer"], []]
    assert chunks[0][0][:1] == chunks[1][0]


def test_a_node_may_stream_the_graph_it_calls(lane: Lane) -> None:
    inner = child("k")

    def node(state: Any) -> dict[str, Any]:
        return {"log": list(inner.stream({}, stream_mode=["values", "updates"]))}

    own = [("values", {"log": []}), ("updates", {"k": {"log": ["k"]}}), ("values", {"log": ["k"]})]
    graph = row({"sub": node}).compile()
    assert lane.invoke(graph, {})["log"] == own
    chunks = lane.stream(graph, {}, subgraphs=True)
    assert [chunk for _, chunk in chunks] == [{"k": {"log": ["k"]}}, {"sub": {"log": own}}]


def test_w55_custom_values_of_a_nested_graph_reach_the_stream_of_its_caller(lane: Lane) -> None:
    inner = one(lambda s, writer: writer("inner"))
    nodes = {"as_node": inner, "called": lambda s: inner.invoke({}), "own": lambda s, writer: writer("own")}
    graph = row(nodes).compile()
    assert lane.stream(graph, {}, stream_mode="custom") == ["inner", "inner", "own"]
    chunks = lane.stream(graph, {}, stream_mode="custom", subgraphs=True)
    assert [([level.split(":")[0] for level in ns], chunk) for ns, chunk in chunks] == [
        (["as_node"], "inner"),
        (["called"], "inner"),
        ([], "own"),
    ]
