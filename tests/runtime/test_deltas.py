"""Whatever is written, forked, pruned, copied and reloaded: changes lead to the same states as whole values would."""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.programs import at
from twinstep.checkpoint.kept import Kept
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.graph import START, StateGraph
from twinstep.pregel import kept, lineage
from twinstep.types import Command, Overwrite, StateUpdate, interrupt


class State(TypedDict, total=False):
    grows: Annotated[list[Any], operator.add]
    plain: list[Any] | None
    table: dict[str, Any]
    n: int


def change(state: State) -> State:
    """Change containers in the ways that nodes do: shorten, extend, edit one item, share."""
    plain = state.get("plain") or []
    match state.get("n", 0) % 4:
        case 0:
            return {"plain": plain[:-1]}
        case 1:
            return {"plain": [*plain, "more"], "grows": plain}
        case 2:
            return {"plain": ["first", *plain[1:]], "table": {"plain": plain}}
    return {}


def after_change(values: dict[str, Any]) -> dict[str, Any]:
    return folded(values, change(values))  # type: ignore[arg-type]


def folded(values: dict[str, Any], update: Any) -> dict[str, Any]:
    """Return values after an update: what the reducers are to do."""
    new = dict(values)
    for key, value in update.items():
        if isinstance(value, Overwrite):
            new[key] = value.value
        else:
            new[key] = [*values.get(key, []), *value] if key == "grows" else value
    return new


items = st.lists(st.sampled_from(["a", "b", ["nested"], 7]), max_size=4)
updates = st.fixed_dictionaries(
    {},
    optional={
        "grows": items | items.map(Overwrite),
        "plain": items | st.none(),
        "table": st.dictionaries(st.sampled_from("xyz"), items, max_size=2),
        "n": st.integers(0, 9),
    },
)
points = st.none() | st.integers(0, 20)
"""Where an operation starts: at the head, or at one of the checkpoints that are known."""
operations = st.one_of(
    st.tuples(st.just("write"), points, updates),
    st.tuples(st.just("invoke"), points, updates),
    st.tuples(st.just("several"), points, st.lists(updates, min_size=2, max_size=6)),
    st.tuples(st.just("again"), points, st.none()),
    st.tuples(st.just("clone"), points, st.none()),
    st.tuples(st.sampled_from(["prune", "reload", "copy", "elsewhere", "forget"]), st.none(), st.none()),
)


def spoil(result: Any) -> None:
    """Do to a result what must not reach the thread."""
    for value in result.values():
        if isinstance(value, dict):
            spoil(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, list):
                    item.append("spoilt")
            value.append("spoilt")


class Thread:
    """A thread and what its checkpoints have to hold."""

    def __init__(self, saver: Any, path: Path | None) -> None:
        self.saver, self.path, self.copies = saver, path, 0
        self.config: Any = {"configurable": {"thread_id": "0"}}
        self.known: list[tuple[str, dict[str, Any]]] = []
        self.others: list[Any] = []
        self.build = StateGraph(State).add_node("change", change).add_edge(START, "change")
        self.graph: Any = self.build.compile(saver)

    def start(self, point: int | None) -> tuple[Any, dict[str, Any]]:
        """Return the config and the values of the checkpoint an operation starts from."""
        if not self.known:
            return self.config, {"grows": []}
        id, values = self.known[-1 if point is None else point % len(self.known)]
        return (self.config if point is None else at(self.config, checkpoint_id=id)), values

    def do(self, what: str, point: int | None, argument: Any) -> None:
        config, values = self.start(point)
        if what in ("prune", "reload", "copy", "elsewhere", "forget"):
            getattr(self, what)()
            return
        match what:
            case "write":
                self.graph.update_state(config, argument, as_node="change")
                values = folded(values, argument)
            case "several":
                self.graph.bulk_update_state(config, [[StateUpdate(update, "change")] for update in argument])
                for update in argument:
                    values = folded(values, update)
            case "invoke":
                spoil(self.graph.invoke(argument, config))
                values = after_change(folded(values, argument))
            case "again" if self.known:
                self.graph.invoke(None, config)
            case "clone" if self.known:
                self.graph.update_state(config, None, as_node="__copy__")
            case _:
                return
        state = self.graph.get_state(self.config)
        assert state.values == values
        self.known.append((state.config["configurable"]["checkpoint_id"], values))

    def prune(self) -> None:
        if self.known:
            self.saver.prune([self.config["configurable"]["thread_id"]])
            del self.known[:-1]

    def copy(self) -> None:
        if self.known:
            self.copies += 1
            self.saver.copy_thread(self.config["configurable"]["thread_id"], str(self.copies))
            self.config = {"configurable": {"thread_id": str(self.copies)}}

    def elsewhere(self) -> None:
        """Go on with a saver that has its own memory of what was read before; it may be behind."""
        if self.path is not None:
            self.others.append(self.saver)
            self.saver = self.others.pop(0) if len(self.others) > 2 else SqliteSaver(self.path)
        else:
            self.others.append(self.saver.kept)
            self.saver.kept = self.others.pop(0) if len(self.others) > 2 else Kept()
        self.graph = self.build.compile(self.saver)

    def forget(self) -> None:
        self.saver.kept = Kept()

    def reload(self) -> None:
        if self.path is not None:
            self.saver.close()
            self.saver = SqliteSaver(self.path)
            self.graph = self.build.compile(self.saver)

    def check(self) -> None:
        """Check every state that is known, and that the history shows the same."""
        for id, values in self.known:
            assert self.graph.get_state(at(self.config, checkpoint_id=id)).values == values
        shown = {s.config["configurable"]["checkpoint_id"]: s.values for s in self.graph.get_state_history(self.config)}
        assert all(shown[id] == values for id, values in self.known)
        for _ in ("as it is kept", "read anew"):
            if self.known:
                assert self.graph.get_state(self.config).values == self.known[-1][1]
            self.forget()


