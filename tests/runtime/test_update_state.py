"""Changing a thread from outside: `update_state` and `bulk_update_state`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.programs import Boom, Config, State, Switch, after, chain, checkpoint_id, fan, noted, recorded, shape
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import InvalidUpdateError
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.types import Command, Send, StateUpdate, interrupt


def bulk(lane: Any, graph: Any, *args: Any) -> Any:
    return lane.call(graph, "bulk_update_state", *args)


def test_an_update_is_a_checkpoint_of_its_own(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    before = lane.state(graph, thread)
    config = lane.update(graph, thread, {"x": 5, "log": ["me"]}, "b")
    state = lane.state(graph, thread)
    assert state.config == config
    assert (state.values, state.next) == ({"x": 5, "log": ["a", "b", "me"]}, ())
    assert (state.metadata["source"], state.metadata["step"]) == ("update", 3)
    assert state.parent_config == before.config


def test_the_edges_of_the_node_decide_what_is_due(lane, saver, thread):
    graph = chain("a", "b", "c").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"log": ["again"]}, "a")
    assert lane.state(graph, thread).next == ("b",)
    assert lane.invoke(graph, None, thread)["log"] == ["a", "b", "c", "again", "b", "c"]


def test_the_branches_of_the_node_see_the_update(lane, saver, thread):
    def where(state: State) -> str:
        return "big" if state["x"] > 10 else "small"

    build = fan("start")
    build.add_node("big", noted("big")).add_node("small", noted("small"))
    graph = build.add_conditional_edges("start", where, ["big", "small"]).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"x": 100}, "start")
    assert lane.invoke(graph, None, thread) == {"x": 100, "log": ["start", "small", "big"]}


def test_an_update_may_be_a_command_with_packets(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.update(graph, thread, Command(update={"x": 3}, goto=Send("b", {})), "a")
    assert lane.state(graph, thread).next == ("b", "b")
    assert lane.invoke(graph, None, thread) == {"x": 3, "log": ["b", "b"]}


# ---------------------------------------------------------------------- as_node


def test_on_a_new_thread_an_update_is_the_input(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.update(graph, thread, {"x": 7})
    assert lane.state(graph, thread).next == ("a",)
    assert lane.invoke(graph, None, thread) == {"x": 7, "log": ["a", "b"]}


def test_before_its_only_node_has_run_an_update_counts_as_input(lane, saver, thread):
    graph = chain("a").compile(saver)
    lane.update(graph, thread, {"x": 7})
    assert (lane.state(graph, thread).values, lane.state(graph, thread).next) == ({"x": 7, "log": []}, ("a",))
    lane.invoke(graph, None, thread)
    lane.update(graph, thread, {"x": 8})
    assert lane.state(graph, thread).next == ()


def test_the_last_writer_is_meant_when_none_is_named(lane, saver, thread):
    graph = chain("a", "b", "c").compile(saver, interrupt_before=["c"])
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"x": 9})
    assert lane.state(graph, thread).next == ("c",)
    assert lane.invoke(graph, None, thread) == {"x": 9, "log": ["a", "b", "c"]}


def test_the_writer_is_remembered_over_updates(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"x": 2}, "a")
    lane.update(graph, thread, {"x": 3})
    assert (lane.state(graph, thread).values["x"], lane.state(graph, thread).next) == (3, ("b",))


def test_two_writers_in_one_superstep_have_to_be_told_apart(lane, saver, thread):
    graph = fan("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    with pytest.raises(InvalidUpdateError, match=r"Ambiguous update, specify as_node.*a, b"):
        lane.update(graph, thread, {"x": 2})
    lane.update(graph, thread, {"x": 2}, "a")
    assert lane.state(graph, thread).values["x"] == 2


def test_end_clears_what_is_due(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["b"])
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, None, END)
    state = lane.state(graph, thread)
    assert (state.next, state.values, state.metadata["status"]) == ((), {"x": 1, "log": ["a"]}, "done")
    assert lane.invoke(graph, None, thread) == {"x": 1, "log": ["a"]}


def test_input_acts_as_a_new_input(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"x": 2}, "__input__")
    state = lane.state(graph, thread)
    assert (state.next, state.metadata["source"]) == (("__start__",), "input")
    assert lane.invoke(graph, None, thread) == {"x": 2, "log": ["a", "b", "a", "b"]}


def test_copy_clones_a_checkpoint_beside_itself(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    original = lane.history(graph, thread)[1]
    config = lane.update(graph, original.config, None, "__copy__")
    clone = lane.state(graph, config)
    assert clone.config != original.config
    assert (clone.values, clone.next, clone.metadata["source"]) == (original.values, ("b",), "fork")
    assert clone.parent_config == original.parent_config
    assert lane.invoke(graph, None, thread)["log"] == ["a", "b"]


def test_copy_may_update_the_clone(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, [({"x": 50}, "a")], "__copy__")
    state = lane.state(graph, thread)
    assert (state.values["x"], state.next) == (50, ("b",))


def test_no_values_mark_a_node_as_done(lane, saver, thread):
    graph = chain("a", "b").compile(saver, interrupt_before=["a"])
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, None, "a")
    assert lane.state(graph, thread).next == ("b",)
    assert lane.invoke(graph, None, thread)["log"] == ["b"]


def test_a_waiting_question_is_settled_by_an_update_as_its_node(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    graph = chain(ask, "after").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"log": ["by hand"]}, "ask")
    assert lane.state(graph, thread).interrupts == ()
    assert lane.invoke(graph, None, thread)["log"] == ["by hand", "after"]


def test_a_question_can_be_answered_after_the_state_was_changed(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt("?"), state["x"]]}

    graph = chain("a", ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"x": 5})
    state = lane.state(graph, thread)
    assert (state.next, [i.value for i in state.interrupts]) == (("ask",), ["?"])
    assert lane.invoke(graph, Command(resume="!"), thread) == {"x": 5, "log": ["a", "!", 5]}


@pytest.mark.parametrize("nodes", [[], ["a"]])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("question", "answered"),
    [
        (lambda x: {"approve": x}, True),
        (lambda x: f"Approve {x}?", False),
        (lambda x: {"approve": x} if x == 1 else {"really": x}, False),
        (lambda x: {"approve": x} if x == 1 else None, True),
    ],
)
def test_the_state_may_change_with_the_answer(lane, saver, thread, nodes, together, question, answered):
    def ask(state: State) -> State:
        asked = question(state["x"])
        return {"log": [interrupt(asked) if asked else "nothing to ask", state["x"]]}

    graph = chain(*nodes, ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    if not together:
        lane.update(graph, thread, {"x": 5})
    found = lane.invoke(graph, Command(resume="!", update={"x": 5} if together else None), thread)
    if not answered:
        assert [each.value for each in found["__interrupt__"]] == [question(5)]
        found = lane.invoke(graph, Command(resume="!"), thread)
    assert found == {"x": 5, "log": [*nodes, "!" if question(5) else "nothing to ask", 5]}


@pytest.mark.parametrize("question", [lambda x: "?", lambda x: {"approve": x}])
@pytest.mark.parametrize("where", ["command", "parent", "child"])
def test_the_state_around_or_in_a_nested_graph_may_change_with_the_answer(lane, saver, thread, where, question):
    def ask(state: State) -> State:
        return {"log": [interrupt(question(state["x"])), state["x"]]}

    graph = StateGraph(State).add_node("child", chain("a", ask).compile()).add_edge(START, "child").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    if where != "command":
        task = lane.state(graph, thread, subgraphs=True).tasks[0]
        lane.update(graph, thread if where == "parent" else task.state.config, {"x": 5})
    answer: Command[Any] = Command(resume="!", update={"x": 5} if where == "command" else None)
    assert lane.invoke(graph, answer, thread) == {"x": 5, "log": ["a", "!", 5]}


def test_calls_are_made_anew_on_a_state_that_changed_with_the_answer(lane, saver, thread):
    double = task(lambda x: x * 2)

    def ask(state: State) -> State:
        found = double(state["x"]).result()
        return {"log": [interrupt({"found": found}), found]}

    graph = chain(ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    assert lane.invoke(graph, Command(resume="!", update={"x": 5}), thread) == {"x": 5, "log": ["!", 10]}


def test_a_question_asked_again_after_an_update_replaces_the_former(lane, saver, thread):
    def ask(state: State) -> State:
        return {"log": [interrupt(state["x"])]}

    graph = chain(ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"x": 5})
    assert [each.value for each in lane.invoke(graph, None, thread)["__interrupt__"]] == [5]
    assert lane.invoke(graph, Command(resume="!"), thread) == {"x": 5, "log": ["!"]}


def test_finished_siblings_of_a_failed_node_are_kept_when_it_is_settled_by_an_update(lane, saver, thread):
    graph = fan("fine", noted("bad", after(recorded(saver), Switch())), then="end").compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    lane.update(graph, thread, {"log": ["by hand"]}, "bad")
    state = lane.state(graph, thread)
    assert (sorted(state.values["log"]), state.next) == (["by hand", "fine"], ("end",))
    results = {task.name: task.result for task in lane.history(graph, thread)[1].tasks}
    assert results == {"bad": {"log": ["by hand"]}, "fine": {"log": ["fine"]}}


def test_an_update_replaces_what_an_entrypoint_returned_and_saved(lane, saver, thread):
    @entrypoint(checkpointer=saver)
    def add(n: int, previous: int | None) -> int:
        return n + (previous or 0)

    assert lane.invoke(add, 1, thread) == 1
    lane.update(add, thread, 100)
    assert lane.state(add, thread).values == 100
    assert lane.invoke(add, 5, thread) == 105


# ---------------------------------------------------------------------- several supersteps


def test_each_list_of_updates_is_one_superstep(lane, saver, thread):
    graph = fan("a", "b", then="c").compile(saver)
    steps = [
        [StateUpdate({"x": 1}, START)],
        [StateUpdate({"log": ["one"]}, "a"), StateUpdate({"log": ["two"]}, "b")],
    ]
    config = bulk(lane, graph, thread, steps)
    history = lane.history(graph, thread)
    assert history[0].config == config
    assert shape(history) == [("update", 1, ("c",)), ("update", 0, ("a", "b"))]
    assert history[0].values == {"x": 1, "log": ["one", "two"]}
    assert lane.invoke(graph, None, thread)["log"] == ["one", "two", "c"]


def test_a_history_can_be_written_from_an_input_on(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    bulk(lane, graph, thread, [[StateUpdate({"x": 1}, "__input__")], [StateUpdate({"x": 1}, START)]])
    assert shape(lane.history(graph, thread)) == [("update", 0, ("a",)), ("input", -1, ("__start__",))]


@pytest.mark.parametrize(
    ("supersteps", "message"),
    [
        ([], "No supersteps provided"),
        ([[]], "No updates provided"),
        ([[StateUpdate({"x": 1}), StateUpdate({"x": 2}, "b")]], "as_node is required"),
        ([[StateUpdate({"x": 1}, "__input__"), StateUpdate({"x": 2}, "b")]], "__input__"),
        ([[StateUpdate({"x": 2}, "b"), StateUpdate({"x": 1}, "__input__")]], "__input__"),
        ([[StateUpdate(None, "__copy__"), StateUpdate({"x": 2}, "b")]], "__copy__"),
        ([[StateUpdate(None, END), StateUpdate({"x": 2}, "b")]], "__end__"),
    ],
)
def test_supersteps_that_cannot_be_meant_are_refused(lane, thread, supersteps, message):
    saver = InMemorySaver()
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    before = lane.history(graph, thread)
    with pytest.raises(InvalidUpdateError, match=message):
        bulk(lane, graph, thread, supersteps)
    assert lane.history(graph, thread) == before


@pytest.mark.parametrize(
    ("values", "as_node", "message"),
    [
        ({"x": 1}, "bb", "'bb' does not exist.*Did you mean 'b'"),
        ({"lug": []}, "a", "'lug'.*Did you mean 'log'"),
        ({"lug": []}, "__input__", "'lug'.*Did you mean 'log'"),
        (5, "a", "5"),
        (5, "__input__", "5"),
        ({"x": 1}, END, "END takes no values"),
        (Command(goto="nowhere"), "a", "nowhere"),
    ],
)
def test_an_update_that_cannot_be_written_changes_nothing(lane, thread, values, as_node, message):  # W16
    saver = InMemorySaver()
    graph = chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    before = lane.state(graph, thread)
    with pytest.raises(InvalidUpdateError, match=message):
        lane.update(graph, thread, values, as_node)
    assert lane.state(graph, thread) == before
    lane.update(graph, thread, {"x": 2}, "b")
    assert lane.state(graph, thread).values["x"] == 2


def test_a_path_function_that_fails_fails_the_update_only(lane, saver, thread):
    broken = Switch(on=False)

    def where(state: State) -> str:
        broken()
        return END

    graph = fan("a").add_conditional_edges("a", where, [END]).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    broken.on = True
    with pytest.raises(Boom):
        lane.update(graph, thread, {"x": 2}, "a")
    assert lane.state(graph, thread).values["x"] == 1


def test_a_state_that_is_one_value_is_updated_as_such(lane, saver, thread):
    graph = StateGraph(int).add_node("inc", lambda n: n + 1).add_edge(START, "inc").compile(saver)
    assert lane.invoke(graph, 4, thread) == 5
    lane.update(graph, thread, 40)
    assert lane.state(graph, thread).values == 40


def test_an_update_inside_a_run_changes_another_thread(saver, thread):
    inner = chain("i").compile(saver)
    other: Config = {"configurable": {"thread_id": "other"}}

    @task
    def send(text: str) -> None:
        inner.update_state(other, {"log": [text]})

    @entrypoint(checkpointer=saver)
    def flow(text: str) -> str:
        send(text).result()
        return "sent"

    assert flow.invoke("hello", thread) == "sent"
    assert inner.get_state(other).values["log"] == ["hello"]


def test_updates_keep_their_place_in_the_lineage(lane, saver, thread):
    graph = chain("a", "b").compile(saver)
    ids = [lane.update(graph, thread, {"x": n}, "b")["configurable"]["checkpoint_id"] for n in range(5)]
    assert [checkpoint_id(s) for s in lane.history(graph, thread)] == ids[::-1]
    assert [s.values["x"] for s in lane.history(graph, thread)] == [4, 3, 2, 1, 0]
