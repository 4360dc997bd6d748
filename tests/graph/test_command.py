"""`Command`, `Send` and `Overwrite`, from nodes and as input (behaviour 1.5)."""

import operator
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pydantic
import pytest

from tests.conftest import Lane
from tests.graph.kit import build, letters, one, row, says, side_by_side
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import InvalidUpdateError, NodeTimeoutError
from twinstep.graph import END, START
from twinstep.types import Command, GraphOutput, Overwrite, Send, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def commanding(command: Any, nodes: str = "bc", edges: Any = (), colour: Colour = lambda fn: fn) -> Any:
    """Return a graph whose first node, a, returns a command."""
    first = (colour(lambda state: command), {"destinations": list(nodes)})
    return build({"a": first, **letters(nodes)}, [(START, "a"), *edges]).compile()


# ---------------------------------------------------------------------- commands of nodes

MIXED: Any = ("b", Send("c", {}))


@pytest.mark.parametrize(
    ("command", "log"),
    [
        (Command(goto="b"), ["b"]),
        (Command(goto="b", update={"log": ["a"]}), ["a", "b"]),
        (Command(goto=["c", "b"]), ["b", "c"]),
        (Command(goto=MIXED), ["b", "c"]),
        (Command(goto=Send("c", {})), ["c"]),
        (Command(goto=END, update={"log": ["a"]}), ["a"]),
        (Command(goto=[END, "b"]), ["b"]),
        (Command(), []),
    ],
)
def test_where_a_command_goes(command: Any, log: list[str], colour: Colour, lane: Lane) -> None:
    assert lane.invoke(commanding(command, colour=colour), {})["log"] == log


def test_goto_adds_to_the_static_edges(lane: Lane) -> None:
    graph = commanding(Command(goto="b"), edges=[("a", "c")])
    assert lane.stream(graph, {})[0] == {"a": None}
    assert lane.invoke(graph, {})["log"] == ["b", "c"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command(goto="bb"), "goto unknown node 'bb'.*mean 'b'"),
        (Command(goto=["b", "nowhere"]), "'nowhere'"),
        (Command(goto=5), "5"),
        (Command(goto=[None]), "None"),
        (Send("bb", {}), "Send to unknown node 'bb'.*mean 'b'"),
        (Command(goto=Send("bb", {})), "Send to unknown node 'bb'"),
        (Send(END, {}), "Send to END"),
        (Command(graph="elsewhere", goto="b"), "Command.PARENT"),
        (Command(update=5), "Expected dict, got 5"),
    ],
)
def test_w1_a_command_that_leads_nowhere_is_an_error_of_its_node(command: Any, message: str, lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match=message) as caught:
        lane.invoke(commanding(command), {})
    assert "'a'" in caught.value.__notes__[0]


def test_a_parent_command_needs_a_parent(lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match="which no graph contains"):
        lane.invoke(commanding(Command(graph=Command.PARENT, goto="b")), {})


# ---------------------------------------------------------------------- commands as input


def test_a_command_may_start_a_run(lane: Lane) -> None:
    graph = row(letters("ab")).compile()
    assert lane.invoke(graph, Command(update={"x": 5}, goto="b")) == {"x": 5, "log": ["b"]}
    assert lane.invoke(graph, Command(goto=[Send("b", {}), "a"], update={"log": ["u"]}))["log"] == ["u", "a", "b", "b"]


