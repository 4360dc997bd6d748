"""What cannot be meant is refused with an error that says what to do, and the thread stays usable."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.runtime.programs import Boom, State, Switch, after, chain, fan, noted, recorded, within
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.config import get_config, get_store, get_stream_writer
from twinstep.errors import (
    CheckpointStorageError,
    EmptyInputError,
    EncodingError,
    GraphRecursionError,
    InvalidConfigError,
    InvalidUpdateError,
    NoCheckpointerError,
    OutsideRunError,
    TwinstepError,
    UnknownInterruptError,
)
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.runtime import get_runtime
from twinstep.types import CachePolicy, Command, RetryPolicy, Send, interrupt


@pytest.fixture
def saver() -> InMemorySaver:
    """What is tested here happens before anything is stored, or does not depend on where."""
    return InMemorySaver()


class Unstorable:
    """Nothing can store this."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


def works(lane: Any, graph: Any, thread: Any) -> bool:
    """Tell whether a thread can still be used."""
    return lane.invoke(graph, {"x": 99}, thread)["x"] == 99


# ---------------------------------------------------------------------- values of a wrong type

GRAPH = StateGraph(State).add_node("a", lambda state: {}).add_edge(START, "a").compile(InMemorySaver())
THREAD: Any = {"configurable": {"thread_id": "1"}}
WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda v: GRAPH.invoke({}, THREAD, output_keys=v), "output_keys takes a name or a list of names"),
    (lambda v: GRAPH.invoke({}, THREAD, interrupt_before=v), "interrupt_before and interrupt_after takes a name"),
    (lambda v: GRAPH.invoke({}, THREAD, control=v), "control= takes a RunControl"),
    (lambda v: GRAPH.batch([{}], [THREAD, THREAD]), "batch got 2 configs for 1 inputs"),
    (lambda v: GRAPH.bulk_update_state(THREAD, [v]), r"A superstep is a list of StateUpdate\(values, as_node\)"),
    (lambda v: GRAPH.bulk_update_state(THREAD, [[v]]), "A superstep is a list of StateUpdate"),
    (lambda v: GRAPH.builder.compile(interrupt_after=v), "interrupt_before and interrupt_after takes a name"),
    (lambda v: GRAPH.builder.compile(cache=InMemoryCache()).clear_cache(["b"]), "Unknown node 'b'; it is one of"),
    (lambda v: StateGraph(State).add_edge(v, "a"), "it starts at a node or at several"),
    (
        lambda v: StateGraph(State).add_conditional_edges("a", lambda s: "a", v),
        "path_map takes a name or a list of names",
    ),
    (lambda v: StateGraph(State).add_node("", lambda s: s), "needs a name that is not empty"),
    (
        lambda v: task(len, retry_policy=RetryPolicy(max_attempts=0)),
        r"RetryPolicy\(max_attempts=...\) is a number of at least 1",
    ),
    (lambda v: task(len, retry_policy=RetryPolicy(initial_interval=v)), "initial_interval=...\\) is a number"),
    (lambda v: task(len, retry_policy=RetryPolicy(retry_on=v)), "retry_on=...\\) is an exception class"),
    (lambda v: task(len, retry_policy=RetryPolicy(retry_on=[v])), "retry_on=...\\) is an exception class"),
    (lambda v: CachePolicy(ttl=v), "ttl=...\\) is a number of seconds or None"),
    (lambda v: CachePolicy(key_func=v), "key_func=...\\) is a function"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_value_of_a_wrong_type_is_named(call: Callable[[Any], Any], message: str) -> None:
    class Thing: ...

    with pytest.raises(TwinstepError, match=message):
        call(Thing())


# ---------------------------------------------------------------------- calls that are refused before anything runs

INPUTS: list[tuple[Any, type[Exception], str]] = [
    ({"lug": 1}, InvalidUpdateError, "'lug'.*Did you mean 'log'"),
    (5, InvalidUpdateError, "5"),
    ("text", InvalidUpdateError, "text"),
    ([1, 2], InvalidUpdateError, r"\[1, 2\]"),
    (None, EmptyInputError, "no input"),
    (Command(update={"lug": 1}), InvalidUpdateError, "'lug'.*Did you mean 'log'"),
    (Command(goto="bb"), InvalidUpdateError, "'bb'.*Did you mean 'b'"),
    (Command(goto=Send("bb", {})), InvalidUpdateError, "'bb'.*Did you mean 'b'"),
    (Command(resume="yes"), UnknownInterruptError, "nothing to answer"),
    (Command(resume={}), UnknownInterruptError, "no answer"),
    (Command(resume={"0" * 32: 1}), UnknownInterruptError, "0{32}"),
]


@pytest.mark.parametrize(
    ("input", "error", "message"), INPUTS, ids=lambda v: repr(v) if not isinstance(v, type) else ""
)
def test_an_input_that_cannot_be_meant_leaves_no_trace(lane, saver, thread, input, error, message):
    graph = chain("a", "b").compile(saver)
    with pytest.raises(error, match=message):
        lane.invoke(graph, input, thread)
    assert lane.history(graph, thread) == []
    assert works(lane, graph, thread)


@pytest.mark.parametrize(
    ("input", "error", "message"),
    [case for case in INPUTS if case[0] is not None],
    ids=repr,
)
def test_nor_does_it_on_a_thread_that_is_in_use(lane, saver, thread, input, error, message):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    before = lane.history(graph, thread)
    with pytest.raises(error, match=message):
        lane.invoke(graph, input, thread)
    assert lane.history(graph, thread) == before
    assert works(lane, graph, thread)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"stream_mode": "valeus"}, "'valeus'.*Did you mean 'values'"),
    ({"stream_mode": ["values", "nope"]}, "'nope'"),
    ({"durability": "synk"}, "'synk'.*Did you mean 'sync'"),
    ({"output_keys": "lug"}, "lug.*Did you mean 'log'"),
    ({"output_keys": ["x", "lug"]}, "lug.*Did you mean 'log'"),
    ({"interrupt_before": ["aa"]}, "'aa'.*Did you mean 'a'"),
    ({"version": "v9"}, "v9"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=str)
