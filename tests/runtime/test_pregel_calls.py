"""The parameters of a call, copies of a graph, and the time a superstep may take."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from typing import Any

import pytest

from tests.runtime.programs import LONG, Boom, State, chain, fan, noted, within
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import GraphDrained, InvalidConfigError, NodeTimeoutError, StepTimeoutError
from twinstep.func import entrypoint, task
from twinstep.runtime import RunControl, Runtime
from twinstep.types import Command, RetryPolicy, Send, TimeoutPolicy, interrupt


@pytest.fixture
def saver() -> InMemorySaver:
    """Where a thread is kept does not matter here."""
    return InMemorySaver()


# ---------------------------------------------------------------------- what is shown


def test_output_keys_pick_one_value_or_some(lane):
    graph = chain("a", "b").compile()
    assert lane.invoke(graph, {"x": 1}, output_keys="log") == ["a", "b"]
    assert lane.invoke(graph, {"x": 1}, output_keys=["x"]) == {"x": 1}
    with pytest.raises(InvalidConfigError, match=r"Key lug not in channels.*Did you mean 'log'"):
        lane.invoke(graph, {"x": 1}, output_keys="lug")
    with pytest.raises(InvalidConfigError, match="Key q not in channels"):
        lane.stream(graph, {"x": 1}, output_keys=["x", "q"])


def test_output_keys_pick_among_updates_too(lane):
    def count(state: State) -> State:
        return {"x": 2}

    graph = chain("a", count).compile()
    assert lane.stream(graph, {"x": 1}, output_keys=["x"]) == [{"a": None}, {"count": {"x": 2}}]
    assert lane.stream(graph, {"x": 1}, output_keys="x") == [{"a": None}, {"count": 2}]
    assert lane.stream(graph, {"x": 1}, stream_mode="values", output_keys="x") == [1, 1, 2]


@pytest.mark.parametrize("several", [list, tuple])
def test_w42_a_tuple_of_modes_works_as_a_list(lane, several):
    graph = chain("a").compile()
    chunks = lane.stream(graph, {"x": 1}, stream_mode=several(["updates", "values"]))
    assert chunks[1:] == [("updates", {"a": {"log": ["a"]}}), ("values", {"x": 1, "log": ["a"]})]


@pytest.mark.parametrize("options", [{"stream_mode": "nonsense"}, {"durability": "nonsense"}, {"version": "v9"}])
def test_w41_unknown_options_are_refused(lane, options):
    with pytest.raises(InvalidConfigError, match="Unknown"):
        lane.invoke(chain("a").compile(), {"x": 1}, **options)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_w10_durability_without_a_checkpointer_is_said_to_have_no_effect(lane, durability):
    with pytest.warns(UserWarning, match="'durability' has no effect") as caught:
        assert lane.invoke(chain("a").compile(), {"x": 1}, durability=durability)["log"] == ["a"]
    assert len(caught) == 1


def test_print_mode_prints_and_does_not_change_the_result(lane, capsys):
    graph = chain("a").compile()
    assert lane.invoke(graph, {"x": 1}, print_mode="updates") == {"x": 1, "log": ["a"]}
    assert capsys.readouterr().out == "\x1b[1m[updates]\x1b[0m {'a': {'log': ['a']}}\n"
    lane.stream(graph, {"x": 1}, print_mode=("values",))
    assert capsys.readouterr().out.splitlines()[-1] == "\x1b[1m[values]\x1b[0m {'x': 1, 'log': ['a']}"


@pytest.mark.parametrize("where", ["compile", "stream"])
def test_debug_prints_updates_and_values(lane, capsys, where):
    graph = chain("a").compile(debug=where == "compile")
    lane.stream(graph, {"x": 1}, **({"debug": True} if where == "stream" else {}))
    printed = capsys.readouterr().out
    assert [line.partition("]")[0][5:] for line in printed.splitlines()] == ["values", "updates", "values"]


# ---------------------------------------------------------------------- copies


def test_a_copy_differs_in_what_was_replaced(saver, thread):
    graph = chain("a").compile()
    copy = graph.copy({"checkpointer": saver, "step_timeout": 5.0})
    assert (copy.step_timeout, graph.step_timeout, graph.checkpointer) == (5.0, None, None)
    copy.invoke({"x": 1}, thread)
    assert copy.get_state(thread).values["log"] == ["a"]
    assert graph.copy().invoke({"x": 1}) == graph.invoke({"x": 1})
    with pytest.raises(InvalidConfigError, match=r"'chekpointer'.*Did you mean 'checkpointer'"):
        graph.copy({"chekpointer": saver})


def test_a_graph_with_a_config_uses_it_by_default(thread, saver):
    graph = chain("a").compile(saver).with_config(thread, tags=["t"], recursion_limit=5)
    assert graph.config == {**thread, "tags": ["t"], "recursion_limit": 5}
    assert graph.invoke({"x": 1})["log"] == ["a"]


def test_the_attributes_of_a_compiled_graph(saver):
    graph = chain("a").compile(saver, interrupt_before=["a"])
    assert (graph.name, list(graph.nodes), graph.checkpointer is saver) == ("LangGraph", ["__start__", "a"], True)
    assert graph.channels.keys() == {"x", "log", "__start__", "branch:to:a", "__pregel_tasks"}
    assert (graph.input_channels, graph.output_channels, graph.stream_channels) == (
        "__start__",
        ("x", "log"),
        ("x", "log"),
    )
    assert (graph.stream_mode, graph.trigger_to_nodes["branch:to:a"]) == ("updates", ("a",))
    assert (graph.interrupt_before_nodes, graph.interrupt_after_nodes) == (("a",), ())
    assert (graph.store, graph.cache, graph.config, graph.step_timeout) == (None, None, None, None)
    assert (graph.retry_policy, graph.cache_policy) == ((), None)
    assert "a" in graph.builder.nodes


# ---------------------------------------------------------------------- time


def sleeper(colour: Any, release: threading.Event) -> Any:
    """Return a node that waits; a thread waits for an event, so that the test can let it go."""
    if colour == "plain":

        def slow(state: State) -> State:
            release.wait(LONG)
            return {"log": ["slow"]}

        return slow

    async def aslow(state: State) -> State:
        await asyncio.sleep(LONG)
        return {"log": ["slow"]}

    aslow.__name__ = "slow"
    return aslow


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("siblings", [False, True], ids=["alone", "with a sibling"])
def test_w50_a_superstep_that_takes_too_long_is_given_up_at_once(lane, saver, thread, kind, siblings):
    release = threading.Event()
    graph = (fan if siblings else chain)(sleeper(kind, release), *(["quick"] if siblings else [])).compile(saver)
    graph.step_timeout = 0.05
    try:
        with pytest.raises(TimeoutError, match=r"step_timeout=0.05 s while 'slow'") as caught:
            within(LONG / 2, lambda: lane.invoke(graph, {"x": 1}, thread))
    finally:
        release.set()
    assert isinstance(caught.value, StepTimeoutError)
    assert lane.state(graph, thread).next == ("slow",)
    assert lane.state(graph, thread).values["log"] == []  # what the late thread returned went nowhere


def test_a_superstep_is_not_tried_again_when_its_time_is_over(lane):
    calls: list[int] = []

    async def slow(state: State) -> State:
        calls.append(1)
        await asyncio.sleep(LONG)
        return {}

    build = chain("a").add_node("slow", slow, retry_policy=RetryPolicy(retry_on=Exception, initial_interval=0.001))
    graph = build.add_edge("a", "slow").compile().copy({"step_timeout": 0.05})
    with pytest.raises(StepTimeoutError):
        lane.invoke(graph, {"x": 1})
    assert calls == [1]


def test_each_superstep_has_the_whole_time(lane):
    graph = chain(*(noted(name, lambda: time.sleep(0.1)) for name in "abc")).compile().copy({"step_timeout": 0.25})
    assert lane.invoke(graph, {"x": 1})["log"] == ["a", "b", "c"]


def test_a_packet_may_have_a_time_of_its_own(lane, saver, thread):
    release = threading.Event()

    def start(state: State) -> Command[Any]:
        return Command(goto=[Send("slow", {"x": 1}, timeout=0.05)])

    graph = chain(start).add_node("slow", sleeper("plain", release)).compile(saver)
    try:
        with pytest.raises(NodeTimeoutError, match="'slow' exceeded its run timeout") as caught:
            within(LONG / 2, lambda: lane.invoke(graph, {"x": 1}, thread))
    finally:
        release.set()
    assert caught.value.kind == "run"


@pytest.mark.parametrize("refresh_on", ["auto", "heartbeat"])
def test_heartbeats_of_a_thread_put_its_idle_timeout_off(lane, refresh_on):
    def alive(state: State, runtime: Runtime) -> State:
        for _ in range(6):
            time.sleep(0.05)
            runtime.heartbeat()
        return {"log": ["alive"]}

    policy = TimeoutPolicy(idle_timeout=0.25, refresh_on=refresh_on)
    graph = chain("a").add_node("alive", alive, timeout=policy).add_edge("a", "alive").compile()
    assert lane.invoke(graph, {"x": 1})["log"] == ["a", "alive"]


# ---------------------------------------------------------------------- several things at once


def test_w63_a_failing_sibling_does_not_hide_a_question(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("how many?")]}

    broken = [True]

    def fail(state: State) -> State:
        if broken:
            raise Boom("boom")
        return {"log": ["fixed"]}

    graph = fan(ask, fail).compile(saver)
    with pytest.raises(Boom) as caught:
        lane.invoke(graph, {"x": 1}, {**thread, "max_concurrency": 1})  # one after the other
    (question,) = lane.state(graph, thread).interrupts
    assert question.value == "how many?"
    assert any("how many?" in note for note in caught.value.__notes__)
    assert any(note.startswith("During task with name 'fail' and id '") for note in caught.value.__notes__)
    broken.clear()
    assert lane.invoke(graph, Command(resume=3), thread) == {"x": 1, "log": [3, "fixed"]}


def test_all_failures_of_a_superstep_are_kept(lane):
    barrier = threading.Barrier(3)

    def failing(name: str) -> Any:
        def node(state: State) -> State:
            barrier.wait(LONG)
            raise Boom(name)

        node.__name__ = name
        return node

    graph = fan(failing("a"), failing("b"), failing("c")).compile()
    with pytest.raises(Boom, match="a") as caught:
        lane.invoke(graph, {"x": 1})
    cause = caught.value.__cause__
    if not lane.is_async:  # on an event loop the first failure cancels the others
        assert isinstance(cause, ExceptionGroup)
        assert [str(error) for error in cause.exceptions] == ["b", "c"]


def test_a_drain_reaches_runs_nested_in_tasks(lane, saver, thread):
    control = RunControl()

    def stop() -> None:
        if not control.drain_requested:
            control.request_drain("night")

    child = chain("a", noted("stop", stop), "b").compile()

    @task
    def work(n: int) -> Any:
        return child.invoke({"x": n})

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> Any:
        return work(n).result()

    with pytest.raises(GraphDrained, match="Graph drained: night"):
        lane.invoke(flow, 1, thread, control=control)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lane.invoke(flow, None, thread)["log"] == ["a", "stop", "b"]
