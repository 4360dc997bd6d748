"""Going back inside nested runs, and what nested graphs remember on a branch of the thread."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane
from tests.runtime.programs import at, checkpoint_id, recorded, shape
from twinstep.errors import CheckpointNotFoundError, InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.types import Command, Send, StateUpdate, interrupt


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], operator.add]


ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def noting(name: str) -> Any:
    def node(state: State) -> State:
        ran.append(name)
        return {"log": [f"{name}{state.get('x')}"]}

    return node


def row(*nodes: tuple[str, Any], **options: Any) -> Any:
    """Return a graph of nodes that run one after the other."""
    return StateGraph(State).add_sequence(list(nodes)).add_edge(START, nodes[0][0]).compile(**options)


def child(**options: Any) -> Any:
    return row(*[(name, noting(name)) for name in ("one", "two", "three")], **options)


def calling(graph: Any, way: str, saver: Any) -> Any:
    """Return a program that runs a graph between two steps: as a node, in a node, in an entrypoint, in a task."""
    before, after = noting("before"), noting("after")

    if way == "node":
        return row(("before", before), ("sub", graph), ("after", after), checkpointer=saver)

    def sub(state: State) -> State:
        done = graph.invoke({"x": state["x"], "log": []})
        return {"log": done["log"], "x": done["x"]}

    if way == "call":
        return row(("before", before), ("sub", sub), ("after", after), checkpointer=saver)
    if way == "deep":
        middle = row(("inner", sub))
        return row(("before", before), ("sub", middle), ("after", after), checkpointer=saver)

    def flow(state: Any) -> Any:
        log = before(state)["log"]
        done = piece(state).result() if way == "task" else sub(state)
        return {"x": done["x"], "log": [*log, *done["log"], *after({"x": done["x"]})["log"]]}

    piece = task(sub, name="piece")
    return entrypoint(checkpointer=saver)(flow)


WAYS = ["node", "call", "deep", "entrypoint", "task"]
FULL = ["before1", "one1", "two1", "three1", "after1"]


def spaces(saver: Any) -> list[str]:
    """Return the innermost namespaces of the thread, in the order in which they came to be."""
    found = [ns for id, names in saver.threads() for ns in names if id == "1"]
    leaves = [ns for ns in found if ns and not any(other.startswith(f"{ns}|") for other in found)]
    return sorted(leaves, key=lambda ns: saver.checkpoints("1", ns)[-1].id)


def inside(lane: Lane, program: Any, saver: Any, thread: Any) -> list[Any]:
    """Return the history of the run that is nested deepest and came last."""
    return lane.history(program, at(thread, checkpoint_ns=spaces(saver)[-1]))


@pytest.mark.parametrize("durability", ["async", "exit"])
@pytest.mark.parametrize("way", WAYS)
def test_a_nested_run_is_run_again_from_any_of_its_checkpoints(lane, saver, thread, way, durability):
    program = calling(child(), way, saver)
    assert lane.invoke(program, {"x": 1, "log": []}, thread)["log"] == FULL
    history = lane.history(program, at(thread, checkpoint_ns=spaces(saver)[-1]))
    again = {("three",): ["three"], ("two",): ["two", "three"], (): [], ("one",): ["one", "two", "three"]}
    for snapshot in history[:-1]:
        ran.clear()
        result = lane.invoke(program, None, snapshot.config, durability=durability)
        assert result["log"] == FULL, snapshot.next
        caller = ["before"] if way in ("entrypoint", "task") else []
        assert ran == [*caller, *again[snapshot.next], "after"]
    assert lane.state(program, thread).values["log"] == FULL
    assert lane.invoke(program, {"x": 2, "log": []}, thread)["log"][-4:] == ["one2", "two2", "three2", "after2"]


@pytest.mark.parametrize("way", WAYS)
def test_an_edited_past_of_a_nested_run_leads_to_another_end(lane, saver, thread, way):
    program = calling(child(), way, saver)
    lane.invoke(program, {"x": 1, "log": []}, thread)
    past = next(s for s in inside(lane, program, saver, thread) if s.next == ("three",))
    edited = lane.update(program, past.config, {"x": 5}, "two")
    ran.clear()
    result = lane.invoke(program, None, edited)
    assert result["log"] == ["before1", "one1", "two1", "three5", "after5"]
    assert lane.state(program, past.config).values["x"] == 1
    branch = inside(lane, program, saver, thread)
    assert shape(branch)[-1][0] == "fork"
    assert lane.invoke(program, None, branch[1].config)["log"] == result["log"]  # a fork of a fork


@pytest.mark.parametrize("way", WAYS)
def test_a_branch_of_a_nested_run_survives_a_stop(lane, saver, thread, way):
    """The nested run asks after it was gone back to: its caller reads back what it had written before that."""
    asks = row(("one", noting("one")), ("ask", lambda s: {"log": [interrupt("?", key="q")]}), ("two", noting("two")))
    program = calling(asks, way, saver)
    lane.invoke(program, {"x": 1, "log": []}, thread)
    lane.invoke(program, Command(resume="first"), thread)
    past = next(s for s in inside(lane, program, saver, thread) if s.next == ("ask",))
    ran.clear()
    assert lane.invoke(program, None, past.config)["__interrupt__"][0].value == "?"
    assert "one" not in ran
    result = lane.invoke(program, Command(resume="second"), thread)
    assert result["log"] == ["before1", "one1", "second", "two1", "after1"]


def test_an_answer_may_be_given_where_one_goes_back_to(lane, saver, thread):
    asks = row(("one", noting("one")), ("ask", lambda s: {"log": [interrupt("?", key="q")]}))
    program = calling(asks, "node", saver)
    lane.invoke(program, {"x": 1, "log": []}, thread)
    lane.invoke(program, Command(resume="first"), thread)
    past = next(s for s in inside(lane, program, saver, thread) if s.next == ("ask",))
    ran.clear()
    assert lane.invoke(program, Command(resume="second"), past.config)["log"] == ["before1", "one1", "second", "after1"]
    assert ran == ["after"]


def test_the_head_of_a_nested_run_that_waits_is_no_branch(lane, saver, thread):
    asks = row(("one", noting("one")), ("ask", lambda s: {"log": [interrupt("?", key="q")]}))
    program = calling(asks, "node", saver)
    lane.invoke(program, {"x": 1, "log": []}, thread)
    head = lane.state(program, thread, subgraphs=True).tasks[0].state
    before = len(lane.history(program, thread))
    assert lane.invoke(program, Command(resume="yes"), head.config)["log"][-2:] == ["yes", "after1"]
    assert [s for s, _, _ in shape(lane.history(program, thread))].count("fork") == 0
    assert len(lane.history(program, thread)) == before + 2


def test_of_parallel_nested_runs_only_one_starts_in_the_middle(lane, saver, thread):
    build = StateGraph(State).add_node("sub", child()).add_edge("sub", END)
    build.add_conditional_edges(START, lambda s: [Send("sub", {"x": n, "log": []}) for n in (1, 2)], ["sub"])
    graph = build.compile(saver)
    lane.invoke(graph, {"x": 0, "log": []}, thread)
    two = next(ns for ns in spaces(saver) if lane.state(graph, at(thread, checkpoint_ns=ns)).values["x"] == 2)
    past = next(s for s in lane.history(graph, at(thread, checkpoint_ns=two)) if s.next == ("three",))
    ran.clear()
    log = lane.invoke(graph, None, past.config)["log"]
    assert log == ["one1", "two1", "three1", "one2", "two2", "three2"]
    assert sorted(ran) == ["one", "three", "three", "two"]


def test_unknown_checkpoints_and_new_inputs_are_refused(lane, saver, thread):  # W26
    program = calling(child(), "node", saver)
    lane.invoke(program, {"x": 1, "log": []}, thread)
    ns = spaces(saver)[-1]
    with pytest.raises(CheckpointNotFoundError):
        lane.invoke(program, None, at(thread, checkpoint_ns=ns, checkpoint_id="nonsense"))
    past = inside(lane, program, saver, thread)[1]
    with pytest.raises(InvalidConfigError, match="new input"):
        lane.invoke(program, {"x": 2, "log": []}, past.config)


def test_several_supersteps_of_updates_inside_a_nested_run(lane, saver, thread):
    asks = row(("one", noting("one")), ("ask", lambda s: {"log": [interrupt("?", key="q")]}), ("two", noting("two")))
    program = calling(asks, "node", saver)
    lane.invoke(program, {"x": 1, "log": []}, thread)
    past = inside(lane, program, saver, thread)[-2]
    assert past.next == ("one",)
    steps = [[StateUpdate({"x": 7}, "one")], [StateUpdate({"log": ["by hand"]}, "ask")]]
    edited = lane.call(program, "bulk_update_state", past.config, steps)
    ran.clear()
    assert lane.invoke(program, None, edited)["log"] == ["before1", "by hand", "two7", "after7"]


# ---------------------------------------------------------------------- graphs that remember


class Memory(TypedDict, total=False):
    n: int
    mem: Annotated[list[int], operator.add]


class Turn(TypedDict, total=False):
    n: int
    left: int
    seen: Any


def remembering(saver: Any, way: str = "call") -> Any:
    """Return a program that calls a graph which remembers, once for each of the `left` rounds."""
    memory = StateGraph(Memory).add_node("note", lambda s: {"mem": [s["n"]]}).add_edge(START, "note")
    graph = memory.compile(checkpointer=True)

    def call(state: Turn) -> Turn:
        return {"seen": graph.invoke({"n": state["n"]})["mem"], "n": state["n"] + 1, "left": state["left"] - 1}

    if way == "call":
        build = StateGraph(Turn).add_node("call", call).add_edge(START, "call")
    else:
        inner = StateGraph(Turn).add_node("inner", call).add_edge(START, "inner").compile()
        build = StateGraph(Turn).add_node("call", inner).add_edge(START, "call")
    return build.add_conditional_edges("call", lambda s: "call" if s["left"] else END).compile(saver)


@pytest.mark.parametrize("durability", ["sync", "exit"])
@pytest.mark.parametrize("way", ["call", "deep"])
def test_a_graph_that_remembers_may_be_called_in_a_loop(lane, saver, thread, way, durability):
    program = remembering(saver, way)
    assert lane.invoke(program, {"n": 1, "left": 3}, thread, durability=durability)["seen"] == [1, 2, 3]
    assert lane.invoke(program, {"n": 1, "left": 2}, thread, durability=durability)["seen"] == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("way", ["call", "deep"])
def test_a_branch_of_the_thread_sees_what_was_remembered_then(lane, saver, thread, way):
    program = remembering(saver, way)
    for n in (10, 20, 30):
        lane.invoke(program, {"n": n, "left": 2}, thread)
    ends = {s.values["n"]: s for s in lane.history(program, thread) if not s.next and s.values}
    assert sorted(ends) == [12, 22, 32]
    assert lane.invoke(program, {"n": 90, "left": 1}, ends[12].config)["seen"] == [10, 11, 90]
    assert lane.invoke(program, {"n": 91, "left": 1}, thread)["seen"] == [10, 11, 90, 91]
    assert lane.invoke(program, {"n": 92, "left": 1}, ends[32].config)["seen"] == [10, 11, 20, 21, 30, 31, 92]
    first = lane.history(program, thread)[-1]
    assert lane.invoke(program, {"n": 93, "left": 1}, first.config)["seen"] == [93]


def test_a_fork_in_the_middle_of_a_run_sees_what_was_remembered_then(lane, saver, thread):
    program = remembering(saver)
    lane.invoke(program, {"n": 1, "left": 4}, thread)
    for snapshot in lane.history(program, thread):
        if snapshot.next == ("call",):
            assert lane.invoke(program, None, snapshot.config)["seen"] == [1, 2, 3, 4]


def test_what_a_failed_superstep_remembered_is_dropped_with_it(lane, saver, thread):
    broken = [True]
    memory = StateGraph(Memory).add_node("note", lambda s: {"mem": [s["n"]]}).add_edge(START, "note")
    graph = memory.compile(checkpointer=True)

    def call(state: Turn) -> Turn:
        seen = graph.invoke({"n": state["n"]})["mem"]
        if broken[0]:
            raise ConnectionError
        return {"seen": seen}

    program = StateGraph(Turn).add_node("call", call).add_edge(START, "call").compile(saver)
    with pytest.raises(ConnectionError):
        lane.invoke(program, {"n": 1}, thread)
    broken[0] = False
    assert lane.invoke(program, None, thread)["seen"] == [1]  # resumed: it goes on with what was remembered
    broken[0] = True
    with pytest.raises(ConnectionError):
        lane.invoke(program, {"n": 2}, thread)
    broken[0] = False
    assert lane.invoke(program, {"n": 3}, thread)["seen"] == [1, 3]


@pytest.mark.parametrize("way", ["call", "deep", "task"])
def test_what_a_caller_remembered_counts_although_only_its_outcome_is_resumed(lane, saver, thread, way):
    """The caller of the graph has ended when its sibling fails; on resume, the graph is not called again."""
    broken = [True]
    memory = StateGraph(Memory).add_node("note", lambda s: {"mem": [s["n"]]}).add_edge(START, "note")
    graph = memory.compile(checkpointer=True)

    def call(state: Any) -> Any:
        return {"seen": graph.invoke({"n": state["n"]})["mem"]}

    middle = StateGraph(Turn).add_node("inner", call).add_edge(START, "inner").compile()
    piece = task(call, name="piece")
    nodes: dict[str, Any] = {"call": call, "deep": middle, "task": lambda s: piece(s).result()}

    def other(state: Turn) -> None:
        recorded(saver)()
        if broken[0]:
            raise ConnectionError

    build = StateGraph(Turn).add_node("call", nodes[way]).add_node("other", other)
    program = build.add_edge(START, "call").add_edge(START, "other").compile(saver)
    with pytest.raises(ConnectionError):
        lane.invoke(program, {"n": 1}, thread)
    broken[0] = False
    assert lane.invoke(program, None, thread)["seen"] == [1]
    assert lane.invoke(program, {"n": 2}, thread)["seen"] == [1, 2]


def test_what_a_graph_remembers_may_be_edited(lane, saver, thread):
    program = remembering(saver)
    lane.invoke(program, {"n": 1, "left": 2}, thread)
    lane.update(program, at(thread, checkpoint_ns="call"), {"mem": [99]})
    assert lane.invoke(program, {"n": 5, "left": 2}, thread)["seen"] == [1, 2, 99, 5, 6]
    assert lane.invoke(program, {"n": 7, "left": 1}, thread)["seen"] == [1, 2, 99, 5, 6, 7]
    memories = lane.history(program, at(thread, checkpoint_ns="call"))
    second = next(s for s in memories if s.values.get("mem") == [1, 2])
    lane.update(program, second.config, {"mem": [-1]})
    assert lane.invoke(program, {"n": 8, "left": 1}, thread)["seen"] == [1, 2, -1, 8]


def test_a_copy_and_a_pruned_thread_remember(lane, saver, thread):
    program = remembering(saver)
    lane.invoke(program, {"n": 1, "left": 2}, thread)
    saver.copy_thread("1", "copy")
    saver.prune(["1"])
    other = {"configurable": {"thread_id": "copy"}}
    assert lane.invoke(program, {"n": 5, "left": 1}, thread)["seen"] == [1, 2, 5]
    assert lane.invoke(program, {"n": 6, "left": 1}, other)["seen"] == [1, 2, 6]


def test_history_is_read_lazily(saver, thread):
    program = remembering(saver)
    for _ in range(3):
        program.invoke({"n": 1, "left": 1}, thread)
    loads: list[Any] = []
    plain = saver.load

    def counted(*args: Any, **options: Any) -> Any:
        loads.append(args)
        return plain(*args, **options)

    saver.load = counted
    history = program.get_state_history(thread)
    newest = next(history)
    assert len(loads) <= 2
    assert checkpoint_id(newest) == checkpoint_id(program.get_state(thread))