@pytest.mark.parametrize("method", ["invoke", "stream"])
def test_an_option_that_does_not_exist_is_refused(lane, thread, options, message, method):  # W41
    saver = InMemorySaver()
    graph = chain("a").compile(saver)
    with pytest.raises(InvalidConfigError, match=message):
        lane.call(graph, method, {"x": 1}, thread, **options)
    assert lane.history(graph, thread) == []


CONFIGS: list[tuple[Any, str]] = [
    (None, "thread_id"),
    ({}, "thread_id"),
    ({"configurable": {}}, "thread_id"),
    ({"configurable": {"thread_id": None}}, "thread_id"),
    ({"configurable": {"thread_id": ""}}, "thread_id must not be empty"),
    ({"configurable": {"thread_id": 1.5}}, "thread_id.*1.5"),
    ({"configurable": {"thread_id": "a\0b"}}, "NUL"),
    ({"configurable": "1"}, "configurable"),
    ({"thread_id": "1"}, "configurable"),
    ("1", "mapping"),
    ({"configurable": {"thread_id": "1"}, "recursion_limit": 0}, "recursion_limit"),
    ({"configurable": {"thread_id": "1"}, "recursion_limit": "5"}, "recursion_limit"),
    ({"configurable": {"thread_id": "1"}, "recursion_limit": True}, "recursion_limit"),
    ({"configurable": {"thread_id": "1"}, "max_concurrency": 0}, "max_concurrency"),
    ({"configurable": {"thread_id": "1"}, "max_concurrency": "2"}, "max_concurrency"),
    ({"configurable": {"thread_id": "1"}, "tags": "one"}, "tags"),
    ({"configurable": {"thread_id": "1"}, "metadata": ["m"]}, "metadata"),
]


@pytest.mark.parametrize(("config", "message"), CONFIGS, ids=lambda v: repr(v) if not isinstance(v, str) else "")
def test_a_config_that_cannot_be_used_says_why(lane, config, message):  # W45
    graph = chain("a", "b").compile(InMemorySaver())
    with pytest.raises(InvalidConfigError, match=message):
        lane.invoke(graph, {"x": 1}, config)


def test_metadata_that_cannot_be_stored_is_refused(lane, saver, thread):
    graph = chain("a").compile(saver)
    with pytest.raises(EncodingError, match="metadata"):
        lane.invoke(graph, {"x": 1}, {**thread, "metadata": {"client": Unstorable()}})
    assert lane.history(graph, thread) == []
    assert works(lane, graph, thread)


def test_resuming_without_a_checkpointer_says_what_is_missing(lane):
    with pytest.raises(NoCheckpointerError, match="checkpointer"):
        lane.invoke(chain("a").compile(), Command(resume=1))


