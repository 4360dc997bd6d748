"""Programs of nodes and channels made by hand: `Pregel` and `NodeBuilder`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from twinstep.cache.memory import InMemoryCache
from twinstep.channels import BinaryOperatorAggregate, EphemeralValue, LastValue, Topic, UntrackedValue
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import EmptyInputError, GraphValidationError, InvalidUpdateError, NodeTimeoutError
from twinstep.graph import StateGraph
from twinstep.managed import RemainingSteps
from twinstep.pregel import Channel, ChannelWriteEntry, NodeBuilder, Pregel
from twinstep.types import CachePolicy, Command, RetryPolicy, Send


def text(*names: str) -> dict[str, Any]:
    return {name: EphemeralValue(str) for name in names}


def app(node: Any, channels: dict[str, Any] | None = None, **options: Any) -> Pregel[Any, Any, Any, Any]:
    """Return a program of one node, from `a` to `b` unless options say otherwise."""
    given = {"input_channels": ["a"], "output_channels": ["b"], **options}
    return Pregel(nodes={"n": node}, channels=channels or {**text("a"), "b": LastValue(str)}, **given)


def double() -> NodeBuilder:
    return NodeBuilder().subscribe_only("a").do(lambda x: x + x)


# ---------------------------------------------------------------------- the programs of the reference's page on Pregel


def test_a_single_node(lane):
    assert lane.invoke(app(double().write_to("b"), text("a", "b")), {"a": "foo"}) == {"b": "foofoo"}


def test_two_nodes(lane):
    second = NodeBuilder().subscribe_to("b").do(lambda x: x["b"] + x["b"]).write_to("c")
    program = Pregel(
        nodes={"one": double().write_to("b"), "two": second},
        channels={**text("a", "c"), "b": LastValue(str)},
        input_channels=["a"],
        output_channels=["b", "c"],
    )
    assert lane.invoke(program, {"a": "foo"}) == {"b": "foofoo", "c": "foofoofoofoo"}


@pytest.mark.parametrize(
    ("channel", "result"),
    [
        (Topic(str, accumulate=True), ["foofoo", "foofoofoofoo"]),
        (
            BinaryOperatorAggregate(str, operator=lambda old, new: f"{old} | {new}" if old else new),
            "foofoo | foofoofoofoo",
        ),
    ],
    ids=["topic", "reducer"],
)
def test_a_channel_of_many_writes(lane, channel, result):
    second = NodeBuilder().subscribe_to("b").do(lambda x: x["b"] + x["b"]).write_to("c")
    program = Pregel(
        nodes={"one": double().write_to("b", "c"), "two": second},
        channels={**text("a", "b"), "c": channel},
        input_channels=["a"],
        output_channels=["c"],
    )
    assert lane.invoke(program, {"a": "foo"}) == {"c": result}


@pytest.mark.parametrize("ports", ["value", ["value"]], ids=["bare", "mapping"])
def test_a_cycle_ends_when_nothing_is_written(lane, ports):
    node = (
        NodeBuilder()
        .subscribe_only("value")
        .do(lambda x: x + x if len(x) < 10 else None)
        .write_to(ChannelWriteEntry("value", skip_none=True))
    )
    program = app(node, text("value"), input_channels=ports, output_channels=ports)
    bare = isinstance(ports, str)
    assert lane.invoke(program, "a" if bare else {"value": "a"}) == ("a" * 16 if bare else {"value": "a" * 16})
    chunks = lane.stream(program, "a" if bare else {"value": "a"}, stream_mode="updates")
    assert chunks == [*({"n": {"value": "a" * 2**k}} for k in range(1, 5)), {"n": None}]


def test_the_older_spelling(lane):
    node = Channel.subscribe_to("a", tags=["t"]) | (lambda x: x + x) | str.upper | Channel.write_to("b", size=len)
    program = app(node, {**text("a", "b"), "size": LastValue(int)}, output_channels=["b", "size"])
    assert lane.invoke(program, {"a": "foo"}) == {"b": "FOOFOO", "size": 6}
    assert program.nodes["n"].tags == ("t",)


# ---------------------------------------------------------------------- what a node is


def test_writes_are_the_result_a_constant_or_made_from_the_result(lane):
    node = double().write_to("b", fixed=5, mapped=len, none=lambda _: None)
    channels = {**text("a"), "b": LastValue(str), **{k: LastValue(Any) for k in ("fixed", "mapped", "none")}}
    program = app(node, channels, output_channels=["b", "fixed", "mapped", "none"])
    assert lane.invoke(program, {"a": "foo"}) == {"b": "foofoo", "fixed": 5, "mapped": 6, "none": None}


def test_a_node_reads_what_is_there_and_is_started_by_what_it_subscribes_to(lane):
    seen: list[Any] = []
    node = NodeBuilder().subscribe_to("a").subscribe_to("go", read=False).read_from("kept", "empty").do(seen.append)
    channels = {**text("a", "go", "empty"), "kept": LastValue(int), "b": LastValue(Any)}
    program = app(node.write_to("b"), channels, input_channels=["a", "go", "kept"])
    lane.invoke(program, {"go": "!", "kept": 1})
    lane.invoke(program, {"a": "x", "kept": 2})
    assert seen == [{"kept": 1}, {"a": "x", "kept": 2}]


def test_steps_follow_each_other_whatever_their_colour(lane):
    async def shout(x: str) -> str:
        await asyncio.sleep(0)
        return x.upper()

    def where(x: str, config: Any) -> str:
        return f"{x} {config['metadata']['langgraph_node']}"

    inner = app(double().write_to("b"), input_channels="a", output_channels="b")
    node = NodeBuilder().subscribe_only("a").do(shout).do(where).do(inner).write_to("b")
    assert lane.invoke(app(node), {"a": "hi"}) == {"b": "HI nHI n"}


def test_policies_meta_and_timeouts_are_those_of_nodes(lane):
    calls: list[str] = []

    def shaky(x: str) -> str:
        calls.append(x)
        if len(calls) == 1:
            raise ConnectionError
        return x

    retry = RetryPolicy(initial_interval=0.001)
    node = NodeBuilder().subscribe_only("a").do(shaky).write_to("b").meta("tag", colour="red")
    program = app(node.add_retry_policies(retry).add_cache_policy(CachePolicy()), cache=InMemoryCache())
    (chunk, *_) = lane.stream(program, {"a": "x"}, stream_mode="tasks")
    assert chunk["metadata"] == {"colour": "red"}
    assert lane.invoke(program, {"a": "x"}) == {"b": "x"}
    assert calls == ["x", "x"]  # failed, tried again, then cached
    program.clear_cache(["n"])
    lane.invoke(program, {"a": "x"})
    assert len(calls) == 3

    async def slow(x: str) -> None:
        await asyncio.sleep(60)

    with pytest.raises(NodeTimeoutError):
        lane.invoke(app(NodeBuilder().subscribe_only("a").do(slow).set_timeout(0.02)), {"a": "x"})


def test_policies_of_the_program_are_those_of_nodes_without(lane):
    calls: list[str] = []

    def shaky(x: str) -> str:
        calls.append(x)
        if len(calls) < 3:
            raise ConnectionError
        return x

    policy = RetryPolicy(initial_interval=0.001)
    program = app(NodeBuilder().subscribe_only("a").do(shaky).write_to("b"), retry_policy=policy)
    assert lane.invoke(program, {"a": "x"}) == {"b": "x"}
    assert program.retry_policy == (policy,)


def test_managed_values_and_untracked_ones_are_channels(lane, thread):
    node = NodeBuilder().subscribe_to("a").read_from("left", "lock").do(lambda x: (x["left"], x["lock"])).write_to("b")
    lock = object()
    channels = {**text("a"), "lock": UntrackedValue(Any), "left": RemainingSteps, "b": UntrackedValue(Any)}
    program = app(node, channels, input_channels=["a", "lock"], checkpointer=InMemorySaver())
    result = lane.invoke(program, {"a": "x", "lock": lock}, {**thread, "recursion_limit": 3})
    assert result == {"b": (3, lock)}
    assert lane.state(program, thread).values == {}


# ---------------------------------------------------------------------- threads, nesting, commands


def test_a_thread_goes_on_stops_at_breakpoints_and_is_updated(lane, saver, thread):
    second = NodeBuilder().subscribe_only("b").do(lambda x: x + "!").write_to("c")
    program = Pregel(
        nodes={"one": double().write_to("b"), "two": second},
        channels={**text("a"), "b": LastValue(str), "c": LastValue(str)},
        input_channels=["a"],
        output_channels=["b", "c"],
        interrupt_before_nodes=["two"],
        checkpointer=saver,
    )
    assert lane.invoke(program, {"a": "x"}, thread) == {"b": "xx", "__interrupt__": []}
    assert lane.state(program, thread).next == ("two",)
    lane.update(program, thread, "yy", as_node="one")
    assert lane.invoke(program, None, thread) == {"b": "yy", "c": "yy!"}
    assert [s.metadata["step"] for s in lane.history(program, thread)] == [2, 1, 0, -1]
    assert lane.invoke(program, Command(update={"b": "z"}), thread, interrupt_before=()) == {"b": "z", "c": "z!"}


def test_a_packet_runs_a_node_with_its_argument(lane, thread):
    program = app(double().write_to("b"), checkpointer=InMemorySaver())
    lane.invoke(program, {"a": "x"}, thread)
    assert lane.invoke(program, Command(goto=Send("n", "q")), thread) == {"b": "qq"}
    with pytest.raises(InvalidUpdateError, match=r"Send to unknown node 'nn'.*Did you mean 'n'"):
        lane.invoke(program, Command(goto=Send("nn", "q")), thread)


def test_a_program_is_a_node_of_a_graph(lane):
    graph = StateGraph(dict)
    graph.add_node("n", app(double().write_to("b"))).add_edge("__start__", "n")
    assert lane.invoke(graph.compile(), {"a": "x"}) == {"b": "xx"}


def test_values_are_shown_of_all_channels_or_of_the_named_ones(lane):
    program = app(double().write_to("b"))
    assert program.stream_mode == "values"
    assert lane.stream(program, {"a": "x"}) == [{"b": "xx"}]
    named = app(double().write_to("b"), stream_channels="b")
    assert lane.stream(named, {"a": "x"}, stream_mode=["values", "updates"])[-1] == ("values", "xx")


def test_an_eager_stream_runs_its_nodes_beside_the_reader():
    threads: list[int] = []
    node = NodeBuilder().subscribe_only("a").do(lambda x: threads.append(threading.get_ident())).write_to("b")
    for eager in (False, True):
        list(app(node, stream_eager=eager).stream({"a": "x"}))
    assert [thread == threading.get_ident() for thread in threads] == [True, False]


def test_the_attributes_of_a_program():
    program = app(double().write_to("b"), name="pair", step_timeout=3, debug=True, stream_mode="updates")
    assert (program.name, list(program.nodes), sorted(program.channels)) == (
        "pair",
        ["n"],
        ["__pregel_tasks", "a", "b"],
    )
    assert (program.input_channels, program.output_channels, program.stream_channels) == (("a",), ("b",), ("a", "b"))
    assert (program.stream_mode, program.step_timeout, program.trigger_to_nodes["a"]) == ("updates", 3, ("n",))
    assert (program.checkpointer, program.store, program.cache, program.config) == (None, None, None, None)
    assert (program.retry_policy, program.cache_policy) == ((), None)
    assert (program.interrupt_before_nodes, program.interrupt_after_nodes) == ((), ())


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: app(NodeBuilder().subscribe_only("aa")), "subscribes to channel|reads channel 'aa'.*Did you mean 'a'"),
        (lambda: app(double().write_to("bb")), "Node 'n' writes to channel 'bb'.*Did you mean 'b'"),
        (lambda: app(double(), output_channels=["z"]), "Output channels name channel 'z'"),
        (lambda: app(double(), input_channels=["z"]), "Input channels name channel 'z'"),
        (lambda: app(double(), stream_channels=["z"]), "Stream channels name channel 'z'"),
        (lambda: app(NodeBuilder().subscribe_only("b")), "No node of 'LangGraph' subscribes to an input channel"),
        (lambda: app(NodeBuilder().read_from("a")), "Node 'n' subscribes to no channel"),
        (lambda: app(double(), interrupt_before_nodes=["m"]), "Interrupt node `m` not found"),
        (lambda: app(double(), {"a": str}), "Channel 'a' is no channel"),
        (lambda: Pregel(), "has no nodes"),
        (lambda: NodeBuilder().subscribe_only("a").subscribe_to("b"), "bare value of 'a'"),
        (lambda: NodeBuilder().subscribe_only("a").read_from("b"), "bare value of 'a'"),
        (lambda: NodeBuilder().subscribe_to("a").subscribe_only("b"), r"reads \['a'\] already"),
        (lambda: NodeBuilder().do(5), "Expected a function"),
    ],
)
def test_a_program_that_cannot_work_is_refused(make, says):
    with pytest.raises(GraphValidationError, match=says):
        make()


def test_inputs_that_fit_no_channel_are_refused(lane):
    program = app(double().write_to("b"))
    with pytest.raises(InvalidUpdateError, match=r"'aa' is no input channel.*Did you mean 'a'"):
        lane.invoke(program, {"aa": "x"})
    with pytest.raises(InvalidUpdateError, match="is a mapping of a"):
        lane.invoke(program, "x")
    with pytest.raises(EmptyInputError):
        lane.invoke(program, {})
