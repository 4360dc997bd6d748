"""Going back: a run that starts from an older checkpoint is a branch of its own."""

from __future__ import annotations

import pytest

from tests.runtime.programs import (
    Boom,
    State,
    Switch,
    after,
    at,
    chain,
    checkpoint_id,
    fan,
    noted,
    noting,
    recorded,
    shape,
)
from twinstep.errors import UnknownInterruptError
from twinstep.func import entrypoint, task
from twinstep.types import Command, interrupt


def test_an_older_checkpoint_runs_again_on_a_branch_that_becomes_the_latest(lane, saver, thread):
    ran: list[str] = []
    graph = chain(*noting(ran, *"abc")).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    old_branch = lane.history(graph, thread)
    ran.clear()
    assert lane.invoke(graph, None, old_branch[1].config) == {"x": 1, "log": ["a", "b", "c"]}
    assert ran == ["c"]
    history = lane.history(graph, thread)
    assert shape(history)[:2] == [("loop", 4, ()), ("fork", 3, ("c",))]
    assert history[1].parent_config == old_branch[1].config
    assert [checkpoint_id(s) for s in history[2:]] == [checkpoint_id(s) for s in old_branch]
    assert lane.state(graph, thread).config == history[0].config


def test_every_checkpoint_of_a_thread_can_be_gone_back_to(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    for snapshot in lane.history(graph, thread):
        again = lane.invoke(graph, None, snapshot.config)
        assert again == {"x": 1, "log": ["a", "b"]}, snapshot
    assert len(lane.history(graph, thread)) >= 8


def test_an_edited_past_leads_to_another_end(lane, saver, thread):
    def double(state: State) -> State:
        return {"x": state["x"] * 2}

    graph = chain("a", double).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    past = lane.history(graph, thread)[1]
    assert past.next == ("double",)
    edited = lane.update(graph, past.config, {"x": 21})
    assert lane.invoke(graph, None, edited)["x"] == 42
    assert lane.state(graph, thread).values["x"] == 42
    assert lane.state(graph, past.config).values["x"] == 1


def test_a_new_input_may_start_from_an_older_checkpoint(lane, saver, thread):
    graph = chain("a").compile(saver)
    first = lane.invoke(graph, {"x": 1}, thread)
    after_first = lane.state(graph, thread)
    lane.invoke(graph, {"x": 2}, thread)
    again = lane.invoke(graph, {"x": 3}, after_first.config)
    assert (first["log"], again) == (["a"], {"x": 3, "log": ["a", "a"]})
    assert lane.state(graph, thread).values == again


def test_the_head_may_be_named_by_its_id(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["b"])
    lane.invoke(graph, {"x": 1}, thread)
    assert lane.invoke(graph, None, lane.state(graph, thread).config)["log"] == ["a", "b"]
    assert shape(lane.history(graph, thread))[:2] == [("loop", 2, ()), ("loop", 1, ("b",))]


# ---------------------------------------------------------------------- what a branch must not see


def test_finished_siblings_of_an_open_superstep_run_again_on_a_fork(lane, saver, thread):
    fine, bad = Switch(on=False), Switch()
    graph = fan(noted("fine", fine), noted("bad", after(recorded(saver), bad))).compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    failed_at = lane.state(graph, thread)
    bad.on = False
    lane.invoke(graph, None, thread)
    assert (fine.calls, bad.calls) == (1, 2)  # resumed: the sibling's result was on record
    assert lane.invoke(graph, None, failed_at.config)["log"] == ["bad", "fine"]
    assert (fine.calls, bad.calls) == (2, 3)


def test_records_of_an_open_superstep_cannot_leak_into_a_fork_of_its_checkpoint(lane, saver, thread):
    """The thread stands at a failure; a branch from an earlier checkpoint meets the same nodes and starts clean."""
    fine, bad = Switch(on=False), Switch()
    graph = fan(noted("fine", fine), noted("bad", after(recorded(saver), bad))).compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    with pytest.raises(Boom):
        lane.invoke(graph, None, lane.history(graph, thread)[1].config)
    assert fine.calls == 2
    state = lane.state(graph, thread)
    assert (state.next, shape(lane.history(graph, thread))[0]) == (("bad",), ("loop", 1, ("bad",)))


def test_tasks_of_an_entrypoint_run_again_on_a_fork(lane, saver, thread):
    ran: list[int] = []

    @task
    def effect(n: int) -> int:
        ran.append(n)
        return n * 10 + len(ran)

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> list[int]:
        return [effect(n).result(), interrupt("?")]

    lane.invoke(flow, 1, thread)
    asked_at = lane.state(flow, thread)
    assert lane.invoke(flow, Command(resume=5), thread) == [11, 5]
    lane.invoke(flow, None, asked_at.config)
    assert ran == [1, 1]
    assert lane.invoke(flow, Command(resume=6), thread) == [12, 6]
    assert ran == [1, 1]


def test_a_question_is_asked_again_on_a_fork_under_another_id(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    graph = chain("a", ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    asked_at = lane.state(graph, thread)
    (old,) = asked_at.interrupts
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["a", "yes"]
    (new,) = lane.invoke(graph, None, asked_at.config)["__interrupt__"]
    assert (new.value, new.id != old.id) == ("?", True)
    with pytest.raises(UnknownInterruptError):
        lane.invoke(graph, Command(resume={old.id: "stale"}), thread)
    assert lane.invoke(graph, Command(resume={new.id: "no"}), thread)["log"] == ["a", "no"]
    assert shape(lane.history(graph, thread)) == [
        ("loop", 3, ()),
        ("fork", 2, ("ask",)),
        ("loop", 2, ()),
        ("loop", 1, ("ask",)),
        ("loop", 0, ("a",)),
        ("input", -1, ("__start__",)),
    ]


def test_a_question_of_the_past_can_be_answered_otherwise(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    graph = chain("a", ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    asked_at = lane.state(graph, thread)
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["a", "yes"]
    assert lane.invoke(graph, Command(resume="no"), asked_at.config)["log"] == ["a", "no"]
    assert lane.state(graph, thread).values["log"] == ["a", "no"]


def test_a_nested_graph_starts_over_on_a_fork(lane, saver, thread):
    child_ran = Switch(on=False)
    child = chain(noted("c1", child_ran), "c2").compile()
    outer = chain("first")
    outer.add_node("child", child).add_edge("first", "child")
    graph = outer.compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread)["log"].count("c1") == 1
    before_child = lane.history(graph, thread)[1]
    assert before_child.next == ("child",)
    lane.invoke(graph, None, before_child.config)
    assert child_ran.calls == 2


def test_branches_hold_their_own_lists(lane, saver, thread):
    """Lists are stored as growth; growth on one branch must not show on another."""
    graph = chain("a").compile(saver)
    for n in range(5):
        lane.invoke(graph, {"log": [n]}, thread)
    points = [s for s in lane.history(graph, thread) if s.next == ()]
    for n, point in enumerate(points):
        lane.invoke(graph, {"log": [f"fork {n}"]}, point.config)
    for n, point in enumerate(points):
        assert lane.state(graph, point.config).values == point.values
        forks = [s for s in lane.history(graph, thread) if f"fork {n}" in s.values["log"] and s.next == ()]
        assert [s.values["log"] for s in forks] == [[*point.values["log"], f"fork {n}", "a"]]


def test_a_fork_of_one_thread_leaves_others_alone(lane, saver, thread):
    graph = chain("a").compile(saver)
    other = {"configurable": {"thread_id": "2"}}
    for config in (thread, other):
        lane.invoke(graph, {"x": 1}, config)
    lane.invoke(graph, None, lane.history(graph, thread)[1].config)
    assert len(lane.history(graph, other)) == 3
    foreign = at(other, checkpoint_id=checkpoint_id(lane.state(graph, thread)))
    with pytest.raises(LookupError):
        lane.state(graph, foreign)


def test_an_entrypoint_goes_on_from_what_it_had_saved_then(lane, saver, thread):
    @entrypoint(checkpointer=saver)
    def add(n: int, previous: int | None) -> int:
        return n + (previous or 0)

    points = []
    for n in (1, 10, 100):
        lane.invoke(add, n, thread)
        points.append(lane.state(add, thread))
    assert [p.values for p in points] == [1, 11, 111]
    assert lane.invoke(add, 5, points[0].config) == 6
    assert lane.invoke(add, 5, thread) == 11
    assert [lane.state(add, p.config).values for p in points] == [1, 11, 111]