def test_asking_without_a_checkpointer_says_what_is_missing(lane):  # W30
    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    with pytest.raises(NoCheckpointerError, match=r"interrupt\(\) in 'ask'.*checkpointer"):
        lane.invoke(chain(ask).compile(), {"x": 1})


def test_what_needs_a_run_says_so_outside_of_one():
    @task
    def work(n: int) -> int:
        return n

    for call in (get_config, get_store, get_stream_writer, get_runtime, lambda: interrupt("?"), lambda: work(1)):
        with pytest.raises(OutsideRunError, match="outside of a run"):
            call()


def test_true_is_no_checkpointer_for_a_root(lane, thread):
    graph = chain("a").compile(True)
    with pytest.raises(InvalidConfigError, match="checkpointer=True"):
        lane.invoke(graph, {"x": 1}, thread)


# ---------------------------------------------------------------------- what a node returns

RETURNS: list[tuple[Any, str]] = [
    ({"lug": 1}, "'bad'.*'lug'.*Did you mean 'log'"),
    (5, "Expected dict, got 5"),
    ("text", "Expected dict, got 'text'"),
    (Command(goto="aa"), "'aa'.*Did you mean 'a'"),
    (Command(update={"lug": 1}), "'lug'"),
    (Command(update=5), "5"),
    (Command(graph="other", update={"x": 1}), "graph='other'"),
    (Command(graph=Command.PARENT, goto="a"), "no graph contains"),
    (Send("aa", {}), "'aa'.*Did you mean 'a'"),
    (Send("__end__", {}), "END"),
    ({"log": 5}, "'log'|list"),
]


@pytest.mark.parametrize(("returned", "message"), RETURNS, ids=lambda v: repr(v))
def test_a_result_that_cannot_be_meant_fails_the_node_and_the_run_can_go_on(lane, saver, thread, returned, message):
    wrong = Switch()

    def bad(state: State) -> Any:
        return returned if wrong.on else {"log": ["bad"]}

    graph = chain("a", bad).compile(saver)
    with pytest.raises((TwinstepError, TypeError), match=message):
        lane.invoke(graph, {"x": 1}, thread)
    state = lane.state(graph, thread)
    assert (state.next, state.values["log"], state.metadata["status"]) == (("bad",), ["a"], "failed")
    wrong.on = False
    assert lane.invoke(graph, None, thread)["log"] == ["a", "bad"]


@pytest.mark.parametrize("chosen", ["aa", None, START, 7, Send("aa", {})])
def test_a_choice_that_cannot_be_meant_fails_the_node(lane, saver, thread, chosen):  # W1
    graph = chain("a").add_conditional_edges("a", lambda s: chosen).compile(saver)
    with pytest.raises(InvalidUpdateError, match=r"destination|unknown node"):
        lane.invoke(graph, {"x": 1}, thread)
    assert lane.state(graph, thread).next == ("a",)


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("siblings", [[], ["a"], ["z"], ["a", "z"]], ids=repr)
def test_a_value_that_cannot_be_stored_is_named_with_its_place(lane, saver, thread, durability, siblings):
    wrong = Switch()

    def bad(state: State) -> Any:
        return {"log": [{"deep": [Unstorable()] if wrong.on else "fine"}]}

    graph = fan(bad, *(noted(name, lambda: time.sleep(0.002)) for name in siblings)).compile(saver)
    with pytest.raises(EncodingError, match=r"log.*deep.*Unstorable|Unstorable.*log.*deep"):
        within(10, lambda: lane.invoke(graph, {"x": 1}, thread, durability=durability))
    state = lane.state(graph, thread)
    assert ("bad" in state.next, state.values["log"]) == (True, [])
    assert state.metadata["status"] == "failed"
    wrong.on = False
    assert {"deep": "fine"} in lane.invoke(graph, None, thread, durability=durability)["log"]


