"""Code that has changed since a thread was stored: what is missing is named, what was renamed found, the rest goes on.

Cases 1 to 14 are changes between a question and its answer.
"""

from __future__ import annotations

import operator
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.cli import check_threads
from twinstep.errors import NonDeterminismError, ProgramChangedError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.types import Command, Send, interrupt


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], operator.add]


ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def noting(name: str) -> Callable[[Any], Any]:
    def node(state: Any) -> Any:
        ran.append(name)
        return {"log": [name]}

    return node


def ask(state: Any) -> Any:
    ran.append("ask")
    return {"log": [interrupt("go on?", key="q")]}


def graph_of(schema: Any, *edges: tuple[Any, str], nodes: dict[str, Any]) -> Any:
    build = StateGraph(schema)
    for name, node in nodes.items():
        build.add_node(name, node)
    for start, end in edges:
        build.add_edge(start, end)
    return build


def review(*, middle: str = "ask", schema: Any = State, extra: dict[str, Any] | None = None) -> Any:
    """Return a graph that prepares, asks and finishes; the asking node has a parallel one."""
    nodes = {"prepare": noting("prepare"), middle: ask, "beside": noting("beside"), "finish": noting("finish")}
    edges = [(START, "prepare"), ("prepare", middle), ("prepare", "beside"), ([middle, "beside"], "finish")]
    return graph_of(schema, *edges, nodes={**nodes, **(extra or {})})


FIRST: Any = {"x": 1, "log": []}
YES: Any = Command(resume="yes")


def stopped(lane: Lane, program: Any, saver: Any, thread: Any, input: Any = FIRST) -> None:
    """Run the old version up to its question."""
    compiled = program.compile(saver) if isinstance(program, StateGraph) else program
    assert "__interrupt__" in lane.invoke(compiled, input, thread)
    ran.clear()