def test_a_command_on_a_finished_thread_writes_and_goes_on(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row(letters("ab")).compile(saver)
    lane.invoke(graph, {"x": 0}, thread)
    assert lane.invoke(graph, Command(update={"x": 5}), thread) == {"x": 5, "log": ["a", "b"]}
    state = lane.state(graph, thread)
    assert (state.values, state.next, state.metadata["status"]) == ({"x": 5, "log": ["a", "b"]}, (), "done")
    assert lane.stream(graph, Command(goto="b"), thread) == [{"b": {"log": ["b"]}}]
    assert lane.invoke(graph, {}, thread) == {"x": 5, "log": ["a", "b", "b", "a", "b"]}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command(goto="bb"), "'bb'.*mean 'b'"),
        (Command(update={"xx": 1}), "'xx'"),
        (Command(update=5), "Expected dict, got 5"),
    ],
)
def test_a_command_that_cannot_be_obeyed_leaves_the_thread_usable(
    command: Command, message: str, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row(letters("ab")).compile(saver)
    lane.invoke(graph, {"x": 0}, thread)
    with pytest.raises(InvalidUpdateError, match=message):
        lane.invoke(graph, command, thread)
    assert lane.state(graph, thread).values == {"x": 0, "log": ["a", "b"]}
    assert lane.invoke(graph, Command(goto="b"), thread)["log"] == ["a", "b", "b"]


def test_an_answer_may_come_with_an_update_and_a_place_to_go(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    nodes = {"ask": lambda s: {"log": [interrupt("q"), s["x"]]}, "other": says("other")}
    graph = build(nodes, [(START, "ask"), (START, "other")]).compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread)["__interrupt__"][0].value == "q"
    out = lane.invoke(graph, Command(resume="yes", update={"x": 2}), thread)
    assert out == {"x": 2, "log": ["yes", 2, "other"]}
    lane.invoke(graph, {"x": 3}, thread)
    out = lane.invoke(graph, Command(resume="no", goto=Send("other", {})), thread)
    assert out["log"] == ["yes", 2, "other", "no", 3, "other", "other"]


# ---------------------------------------------------------------------- Send


def fan(n: int) -> Any:
    """Return a graph whose node `w` gets n packets."""
    graph = build({"a": lambda s: {"x": n}, "w": lambda i: {"log": [i * 10]}}, [(START, "a")])
    return graph.add_conditional_edges("a", lambda s: [Send("w", i) for i in range(s["x"])], ["w"]).compile()


@pytest.mark.parametrize("n", [0, 1, 3, 200])
def test_results_of_packets_are_applied_in_the_order_of_sending(n: int, lane: Lane) -> None:
    assert lane.invoke(fan(n), {"x": 1}) == {"x": n, "log": [i * 10 for i in range(n)]}


def test_every_packet_has_a_chunk_of_its_own(lane: Lane) -> None:
    chunks = lane.stream(fan(3), {"x": 1})
    assert chunks[0] == {"a": {"x": 3}}
    assert sorted(chunk["w"]["log"][0] for chunk in chunks[1:]) == [0, 10, 20]


@pytest.mark.parametrize("payload", [{"q": 1}, 3, "text", None, ["a"], (1, 2)])
def test_a_packet_is_the_whole_input_of_its_node(payload: Any, lane: Lane) -> None:
    graph = row({"a": (lambda s: Send("w", payload), {"destinations": ["w"]})})
    graph.add_node("w", lambda given: {"log": [given]})
    assert lane.invoke(graph.compile(), {"x": 1})["log"] == [payload]


def test_packets_and_edges_in_one_superstep_run_nodes_by_name_then_packets(lane: Lane) -> None:
    command: Any = Command(goto=[Send("z", {}), "c", Send("a2", {}), "b"])
    nodes = {"a": (lambda s: command, {"destinations": ["z", "c", "a2", "b"]})}
    graph = build({**nodes, **letters("zcb"), "a2": says("a2")}, [(START, "a")]).compile()
    assert lane.invoke(graph, {})["log"] == ["b", "c", "z", "a2"]


def test_packets_may_send_packets(lane: Lane) -> None:
    def countdown(n: int) -> Command:
        return Command(update={"log": [n]}, goto=[Send("n", n - 1)] if n else [])

    graph = build({"n": countdown}, []).add_conditional_edges(START, lambda s: [Send("n", 3)], ["n"]).compile()
    assert lane.invoke(graph, {})["log"] == [3, 2, 1, 0]


class Model(pydantic.BaseModel):
    a: int
    out: Annotated[list[Any], operator.add] = []


def sending(payload: Any) -> Any:
    graph = build({"w": lambda m: {"out": [(type(m).__name__, m.a)]}}, [], Model)
    return graph.add_conditional_edges(START, lambda s: [Send("w", payload)], ["w"]).compile()


@pytest.mark.parametrize("payload", [{"a": "5"}, Model(a=5)])
def test_w61_a_packet_is_made_an_instance_of_the_schema(payload: Any, lane: Lane) -> None:
    assert lane.invoke(sending(payload), {"a": 1})["out"] == [("Model", 5)]


def test_w61_a_packet_that_does_not_fit_the_schema_names_its_node(lane: Lane) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        lane.invoke(sending({"a": "five"}), {"a": 1})
    assert "'w'" in "".join(getattr(caught.value, "__notes__", []))


def test_a_packet_may_have_a_time_limit(lane: Lane) -> None:
    release = threading.Event()
    graph = build({"w": lambda s: {"log": [release.wait(5)]}}, [])
    graph.add_conditional_edges(START, lambda s: [Send("w", {}, timeout=0.03)], ["w"])
    try:
        with pytest.raises(NodeTimeoutError, match=r"'w' exceeded its run timeout of 0\.030s"):
            lane.invoke(graph.compile(), {})
    finally:
        release.set()


def test_a_packet_is_no_key() -> None:
    assert Send("a", {"b": 1}) == Send("a", {"b": 1})
    with pytest.raises(TypeError, match="unhashable"):
        hash(Send("a", {}))


def test_packets_wait_across_a_breakpoint(saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]) -> None:
    graph = fan(2).builder.compile(saver, interrupt_before=["w"])
    lane.invoke(graph, {}, thread)
    assert lane.state(graph, thread).next == ("w", "w")
    assert lane.invoke(graph, None, thread)["log"] == [0, 10]