def test_an_end_that_cannot_be_stored_leaves_the_thread_as_it_was(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    before = lane.history(graph, thread)
    bad = chain("a", lambda s: {"log": [Unstorable()]}).compile(saver)
    with pytest.raises(EncodingError, match=r"log.*Unstorable|Unstorable.*log"):
        lane.invoke(bad, {"x": 2}, thread, durability="exit")
    assert lane.history(graph, thread) == before
    assert works(lane, graph, thread)


def test_a_task_result_that_cannot_be_stored_is_named(lane, saver, thread):
    wrong = Switch()

    @task
    def make(n: int) -> Any:
        return {"client": Unstorable()} if wrong.on else n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> Any:
        return make(n).result()

    with pytest.raises(EncodingError, match=r"make.*client"):
        lane.invoke(flow, 1, thread)
    wrong.on = False
    assert lane.invoke(flow, None, thread) == 1


def test_an_input_that_cannot_be_stored_is_named_and_leaves_no_trace(lane, saver, thread):
    graph = chain("a").compile(saver)
    with pytest.raises(EncodingError, match="Unstorable"):
        lane.invoke(graph, {"log": [Unstorable()]}, thread)
    assert lane.history(graph, thread) == []
    assert works(lane, graph, thread)


def test_a_question_that_cannot_be_stored_is_named(lane, saver, thread):
    wrong = Switch()

    def ask(state: State) -> State:
        return {"log": [interrupt({"client": Unstorable()} if wrong.on else "?")]}

    graph = chain(ask).compile(saver)
    with pytest.raises(EncodingError, match="client"):
        lane.invoke(graph, {"x": 1}, thread)
    wrong.on = False
    assert len(lane.invoke(graph, None, thread)["__interrupt__"]) == 1
    assert lane.invoke(graph, Command(resume=1), thread)["log"] == [1]


def test_an_answer_that_cannot_be_stored_leaves_the_question_open(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    graph = chain(ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    with pytest.raises(EncodingError):
        lane.invoke(graph, Command(resume=Unstorable()), thread)
    assert [i.value for i in lane.state(graph, thread).interrupts] == ["?"]
    assert lane.invoke(graph, Command(resume=1), thread)["log"] == [1]


# ---------------------------------------------------------------------- failures


def test_a_failure_is_the_users_own_with_notes_of_where_it_happened(lane, saver, thread):
    @task
    def inner(n: int) -> int:
        raise Boom("boom")

    @entrypoint()
    def child(n: int) -> int:
        return inner(n).result()

    def node(state: State) -> State:
        return {"x": child.invoke(1)}

    graph = chain("a", node).compile(saver)
    with pytest.raises(Boom, match="boom") as caught:
        lane.invoke(graph, {"x": 1}, thread)
    notes = caught.value.__notes__
    assert [note.split(" and id ")[0] for note in notes] == [
        f"During task with name '{name}'" for name in ("inner", "child", "node")
    ]
    assert f"'{lane.state(graph, thread).tasks[0].id}'" in notes[-1]


def test_a_failure_is_not_noted_twice_when_it_is_resumed(lane, saver, thread):
    error = Boom("boom")

    def node(state: State) -> State:
        raise error

    graph = chain(node).compile(saver)
    for attempt in range(2):
        with pytest.raises(Boom) as caught:
            lane.invoke(graph, None if attempt else {"x": 1}, thread)
    assert caught.value is error
    assert len(error.__notes__) == 1


def together(count: int) -> Any:
    """Return a function that waits until so many have called it, in threads or on a loop."""
    return threading.Barrier(count, timeout=10).wait


def test_several_failures_of_one_superstep_are_all_kept(lane, saver, thread):
    meet = together(3)

    def failing(error: Exception) -> Any:
        def act() -> None:
            meet()
            raise error

        return act

    graph = fan(
        noted("a", failing(Boom("a"))), noted("b", failing(KeyError("b"))), noted("c", failing(OSError("c")))
    ).compile(saver)
    with pytest.raises((Boom, KeyError, OSError)) as caught:
        lane.invoke(graph, {"x": 1}, {**thread, "max_concurrency": 3})
    first = caught.value
    if lane.is_async:
        return  # the first failure cancels the others; which of them were faster is chance
    assert isinstance(first.__cause__, ExceptionGroup)
    others = first.__cause__.exceptions
    assert {type(e) for e in (first, *others)} == {Boom, KeyError, OSError}
    errors = {t.name: type(t.error) for t in lane.state(graph, thread).tasks}
    assert errors == {"a": Boom, "b": KeyError, "c": OSError}


def test_the_cause_a_failure_came_with_is_kept(lane, saver, thread):
    meet = together(2)

    def one() -> None:
        meet()
        raise Boom("a") from OSError("disk")

    def two() -> None:
        meet()
        raise KeyError("b")

    graph = fan(noted("a", one), noted("b", two)).compile(saver)
    with pytest.raises((Boom, KeyError)) as caught:
        lane.invoke(graph, {"x": 1}, thread)
    if isinstance(caught.value, Boom):
        assert isinstance(caught.value.__cause__, OSError)


def test_a_question_beside_a_failure_stays_visible(lane, saver, thread):  # W63
    bad = Switch()

    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    graph = fan(ask, noted("zbad", after(recorded(saver), bad))).compile(saver)
    with pytest.raises(Boom) as caught:
        lane.invoke(graph, {"x": 1}, thread)
    assert "question" in "".join(caught.value.__notes__).lower()
    assert [i.value for i in lane.state(graph, thread).interrupts] == ["?"]
    bad.on = False
    assert lane.invoke(graph, Command(resume="!"), thread)["log"] == ["!", "zbad"]


def test_an_exception_group_of_a_node_passes_unchanged(lane, saver, thread):
    group = ExceptionGroup("mine", [Boom("a"), OSError("b")])

    def node(state: State) -> State:
        raise group

    graph = chain(node).compile(saver)
    with pytest.raises(ExceptionGroup, match="mine") as caught:
        lane.invoke(graph, {"x": 1}, thread)
    assert caught.value is group
    read = lane.state(graph, thread).tasks[0].error
    assert [type(e) for e in read.exceptions] == [Boom, OSError]


def test_a_failure_that_cannot_be_stored_is_still_a_failure(lane, saver, thread):
    wrong = Switch()

    class Odd(Exception):
        def __init__(self, client: Any) -> None:
            super().__init__(client)
            self.client = client

        def __str__(self) -> str:
            raise RuntimeError("no text")

    def node(state: State) -> State:
        if wrong.on:
            raise Odd(Unstorable())
        return {"x": 2}

    graph = chain(node).compile(saver)
    with pytest.raises(Odd):
        lane.invoke(graph, {"x": 1}, thread)
    state = lane.state(graph, thread)
    assert (state.next, state.metadata["status"]) == (("node",), "failed")
    assert state.tasks[0].error is not None
    wrong.on = False
    assert lane.invoke(graph, None, thread)["x"] == 2


def test_a_run_that_used_up_its_supersteps_can_be_continued(lane, saver, thread):  # W9
    def step(state: State) -> State:
        return {"x": state["x"] + 1}

    build = chain(step).add_conditional_edges("step", lambda s: "step" if s["x"] < 5 else "__end__")
    graph = build.compile(saver)
    with pytest.raises(GraphRecursionError, match=r"limit of 2.*step.*recursion_limit"):
        lane.invoke(graph, {"x": 0}, {**thread, "recursion_limit": 2})
    state = lane.state(graph, thread)
    assert (state.values["x"], state.next, state.metadata["status"]) == (2, ("step",), "failed")
    assert lane.invoke(graph, None, {**thread, "recursion_limit": 3})["x"] == 5


@pytest.mark.parametrize("nodes", [1, 3, 7])
def test_a_chain_needs_as_many_supersteps_as_it_has_nodes(lane, nodes):  # W9
    names = [f"n{i}" for i in range(nodes)]
    graph = chain(*names).compile()
    assert lane.invoke(graph, {"x": 1}, {"recursion_limit": nodes})["log"] == names
    if nodes > 1:
        with pytest.raises(GraphRecursionError):
            lane.invoke(graph, {"x": 1}, {"recursion_limit": nodes - 1})


def test_a_stream_raises_where_it_got_to(lane, saver, thread):
    graph = chain("a", noted("b", Switch()), "c").compile(saver)
    got: list[Any] = []

    async def consume() -> None:
        async for chunk in graph.astream({"x": 1}, thread):
            got.append(chunk)  # noqa: PERF401  # what came before the failure is to be kept

    with pytest.raises(Boom):
        asyncio.run(consume()) if lane.is_async else got.extend(graph.stream({"x": 1}, thread))
    assert got == [{"a": {"log": ["a"]}}]


def test_a_closed_saver_says_so(lane, tmp_path, thread):
    with SqliteSaver(tmp_path / "t.sqlite") as saver:
        graph = chain("a").compile(saver)
    with pytest.raises(CheckpointStorageError, match="closed"):
        lane.invoke(graph, {"x": 1}, thread)


def test_a_state_graph_of_one_value_takes_none_as_nothing_to_continue(lane, saver, thread):
    graph = StateGraph(int).add_node("n", lambda n: n + 1).add_edge(START, "n").compile(saver)
    with pytest.raises(EmptyInputError):
        lane.invoke(graph, None, thread)
    assert lane.invoke(graph, 0, thread) == 1