@contextmanager
def thread_on(kind: str) -> Iterator[Thread]:
    """Return an empty thread; joints and whole checkpoints come so soon that short programs meet them."""
    with (
        tempfile.TemporaryDirectory() as directory,
        patch.object(lineage, "STRIDE", 3),
        patch.object(lineage, "SLACK", 200),
        patch.object(kept, "MANY_ROWS", 2),
    ):
        path = Path(directory) / "threads.sqlite" if kind == "sqlite" else None
        thread = Thread(InMemorySaver() if path is None else SqliteSaver(path), path)
        try:
            yield thread
        finally:
            if path is not None:
                for saver in (thread.saver, *thread.others):
                    saver.close()


def run(kind: str, program: list[Any]) -> None:
    with thread_on(kind) as thread:
        for operation in program:
            thread.do(*operation)
        thread.check()


programs = st.lists(operations, min_size=1, max_size=12)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs)
def test_changes_lead_to_the_same_states_as_whole_values(program):
    run("memory", program)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs)
def test_the_same_from_a_file(program):
    run("sqlite", program)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_many_more_programs(kind):
    @settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(operations, min_size=5, max_size=40))
    def check(program: list[Any]) -> None:
        run(kind, program)

    check()


# ---------------------------------------------------------------------- one run


class Anything(TypedDict, total=False):
    x: Any


@pytest.mark.parametrize("between", [None, "1", {}], ids=repr)
@pytest.mark.parametrize("after", [[1], [1, 2], [2]], ids=repr)
def test_a_list_after_something_else_has_not_grown_from_the_list_before(between, after):
    values = [[1], between, after]
    nodes = [(f"n{i}", lambda state, value=value: {"x": value}) for i, value in enumerate(values)]
    graph = StateGraph(Anything).add_sequence(nodes).add_edge(START, "n0").compile(saver := InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"x": 0}, config)
    saver.kept = Kept()
    assert [state.values.get("x") for state in graph.get_state_history(config)] == [after, between, [1], 0, None]


@pytest.mark.parametrize(("text", "rows"), [("short", 1), ("long " * 200, 2)], ids=["small", "large"])
def test_a_small_input_is_not_read_again_with_the_first_state(text, rows):
    graph = StateGraph(State).add_node("ask", lambda state: {"n": interrupt("?")}).add_edge(START, "ask")
    program = graph.compile(saver := InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    values: State = {"plain": [text], "table": {}, "grows": [text]}
    program.invoke(values, config)
    assert len(saver.load("1", "").rows) == rows
    first, begun = program.get_state_history(config)
    assert (first.values, begun.tasks[0].result) == (values, values)
    assert program.invoke(Command(resume=2), config) == {**values, "n": 2}


def test_a_node_that_waits_for_others_twice_is_stored_each_time():
    """What starts it is a list that is unset and set again."""
    graph = (
        StateGraph(State)
        .add_node("first", lambda state: {"n": state.get("n", 0) + 1})
        .add_node("last", lambda state: {}, defer=True)
        .add_edge(START, "first")
        .add_edge("first", "last")
        .add_conditional_edges("last", lambda state: "first" if state["n"] < 3 else "__end__", ["first", "__end__"])
        .compile(saver := InMemorySaver())
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"n": 0}, config)
    saver.kept = Kept()
    due = [state.next for state in graph.get_state_history(config)]
    assert due == [(), *[("last",), ("first",)] * 3, ("__start__",)]
