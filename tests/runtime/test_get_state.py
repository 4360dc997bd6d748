"""What `get_state` and `get_state_history` show of a thread."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.programs import Boom, State, Switch, after, at, chain, checkpoint_id, fan, noted, recorded, shape
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointNotFoundError, InvalidConfigError, NoCheckpointerError
from twinstep.func import entrypoint, task
from twinstep.ids import new_id
from twinstep.types import Command, StateSnapshot, interrupt


def test_a_thread_nobody_ran_on_has_an_empty_state(lane, saver, thread):
    graph = chain("a").compile(saver)
    assert lane.state(graph, thread) == StateSnapshot({}, (), thread, None, None, None, (), ())
    assert lane.history(graph, thread) == []


def test_history_shows_every_superstep_newest_first(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    history = lane.history(graph, thread)
    assert shape(history) == [
        ("loop", 2, ()),
        ("loop", 1, ("b",)),
        ("loop", 0, ("a",)),
        ("input", -1, ("__start__",)),
    ]
    assert [s.values for s in history] == [
        {"x": 1, "log": ["a", "b"]},
        {"x": 1, "log": ["a"]},
        {"x": 1, "log": []},
        {"log": []},
    ]
    assert [[t.result for t in s.tasks] for s in history] == [[], [{"log": ["b"]}], [{"log": ["a"]}], [{"x": 1}]]
    assert history[0] == lane.state(graph, thread)


def test_checkpoints_are_linked_dated_and_belong_to_one_run(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    history = lane.history(graph, thread)
    parents = [s.parent_config and s.parent_config["configurable"]["checkpoint_id"] for s in history]
    assert parents == [*map(checkpoint_id, history[1:]), None]
    assert len({s.metadata["run_id"] for s in history}) == 1
    times = [datetime.fromisoformat(s.created_at) for s in history]
    assert all(t.utcoffset() == timedelta(0) for t in times)
    assert times == sorted(times, reverse=True)


def test_each_checkpoint_is_read_by_its_id(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    for snapshot in lane.history(graph, thread):
        found = lane.state(graph, snapshot.config)
        assert (found.values, found.next, found.config, found.metadata) == (
            snapshot.values,
            snapshot.next,
            snapshot.config,
            snapshot.metadata,
        )


@pytest.mark.parametrize("act", ["get_state", "invoke None", "invoke input", "stream", "update_state"])
@pytest.mark.parametrize("used", [False, True], ids=["on a new thread", "on a used thread"])
def test_an_unknown_checkpoint_id_is_an_error_that_names_it(lane, saver, thread, act, used):  # W26
    graph = chain("a").compile(saver)
    if used:
        lane.invoke(graph, {"x": 1}, thread)
    before = lane.history(graph, thread)
    unknown = new_id()
    nowhere = at(thread, checkpoint_id=unknown)
    acts: dict[str, Any] = {
        "get_state": lambda: lane.state(graph, nowhere),
        "invoke None": lambda: lane.invoke(graph, None, nowhere),
        "invoke input": lambda: lane.invoke(graph, {"x": 5}, nowhere),
        "stream": lambda: lane.stream(graph, {"x": 5}, nowhere),
        "update_state": lambda: lane.update(graph, nowhere, {"x": 5}),
    }
    with pytest.raises(CheckpointNotFoundError, match=unknown):
        acts[act]()
    assert lane.history(graph, thread) == before
    assert lane.invoke(graph, {"x": 2}, thread)["x"] == 2


def test_history_can_be_limited_filtered_and_continued(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    for x in (1, 2):
        lane.invoke(graph, {"x": x}, {**thread, "metadata": {"turn": x}})
    everything = lane.history(graph, thread)
    assert len(everything) == 8
    assert lane.history(graph, thread, limit=3) == everything[:3]
    assert [s.config for s in lane.history(graph, thread, before=everything[3].config)] == [
        s.config for s in everything[4:]
    ]
    assert shape(lane.history(graph, thread, filter={"source": "input"})) == [
        ("input", 3, ("__start__",)),
        ("input", -1, ("__start__",)),
    ]
    assert len(lane.history(graph, thread, filter={"turn": 1})) == 4
    assert lane.history(graph, thread, filter={"turn": 1, "step": 2}, limit=1)[0].values["x"] == 1
    assert lane.history(graph, thread, filter={"nokey": None}) == []
    assert lane.history(graph, thread, limit=0) == []


@pytest.mark.parametrize(
    "options",
    [{"limit": -1}, {"limit": "2"}, {"filter": {"a b": 1}}, {"filter": "source"}, {"before": {"configurable": {}}}],
    ids=str,
)
def test_history_refuses_arguments_that_cannot_be_meant(lane, thread, options):
    saver = InMemorySaver()
    graph = chain("a").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    with pytest.raises(InvalidConfigError):
        lane.history(graph, thread, **options)


@pytest.mark.parametrize("colour_of_reader", ["same saver", "new saver"])
def test_a_failed_superstep_shows_the_error_itself_and_the_finished_siblings(lane, tmp_path, thread, colour_of_reader):
    path = tmp_path / "threads.sqlite"
    with SqliteSaver(path) as first, SqliteSaver(path) as second:
        build = fan("fine", noted("bad", after(recorded(second), Switch())), then="end")
        graph = build.compile(first)
        with pytest.raises(Boom):
            lane.invoke(graph, {"x": 1}, thread)
        if colour_of_reader == "new saver":
            graph = build.compile(second)
        state = lane.state(graph, thread)
    by_name = {t.name: t for t in state.tasks}
    assert by_name.keys() == {"fine", "bad"}
    assert isinstance(by_name["bad"].error, Boom)
    assert by_name["bad"].error.args == ("boom",)
    assert by_name["bad"].result is None
    assert state.next == ("bad",)
    assert (by_name["fine"].error, by_name["fine"].result) == (None, {"log": ["fine"]})
    assert state.metadata["status"] == "failed"
    assert state.values == {"x": 1, "log": []}


def test_an_entrypoint_shows_what_it_returned_last(lane, saver, thread):
    @entrypoint(checkpointer=saver)
    def flow(n: int) -> entrypoint.final[int, int]:
        if n == 2:
            interrupt("go on?")
        return entrypoint.final(value=n * 10, save=n)

    assert lane.state(flow, thread).values in ({}, None)
    assert lane.invoke(flow, 1, thread) == 10
    assert lane.state(flow, thread).values == 10
    lane.invoke(flow, 2, thread)
    waiting = lane.state(flow, thread)
    assert (waiting.values, waiting.next, [i.value for i in waiting.interrupts]) == (10, ("flow",), ["go on?"])
    lane.invoke(flow, Command(resume=True), thread)
    assert lane.state(flow, thread).values == 20
    assert shape(lane.history(flow, thread)) == [
        ("loop", 2, ()),
        ("input", 1, ("flow",)),
        ("loop", 0, ()),
        ("input", -1, ("flow",)),
    ]


def test_history_shows_questions_that_were_answered_and_the_latest_only_open_ones(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("first"), interrupt("second")]}

    graph = chain(ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    assert [i.value for i in lane.state(graph, thread).interrupts] == ["first"]
    lane.invoke(graph, Command(resume=1), thread)
    assert [i.value for i in lane.state(graph, thread).interrupts] == ["second"]
    assert lane.invoke(graph, Command(resume=2), thread) == {"x": 1, "log": [1, 2]}
    assert lane.state(graph, thread).interrupts == ()
    past = [s for s in lane.history(graph, thread) if s.interrupts]
    assert [(s.next, [i.value for i in s.interrupts]) for s in past] == [(("ask",), ["second"])]


# ---------------------------------------------------------------------- nested graphs


def nested(saver: Any, question: str = "ok?") -> Any:
    """Return a graph in a graph in a graph; the innermost asks."""

    def ask(state: State) -> State:
        return {"log": [interrupt(question)]}

    inner = chain("i1", ask).compile()
    middle = chain("m1")
    middle.add_node("inner", inner).add_edge("m1", "inner")
    outer = chain("o1")
    outer.add_node("middle", middle.compile()).add_edge("o1", "middle")
    return outer.compile(saver)


def test_a_waiting_task_names_the_state_of_the_graph_nested_in_it(lane, saver, thread):
    graph = nested(saver)
    lane.invoke(graph, {"x": 1}, thread)
    state = lane.state(graph, thread)
    (waiting,) = state.tasks
    where = waiting.state["configurable"]
    assert (waiting.name, where["thread_id"]) == ("middle", "1")
    assert where["checkpoint_ns"] == f"middle:{waiting.id}"
    middle = lane.state(graph, waiting.state)
    assert (middle.values["log"], middle.next) == (["o1", "m1"], ("inner",))


def test_states_of_nested_graphs_are_shown_at_every_depth(lane, saver, thread):
    graph = nested(saver)
    lane.invoke(graph, {"x": 1}, thread)
    outer = lane.state(graph, thread, subgraphs=True)
    middle = outer.tasks[0].state
    inner = middle.tasks[0].state
    assert [s.next for s in (outer, middle, inner)] == [("middle",), ("inner",), ("ask",)]
    assert inner.values["log"] == ["o1", "m1", "i1"]
    assert [i.value for s in (outer, middle, inner) for i in s.interrupts] == ["ok?"] * 3
    found = lane.state(graph, inner.config)
    assert (found.values, found.next) == (inner.values, inner.next)


def test_a_nested_state_can_be_changed_before_the_run_is_resumed(lane, saver, thread):
    def double(state: State) -> State:
        return {"x": state["x"] * 2}

    child = chain("c", double).compile(interrupt_before=["double"])
    outer = chain("first")
    outer.add_node("child", child).add_edge("first", "child")
    graph = outer.compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    (waiting,) = lane.state(graph, thread).tasks
    lane.update(graph, waiting.state, {"x": 50})
    assert lane.state(graph, waiting.state).values["x"] == 50
    assert lane.invoke(graph, None, thread)["x"] == 100


def test_the_state_of_a_finished_nested_graph_is_not_attached(lane, saver, thread):
    outer = chain("first")
    outer.add_node("child", chain("c").compile()).add_edge("first", "child")
    graph = outer.compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    assert lane.state(graph, thread, subgraphs=True).tasks == ()


def test_the_state_of_an_entrypoint_called_in_a_node_is_found(lane, saver, thread):
    @task
    def half(n: int) -> int:
        return n // 2

    @entrypoint()
    def flow(n: int) -> int:
        return half(n).result() + interrupt("add?")

    def call(state: State) -> State:
        return {"log": [flow.invoke(state["x"])]}

    graph = chain(call).compile(saver)
    lane.invoke(graph, {"x": 8}, thread)
    child = lane.state(graph, thread, subgraphs=True).tasks[0].state
    assert (child.next, [i.value for i in child.interrupts]) == (("flow",), ["add?"])
    assert lane.invoke(graph, Command(resume=3), thread)["log"] == [7]


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("method", ["get_state", "get_state_history", "update_state"])
def test_a_graph_without_checkpointer_has_no_state_to_look_into(lane, thread, method):
    graph = chain("a").compile()
    with pytest.raises(NoCheckpointerError, match="checkpointer"):
        lane.call(graph, method, thread, *([{"x": 1}] if method == "update_state" else []))


@pytest.mark.parametrize(
    "config", [{}, {"configurable": {}}, {"configurable": {"thread_id": None}}, {"thread_id": "1"}]
)
def test_a_config_without_thread_says_what_is_missing(lane, config):
    graph = chain("a").compile(InMemorySaver())
    for look in (lane.state, lane.history):
        with pytest.raises(InvalidConfigError, match="thread_id"):
            look(graph, config)


def test_a_namespace_that_does_not_exist_is_refused(lane, saver, thread):
    graph = chain("a").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    with pytest.raises(InvalidConfigError, match="nested graph 'nobody'"):
        lane.state(graph, at(thread, checkpoint_ns="nobody:1"))


def test_a_graph_reads_what_another_process_object_wrote(tmp_path: Path, lane, thread):
    with SqliteSaver(tmp_path / "t.sqlite") as one:
        lane.invoke(chain("a").compile(one), {"x": 1}, thread)
    with SqliteSaver(tmp_path / "t.sqlite") as two:
        assert lane.state(chain("a").compile(two), thread).values == {"x": 1, "log": ["a"]}