def test_1_a_node_that_waits_was_renamed(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    with pytest.raises(ProgramChangedError, match=r"lacks.*node 'ask'.*renamed=") as caught:
        lane.invoke(review(middle="review").compile(saver), YES, thread)
    assert caught.value.missing == ("ask",)
    assert ran == []
    new = review(middle="review").compile(saver, renamed={"ask": "review"})
    assert lane.state(new, thread).next == ("review",)
    assert lane.state(new, thread).interrupts[0].value == "go on?"
    assert lane.invoke(new, YES, thread)["log"] == ["prepare", "beside", "yes", "finish"]
    assert ran == ["ask", "finish"], "what was on record has run again"
    plain = review(middle="review").compile(saver)
    assert lane.state(plain, thread).values["log"][-1] == "finish"  # the thread has the new names now
    assert "__interrupt__" in lane.invoke(plain, {"x": 2}, thread)


def test_2_a_node_that_waits_was_removed(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    nodes = {name: noting(name) for name in ("prepare", "beside", "finish")}
    edges = [(START, "prepare"), ("prepare", "beside")]
    shorter = graph_of(State, *edges, (["beside"], "finish"), nodes=nodes)
    with pytest.raises(ProgramChangedError) as caught:
        lane.invoke(shorter.compile(saver), None, thread)
    assert "ask" in caught.value.missing
    assert ran == []
    log = lane.invoke(shorter.compile(saver, renamed={"ask": None}), None, thread)["log"]
    assert log == ["prepare", "beside", "finish"]


def test_2_the_edges_of_a_finished_node_were_changed(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    nodes = {"prepare": noting("prepare"), "ask": ask, "beside": noting("beside"), "finish": noting("finish")}
    edges = [(START, "prepare"), ("prepare", "beside"), ("prepare", "ask"), ("beside", "finish")]
    with pytest.raises(ProgramChangedError, match="what 'beside' has written"):
        lane.invoke(graph_of(State, *edges, nodes=nodes).compile(saver), YES, thread)
    assert "finish" not in ran


class Shorter(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


class Renamed(TypedDict, total=False):
    y: int
    log: Annotated[list[Any], operator.add]


def test_3_a_state_key_was_removed(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    with pytest.raises(ProgramChangedError, match="state key 'x'") as caught:
        lane.invoke(review(schema=Shorter).compile(saver), YES, thread)
    assert caught.value.missing == ("x",)
    assert ran == []
    dropped = review(schema=Shorter).compile(saver, renamed={"x": None})
    assert lane.invoke(dropped, YES, thread) == {"log": ["prepare", "yes", "beside", "finish"]}
    assert lane.state(review(schema=Shorter).compile(saver), thread).values["log"][0] == "prepare"


def test_4_a_state_key_was_renamed(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    new = review(schema=Renamed)
    with pytest.raises(ProgramChangedError, match="state key 'x'"):
        lane.invoke(new.compile(saver), YES, thread)
    carried = new.compile(saver, renamed={"x": "y"})
    assert lane.state(carried, thread).values["y"] == 1
    assert lane.invoke(carried, YES, thread) == {"y": 1, "log": ["prepare", "yes", "beside", "finish"]}
    assert [s.values.get("y") for s in lane.history(carried, thread)][:3] == [1, 1, 1]
    assert lane.state(new.compile(saver), thread).values["y"] == 1
    assert lane.invoke(new.compile(saver, renamed={"x": "y"}), {"y": 5}, {**thread, "tags": []})["y"] == 5


def flow_of(saver: Any, name: str, **options: Any) -> Any:
    """Return an entrypoint with a task of this name, which calls another one and asks."""

    @task
    def inner(x: int) -> int:
        ran.append("inner")
        return x

    def work(x: int) -> Any:
        return [inner(x).result(), interrupt("in the task?")] if x == 2 else ran.append("work")

    named = task(work, name=name)

    @entrypoint(checkpointer=saver, **options)
    def flow(x: int) -> Any:
        return [named(1).result(), named(2).result(), interrupt("go on?")]

    return flow


@pytest.mark.parametrize("where", ["in the task", "after it"])
def test_5_a_task_was_renamed(lane, saver, thread, where):
    stopped(lane, flow_of(saver, "work"), saver, thread, 1)
    if where == "after it":
        lane.invoke(flow_of(saver, "work"), Command(resume="a"), thread)
        ran.clear()
    new = flow_of(saver, "job", renamed={"work": "job"})
    answers = iter("ab" if where == "in the task" else "b")
    result: Any = {"__interrupt__": ()}
    while isinstance(result, dict):
        result = lane.invoke(new, Command(resume=next(answers)), thread)
    assert result == [None, [2, "a"], "b"]
    assert ran == [], "what was on record has run again"


def test_5_a_renamed_task_is_missing_without_the_mapping(lane, saver, thread):
    stopped(lane, flow_of(saver, "work"), saver, thread, 1)
    lane.invoke(flow_of(saver, "work"), Command(resume="a"), thread)
    unaware = flow_of(saver, "job")
    assert lane.invoke(unaware, Command(resume="b"), thread)["__interrupt__"][0].value == "in the task?"


def calling(saver: Any, names: str, question: str = "go on?", key: str | None = "q", **options: Any) -> Any:
    """Return an entrypoint that calls tasks and asks."""
    tasks = {name: task(noting(name), name=name) for name in "ab"}

    @entrypoint(checkpointer=saver, **options)
    def flow(x: int) -> Any:
        done = [tasks[name](x).result() for name in names]
        return [len(done), interrupt(question, key=key) if question else "no question"]

    return flow


def test_6_a_task_on_record_was_removed(lane, saver, thread):
    stopped(lane, calling(saver, "ab"), saver, thread, 1)
    with pytest.raises(ProgramChangedError) as caught:
        lane.invoke(calling(saver, "a"), YES, thread)
    assert caught.value.missing == ("b",)
    assert lane.invoke(calling(saver, "a", renamed={"b": None}), None, thread) == [1, "yes"]
    assert ran == []


def test_7_an_answered_question_was_removed(lane, saver, thread):
    stopped(lane, calling(saver, "a"), saver, thread, 1)
    with pytest.raises(NonDeterminismError, match="go on"):
        lane.invoke(calling(saver, "a", question=""), YES, thread)
    assert lane.invoke(calling(saver, "a"), None, thread) == [1, "yes"]
    assert ran == []


@pytest.mark.parametrize("key", [None, "q"])
def test_8_an_answered_question_was_reworded(lane, saver, thread, key):
    stopped(lane, calling(saver, "a", key=key), saver, thread, 1)
    reworded = calling(saver, "a", question="shall I?", key=key)
    if key is None:
        with pytest.raises(NonDeterminismError, match="go on"):
            lane.invoke(reworded, YES, thread)
    else:
        assert lane.invoke(reworded, YES, thread) == [1, "yes"]


def test_9_nodes_were_added(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    build = review(extra={"more": noting("more")})
    build.add_edge("finish", "more")
    assert lane.invoke(build.compile(saver), YES, thread)["log"] == ["prepare", "yes", "beside", "finish", "more"]


class Longer(State, total=False):
    note: str


def test_10_state_keys_were_added(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    build = review(schema=Longer)
    assert lane.invoke(build.compile(saver), YES, thread)["log"] == ["prepare", "yes", "beside", "finish"]
    assert lane.invoke(build.compile(saver), {"note": "new"}, {"configurable": {"thread_id": "2"}})["note"] == "new"


def test_11_what_follows_was_changed(lane, saver, thread):
    def before() -> Any:
        return graph_of(State, (START, "ask"), ("ask", "a"), nodes={"ask": ask, "a": noting("a"), "b": noting("b")})

    stopped(lane, before(), saver, thread)
    edges = [(START, "ask"), ("ask", "b")]
    after = graph_of(State, *edges, nodes={"ask": ask, "a": noting("a"), "b": noting("b")})
    assert lane.invoke(after.compile(saver), YES, thread)["log"] == ["yes", "b"]


def sending(name: str) -> Any:
    build = graph_of(State, (START, "plan"), nodes={"plan": lambda s: {}, name: ask})
    return build.add_conditional_edges("plan", lambda s: [Send(name, {"n": n}) for n in range(2)], [name])


def test_12_the_target_of_packets_was_renamed(lane, saver, thread):
    stopped(lane, sending("piece"), saver, thread)
    with pytest.raises(ProgramChangedError) as caught:
        lane.invoke(sending("part").compile(saver), None, thread)
    assert caught.value.missing == ("piece",)
    new = sending("part").compile(saver, renamed={"piece": "part"})
    state = lane.state(new, thread)
    assert state.next == ("part", "part")
    answers = {question.id: n for n, question in enumerate(state.interrupts)}
    assert lane.invoke(new, Command(resume=answers), thread)["log"] == [0, 1]


def nested(saver: Any, outer: str, inner: str, **options: Any) -> Any:
    child = graph_of(State, (START, "one"), ("one", inner), nodes={"one": noting("one"), inner: ask})
    build = graph_of(State, (START, outer), nodes={outer: child.compile(**options.pop("child", {}))})
    return build.compile(saver, **options)


def test_13_a_node_of_a_nested_graph_was_renamed(lane, saver, thread):
    stopped(lane, nested(saver, "child", "ask"), saver, thread)
    with pytest.raises(ProgramChangedError) as caught:
        lane.invoke(nested(saver, "child", "question"), YES, thread)
    assert caught.value.missing == ("ask",)
    new = nested(saver, "child", "question", child={"renamed": {"ask": "question"}})
    assert lane.invoke(new, None, thread)["log"] == ["one", "yes"]  # the answer was on record
    assert ran == ["ask"]


def test_13_the_node_of_a_nested_graph_was_renamed(lane, saver, thread):
    stopped(lane, nested(saver, "child", "ask"), saver, thread)
    new = nested(saver, "sub", "ask", renamed={"child": "sub"})
    assert lane.invoke(new, YES, thread)["log"] == ["one", "yes"]
    assert ran == ["ask"]


def test_14_a_join_that_waits_was_changed(lane, saver, thread):
    nodes = {"a": noting("a"), "b": noting("b"), "ask": ask, "end": noting("end")}
    edges = [(START, "a"), ("a", "ask"), (["a", "ask"], "end")]
    stopped(lane, graph_of(State, *edges, nodes=nodes), saver, thread)
    edges[2] = (["a", "ask", "b"], "end")
    with pytest.raises(ProgramChangedError) as caught:
        lane.invoke(graph_of(State, *edges, nodes=nodes).compile(saver), YES, thread)
    assert caught.value.missing == ("end",)
    assert ran == []


# ---------------------------------------------------------------------- finished threads, new inputs


def test_a_new_input_drops_what_is_due_but_not_what_the_state_holds(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    other = graph_of(State, (START, "other"), nodes={"other": noting("other")})
    assert lane.invoke(other.compile(saver), {"x": 2}, thread) == {"x": 2, "log": ["prepare", "other"]}
    fewer = graph_of(Shorter, (START, "other"), nodes={"other": noting("other")})
    with pytest.raises(ProgramChangedError, match="state key 'x'"):
        lane.invoke(fewer.compile(saver), {"log": []}, thread)


def test_an_update_from_outside_is_held_to_the_same(lane, saver, thread):
    stopped(lane, review(), saver, thread)
    with pytest.raises(ProgramChangedError, match="state key 'x'"):
        lane.update(review(schema=Shorter).compile(saver), thread, {"log": ["new"]}, "prepare")
    carried = review(schema=Renamed).compile(saver, renamed={"x": "y"})
    lane.update(carried, thread, {"y": 7}, "prepare")
    assert lane.state(review(schema=Renamed).compile(saver), thread).values == {"y": 7, "log": ["prepare", "beside"]}


def test_long_threads_keep_renamed_keys_over_joints_and_whole_checkpoints(lane, saver, thread):
    old = graph_of(State, (START, "a"), nodes={"a": noting("a")}).compile(saver)
    for n in range(3):
        lane.invoke(old, {"x": n}, thread)
    new = graph_of(Renamed, (START, "a"), nodes={"a": noting("a")}).compile(saver, renamed={"x": "y"})
    for n in range(70):
        lane.invoke(new, {"y": n}, thread)
    plain = graph_of(Renamed, (START, "a"), nodes={"a": noting("a")}).compile(saver)
    assert lane.state(plain, thread).values == {"y": 69, "log": ["a"] * 73}
    fork = lane.history(new, thread, limit=2)[1].config
    assert lane.invoke(new, None, fork)["y"] == 69


# ---------------------------------------------------------------------- versions and migrations


class Person(TypedDict, total=False):
    first: str
    last: str


class Whole(TypedDict, total=False):
    name: str


def split(values: dict[str, Any]) -> dict[str, Any]:
    first, _, last = values["name"].partition(" ")
    return {"first": first, "last": last}


def shout(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "last": values["last"].upper()}


def people(schema: Any, saver: Any, **options: Any) -> Any:
    return graph_of(schema, (START, "a"), nodes={"a": lambda s: {}}).compile(saver, **options)


def test_migrations_carry_a_thread_from_version_to_version(lane, saver, thread):
    lane.invoke(people(Whole, saver), {"name": "Ada Lovelace"}, thread)
    newest = people(Person, saver, version=2, migrations={0: split, 1: shout})
    assert lane.state(newest, thread).values == {"first": "Ada", "last": "LOVELACE"}
    assert lane.invoke(newest, {"first": "A."}, thread) == {"first": "A.", "last": "LOVELACE"}
    assert lane.state(newest, thread).values == {"first": "A.", "last": "LOVELACE"}  # not once more
    assert {s.values.get("last") for s in lane.history(newest, thread) if s.values} == {"LOVELACE"}


def test_a_version_without_migration_or_of_the_future_is_an_error(lane, saver, thread):
    lane.invoke(people(Whole, saver), {"name": "Ada Lovelace"}, thread)
    with pytest.raises(ProgramChangedError, match="no migration from version 1"):
        lane.invoke(people(Person, saver, version=2, migrations={0: split}), {}, thread)
    lane.invoke(people(Person, saver, version=1, migrations={0: split}), {"first": "A."}, thread)
    with pytest.raises(ProgramChangedError, match=r"has version 1 and .* has version 0"):
        lane.invoke(people(Whole, saver), {"name": "Bob"}, thread)


def test_the_saved_value_of_an_entrypoint_is_migrated(lane, saver, thread):
    def count(x: int, previous: Any = None) -> Any:
        return previous or {"n": x}

    lane.invoke(entrypoint(checkpointer=saver)(count), 1, thread)
    new = entrypoint(checkpointer=saver, version=1, migrations={0: lambda saved: {"count": saved["n"]}})(count)
    assert lane.invoke(new, 2, thread) == {"count": 1}
    assert lane.invoke(new, 2, thread) == {"count": 1}


def test_a_question_may_be_answered_after_a_migration(lane, saver, thread):
    stopped(lane, graph_of(State, (START, "ask"), nodes={"ask": ask}), saver, thread)
    new = graph_of(State, (START, "ask"), nodes={"ask": ask})
    compiled = new.compile(saver, version=1, migrations={0: lambda values: {**values, "x": 10 * values["x"]}})
    assert lane.invoke(compiled, YES, thread) == {"x": 10, "log": ["yes"]}


# ---------------------------------------------------------------------- all threads at once


def test_the_threads_that_need_attention_are_found(lane, saver, capsys):
    for id in ("done", "waiting"):
        stopped(lane, review(), saver, {"configurable": {"thread_id": id}})
    lane.invoke(review().compile(saver), YES, {"configurable": {"thread_id": "done"}})
    stopped(lane, nested(saver, "child", "ask"), saver, {"configurable": {"thread_id": "nested"}})
    assert next(iter(review().compile(saver).check_threads()))[0]["configurable"]["thread_id"] == "nested"
    found = {
        config["configurable"]["thread_id"]: error.missing
        for config, error in review(middle="review").compile(saver).check_threads()
    }
    assert found == {"waiting": ("ask",), "nested": ("child",)}
    assert check_threads(review(schema=Shorter).compile(saver), None) == 1
    assert "waiting: 'LangGraph' lacks" in capsys.readouterr().out


PROGRAM = """
from typing import TypedDict
from twinstep.graph import START, StateGraph
class State(TypedDict, total=False):
    {key}: int
graph = StateGraph(State).add_node("a", lambda state: {{}}).add_edge(START, "a").compile()
"""


def test_the_command_checks_a_file(tmp_path: Path):
    path = tmp_path / "threads.sqlite"
    scope: dict[str, Any] = {}
    exec(PROGRAM.format(key="x"), scope)
    with SqliteSaver(path) as saver:
        scope["graph"].copy({"checkpointer": saver}).invoke({"x": 1}, {"configurable": {"thread_id": "t"}})
    outcomes = []
    for key in "xy":
        (tmp_path / f"program_{key}.py").write_text(PROGRAM.format(key=key))
        command = [sys.executable, "-m", "twinstep.cli", "check", f"program_{key}:graph", str(path)]
        outcomes.append(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False))
    assert [(done.returncode, done.stderr) for done in outcomes] == [(0, ""), (1, "")]
    assert "all stored threads can go on" in outcomes[0].stdout
    assert "t: 'LangGraph' lacks" in outcomes[1].stdout


def test_a_reducer_that_cannot_take_the_stored_value_is_told_with_its_key_and_type(lane, saver, thread):
    Before: Any = TypedDict("Before", {"x": int})
    After: Any = TypedDict("After", {"x": Annotated[list[int], operator.add]})
    lane.invoke(
        StateGraph(Before).add_sequence([("a", lambda s: {})]).add_edge(START, "a").compile(saver), {"x": 1}, thread
    )
    graph = StateGraph(After).add_sequence([("a", lambda s: {})]).add_edge(START, "a").compile(saver)
    with pytest.raises(TypeError) as caught:
        lane.invoke(graph, {"x": [2]}, thread)
    assert "key 'x' of 'LangGraph', which holds a value of type int" in caught.value.__notes__[0]