# ---------------------------------------------------------------------- Overwrite


@pytest.mark.parametrize(
    ("returns", "log"),
    [
        ([{"log": Overwrite(["z"])}], ["z"]),
        ([{"log": Overwrite(["z"])}, {"log": ["dropped"]}], ["z"]),
        ([{"log": ["dropped"]}, {"log": Overwrite(["z"])}], ["z"]),
        ([Command(update={"log": Overwrite([])})], []),
    ],
)
def test_overwrite_replaces_what_a_reducer_has(returns: list[Any], log: list[Any], lane: Lane) -> None:
    nodes = {f"n{i}": (lambda s, r=r: r) for i, r in enumerate(returns)}
    assert lane.invoke(side_by_side(nodes).compile(), {"log": ["in"]})["log"] == log


def test_two_overwrites_of_one_key_are_refused(lane: Lane) -> None:
    nodes = {n: (lambda s: {"log": Overwrite(["z"])}) for n in "ab"}
    with pytest.raises(InvalidUpdateError, match="At key 'log': only one Overwrite"):
        lane.invoke(side_by_side(nodes).compile(), {})


def test_w5_overwrite_is_unwrapped_on_every_key(saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]) -> None:
    graph = row({"n": lambda s: {"x": Overwrite(7), "log": Overwrite(["n"])}}).compile(saver)
    assert lane.invoke(graph, {"x": Overwrite(1), "log": Overwrite(["in"])}, thread) == {"x": 7, "log": ["n"]}
    assert lane.state(graph, thread).values == {"x": 7, "log": ["n"]}
    assert lane.invoke(one(lambda s: Overwrite([4]), Annotated[list, operator.add]), [1]) == [4]


@pytest.mark.parametrize("value", [{"__overwrite__": 3}, {"value": 3, "type": "__overwrite__"}])
def test_dicts_that_look_like_an_overwrite_are_just_values(value: Any, lane: Lane) -> None:
    assert lane.invoke(one(lambda s: {"x": value}), {})["x"] == value


def test_a_command_may_be_made_through_its_type(lane: Lane) -> None:
    assert lane.invoke(commanding(Command[Literal["b"]](goto="b")), {})["log"] == ["b"]
    assert GraphOutput[int](1) == GraphOutput(1)


def test_what_a_user_sees_of_a_command() -> None:
    assert repr(Command(goto="b", update={"x": 1})) == "Command(update={'x': 1}, goto='b')"
    assert Command.PARENT == "__parent__"
    with pytest.raises(AttributeError, match="cannot assign"):
        setattr(Command(), "goto", "b")  # noqa: B010


def test_interrupting_packets_keep_the_results_of_their_siblings(lane: Lane, thread: dict[str, Any]) -> None:
    ran: list[int] = []

    def work(i: int) -> dict[str, Any]:
        ran.append(i)
        return {"log": [interrupt("q") if i == 1 else i]}

    graph = build({"w": work}, []).add_conditional_edges(START, lambda s: [Send("w", i) for i in range(3)], ["w"])
    compiled = graph.compile(InMemorySaver())
    assert [i.value for i in lane.invoke(compiled, {}, thread)["__interrupt__"]] == ["q"]
    assert lane.invoke(compiled, Command(resume="A"), thread)["log"] == [0, "A", 2]
    assert sorted(ran) == [0, 1, 1, 2]


def test_the_state_class_can_be_the_update_of_a_command(lane: Lane) -> None:
    assert lane.invoke(one(lambda s: Command(update=Model(a=9, out=["u"])), Model), {"a": 1}) == {"a": 9, "out": ["u"]}
    assert lane.invoke(one(lambda s: Command(update=7), int), 1) == 7


# ---------------------------------------------------------------------- commands for the graph around


def around(inner: Any, **options: Any) -> Any:
    """Return a graph around an inner one, with the nodes b and c to go to."""
    return build({"inner": (inner, {"destinations": ["b", "c"]}), **letters("bc")}, [(START, "inner")]).compile(
        **options
    )


def up(goto: str, entry: Any = None) -> Any:
    return Command(graph=Command.PARENT, goto=goto, update={"log": [entry or f"to {goto}"]})


@pytest.mark.parametrize("returned", [[up("b"), up("c")], [up("b"), {"log": ["lost"]}, up("c")]])
def test_all_commands_of_a_list_reach_the_graph_around(returned: Any, colour: Colour, lane: Lane) -> None:
    inner = one(colour(lambda state: returned))
    assert lane.invoke(around(inner), {})["log"] == ["to b", "to c", "b", "c"]


def test_the_commands_of_parallel_nodes_all_reach_the_graph_around(colour: Colour, lane: Lane) -> None:
    nodes = {name: colour(lambda state, name=name: up("bc"[name == "y"], name)) for name in "xy"}
    inner = side_by_side(nodes).compile()
    for graph in (inner, lambda state: inner.invoke(state)):
        if lane.is_async and graph is not inner:
            continue
        assert lane.invoke(around(graph), {})["log"] == ["x", "y", "b", "c"]


def test_a_command_for_the_graph_around_does_not_stop_its_siblings(lane: Lane, thread: dict[str, Any]) -> None:
    def ask(state: Any) -> dict[str, Any]:
        return {"log": [interrupt("first?")]}

    graph = around(side_by_side({"x": lambda state: up("b"), "y": ask}).compile(), checkpointer=InMemorySaver())
    assert [i.value for i in lane.invoke(graph, {}, thread)["__interrupt__"]] == ["first?"]
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["to b", "b"]


def test_a_failure_is_not_hidden_by_a_siblings_command(lane: Lane) -> None:
    def fail(state: Any) -> None:
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        lane.invoke(around(side_by_side({"x": lambda state: up("b"), "y": fail}).compile()), {})
