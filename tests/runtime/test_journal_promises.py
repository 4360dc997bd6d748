"""What the journal promises: acknowledged means stored, what is read is what was written, secrets stay out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.programs import Boom, State, Switch, at, chain, fan, noted, recorded
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.config import get_config
from twinstep.errors import GraphDrained
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.runtime import RunControl
from twinstep.types import Command, Overwrite, interrupt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.sqlite"


# ---------------------------------------------------------------------- acknowledged means stored


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_result_is_on_record_before_anybody_gets_it(lane, path, thread, durability, colour):
    """Another connection looks into the file at the moment a result is read."""
    seen: list[int] = []

    with SqliteSaver(path) as saver, SqliteSaver(path) as other:

        @task
        @colour
        def double(n: int) -> int:
            return n * 2

        def look() -> None:
            seen.append(len(other.load("1", "").records))

        @entrypoint(checkpointer=saver)
        def flow(n: int) -> int:
            for done in (1, 2, 3):
                n = double(n).result()
                look()
                assert seen[-1] == done
            futures = [double(i) for i in range(4)]
            for i, future in enumerate(futures):
                future.result()
                look()
                assert seen[-1] >= 4 + i
            return n

        @entrypoint(checkpointer=saver)
        async def aflow(n: int) -> int:
            for done in (1, 2, 3):
                n = await double(n)
                look()
                assert seen[-1] == done
            for i, future in enumerate(asyncio.as_completed([double(i) for i in range(4)])):
                await future
                look()
                assert seen[-1] >= 4 + i
            return n

        assert lane.invoke(aflow if lane.is_async else flow, 1, thread, durability=durability) == 8
        assert seen[-1] == 7
        assert other.load("1", "").records == ()  # the next checkpoint does not carry them along


def test_a_callback_of_a_future_finds_the_result_on_record(path, thread):
    seen: list[int] = []
    with SqliteSaver(path) as saver, SqliteSaver(path) as other:

        @task
        def double(n: int) -> int:
            return n * 2

        @entrypoint(checkpointer=saver)
        def flow(n: int) -> int:
            future = double(n)
            future.add_done_callback(lambda _: seen.append(len(other.load("1", "").records)))
            return future.result()

        assert flow.invoke(4, thread) == 8
    assert seen == [1]


def test_a_sibling_is_on_record_while_the_other_still_works(lane, saver, thread):
    """`recorded` waits inside the second node for the first one's record, or fails."""
    graph = fan("a", noted("b", recorded(saver)), then="c").compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread)["log"] == ["a", "b", "c"]


@pytest.mark.parametrize("stop", ["question", "breakpoint", "drain", "failure", "end"])
def test_the_status_tells_how_a_run_stands(lane, thread, stop):
    saver = InMemorySaver()
    within: list[str] = []
    control = RunControl()

    def act(state: State) -> State:
        within.append(str((graph.get_state(thread).metadata or {}).get("status")))
        if stop == "question":
            interrupt("?")
        if stop == "drain":
            control.request_drain("night")
        if stop == "failure":
            raise Boom("boom")
        return {"x": 2}

    graph = chain(act, "after").compile(saver, interrupt_before=["after"] if stop == "breakpoint" else [])
    try:
        lane.invoke(graph, {"x": 1}, thread, control=control)
    except (Boom, GraphDrained):
        assert stop in ("failure", "drain")
    assert within == ["running"]
    wanted = {"failure": "failed", "end": "done"}.get(stop, "interrupted")
    state = lane.state(graph, thread)
    assert state.metadata["status"] == wanted
    assert (state.next == ()) == (stop == "end")


# ---------------------------------------------------------------------- a step that cannot be applied (W39)


def raising(left: list[Any], right: list[Any]) -> list[Any]:
    if "poison" in right:
        raise Boom("poison")
    return left + right


class Picky(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], raising]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("fault", ["two writers", "reducer", "reducer of a lone node"])
def test_a_step_that_fails_while_applying_does_not_wedge_the_thread(lane, saver, thread, fault, durability):  # W39
    def build(broken: bool) -> Any:
        def one(state: Any) -> Any:
            return {"x": 1, "log": ["poison"]} if broken and fault != "two writers" else {"x": 1}

        def two(state: Any) -> Any:
            return {"x": 2} if broken and fault == "two writers" else {"log": ["two"]}

        graph = StateGraph(Picky).add_node("one", one).add_edge(START, "one")
        if fault != "reducer of a lone node":
            graph.add_node("two", two).add_edge(START, "two")
        return graph.compile(saver)

    with pytest.raises(ValueError, match="poison" if "reducer" in fault else "'x'"):
        lane.invoke(build(broken=True), {"x": 0}, thread, durability=durability)
    for graph in (build(broken=True), build(broken=False)):
        state = lane.state(graph, thread)
        assert (state.values, state.metadata["status"]) == ({"x": 0, "log": []}, "failed")
        assert state.next == (("one",) if "lone" in fault else ("one", "two"))
        assert lane.history(graph, thread)[0] == state
    with pytest.raises(ValueError, match="poison" if "reducer" in fault else "'x'"):
        lane.invoke(build(broken=True), None, thread, durability=durability)
    fixed = lane.invoke(build(broken=False), None, thread, durability=durability)
    assert fixed == {"x": 1, "log": [] if "lone" in fault else ["two"]}


def test_an_input_that_cannot_be_applied_leaves_the_thread_as_it_was(lane, saver, thread):
    graph = StateGraph(Picky).add_node("n", lambda s: {"x": 5}).add_edge(START, "n").compile(saver)
    lane.invoke(graph, {"log": ["fine"]}, thread)
    with pytest.raises(Boom):
        lane.invoke(graph, {"log": ["poison"]}, thread)
    assert lane.state(graph, thread).values["log"] == ["fine"]
    assert lane.invoke(graph, {"log": ["more"]}, thread)["log"] == ["fine", "more"]


# ---------------------------------------------------------------------- growth


def stored_bytes(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


@pytest.mark.parametrize("what", ["graph", "entrypoint"])
def test_a_growing_list_costs_the_same_in_every_turn(path, thread, what):  # W25
    text = "x" * 400
    with SqliteSaver(path) as saver:
        graph = chain("answer").compile(saver)

        @entrypoint(checkpointer=saver)
        def flow(said: str, previous: list[str] | None) -> list[str]:
            return [*(previous or []), said]

        sizes = []
        for turn in range(200):
            if what == "graph":
                graph.invoke({"log": [f"{turn} {text}"]}, thread)
            else:
                flow.invoke(f"{turn} {text}", thread)
            if turn % 50 == 49:
                sizes.append(sum(len(row.blob) for row in saver.checkpoints("1", "")))
        values = (graph if what == "graph" else flow).get_state(thread).values
    payload = 200 * len(text)
    assert len(values["log"] if what == "graph" else values) == (400 if what == "graph" else 200)
    first, *_, last = (after - before for before, after in zip([0, *sizes], sizes, strict=False))
    assert last < 2 * first, sizes
    assert sizes[-1] < 5 * payload, sizes
    assert stored_bytes(path) < 8 * payload


# ---------------------------------------------------------------------- what is read is what was written


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    tags: set[str] = field(default_factory=set)


class Rich(TypedDict, total=False):
    value: Any
    point: Point
    colour: Colour
    many: Annotated[list[Any], lambda a, b: [*a, *b]]


VALUES: list[Any] = [
    (1, (2, [3])),
    {"a": {1, 2}, (1, 2): frozenset({3})},
    datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    Decimal("1.20"),
    UUID(int=7),
    2**100,
    b"\x00\xff",
    OrderedDict(b=1, a=2),
    Counter("aab"),
    deque([1, 2], maxlen=3),
    float("inf"),
    "\ud800",
    {},
    None,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_new_saver_reads_the_exact_state(lane, path, thread, value):  # W27
    def make(state: Rich) -> Rich:
        return {"value": value, "point": Point(1, {"t"}), "colour": Colour.RED, "many": [value, (value,)]}

    build = StateGraph(Rich).add_node("make", make).add_edge(START, "make")
    with SqliteSaver(path) as saver:
        live = lane.invoke(build.compile(saver), {}, thread)
    with SqliteSaver(path) as saver:
        read = lane.state(build.compile(saver), thread).values
    assert read == live
    assert (type(read["value"]), type(read["many"][1])) == (type(value), tuple)
    assert (read["point"], read["colour"]) == (Point(1, {"t"}), Colour.RED)


def keep_last(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *right][-3:]


def dedupe(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *(item for item in right if item not in left)]


def replace_equal(left: list[Any], right: list[Any]) -> list[Any]:
    return [item for item in left if item not in right] + right


class Folded(TypedDict, total=False):
    plain: Any
    joined: Annotated[list[Any], lambda a, b: a + b]
    window: Annotated[list[Any], keep_last]
    unique: Annotated[list[Any], dedupe]
    moved: Annotated[list[Any], replace_equal]
    total: Annotated[int, lambda a, b: a + b]
    merged: Annotated[dict[str, Any], lambda a, b: {**a, **b}]


item = st.one_of(st.integers(0, 5), st.text("ab", max_size=2), st.tuples(st.integers(0, 2)))
turn = st.fixed_dictionaries(
    {},
    optional={
        "plain": st.one_of(item, st.lists(item, max_size=3)),
        **{key: st.lists(item, max_size=4) for key in ("joined", "window", "unique", "moved")},
        "total": st.integers(-3, 3),
        "merged": st.dictionaries(st.sampled_from("abc"), item, max_size=2),
    },
)
step = st.fixed_dictionaries(
    {
        "act": st.sampled_from(["run", "run", "update", "fork", "resume"]),
        "values": turn,
        "reopen": st.booleans(),
        "overwrite": st.booleans(),
        "durability": st.sampled_from(["sync", "async", "exit"]),
        "back": st.integers(0, 10),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(step, min_size=1, max_size=10))
def test_whatever_is_done_to_a_thread_every_state_it_had_can_be_read(steps):
    """Runs, questions, updates and forks, with new savers in between: all of history stays as it was seen."""
    saver = InMemorySaver()
    thread: dict[str, Any] = {"configurable": {"thread_id": "1"}}

    def ask(state: Folded) -> Folded:
        return {"total": 1, "joined": [interrupt("?")]} if state.get("total", 0) % 2 else {"window": ["even"]}

    def build() -> Any:
        graph = StateGraph(Folded).add_node("count", lambda s: {"total": 1, "moved": [s["total"]]})
        return graph.add_node("ask", ask).add_edge(START, "count").add_edge("count", "ask").compile(saver)

    graph = build()
    seen: list[tuple[Any, Any]] = []
    for step in steps:
        graph = build() if step["reopen"] else graph
        values = step["values"]
        if step["overwrite"] and "joined" in values:
            values = {**values, "joined": Overwrite(values["joined"])}
        options = {"durability": step["durability"]}
        live: Any = None
        if step["act"] == "run":
            live = graph.invoke(values, thread, **options)
        elif step["act"] == "fork" and seen:
            live = graph.invoke(values, seen[step["back"] % len(seen)][0], **options)
        elif step["act"] == "resume" and graph.get_state(thread).interrupts:
            live = graph.invoke(Command(resume=("an", "answer")), thread, **options)
        elif step["act"] == "update":
            graph.update_state(thread, values, "ask")
        state = graph.get_state(thread)
        if live is not None:
            assert {key: value for key, value in live.items() if key != "__interrupt__"} == state.values
        if state.metadata is not None:
            seen.append((state.config, state.values))
        for config, wanted in seen:
            assert build().get_state(config).values == wanted
    history = {s.config["configurable"]["checkpoint_id"]: s.values for s in build().get_state_history(thread)}
    for config, wanted in seen:
        assert history[config["configurable"]["checkpoint_id"]] == wanted


# ---------------------------------------------------------------------- secrets


@pytest.mark.parametrize("stop", ["end", "failure", "question"])
def test_secrets_in_configurable_are_never_stored(lane, path, thread, stop):  # W11
    secret = "sk-this-must-not-be-stored"

    @task
    def use(n: int) -> int:
        assert get_config()["configurable"]["api_key"] == secret
        return n

    child = chain("c").compile()

    def node(state: State, config: Any) -> State:
        use(1).result()
        child.invoke({"x": 1})
        if stop == "failure":
            raise Boom("boom")
        if stop == "question":
            interrupt("?")
        return {"x": len(config["configurable"]["api_key"])}

    config = {**at(thread, api_key=secret, nested={"token": secret}), "metadata": {"visible": "yes-this-is-stored"}}
    with SqliteSaver(path) as saver:
        graph = fan("a", node, then="z").compile(saver)
        if stop == "failure":
            with pytest.raises(Boom):
                lane.invoke(graph, {"x": 1}, config)
        else:
            lane.invoke(graph, {"x": 1}, config)
        if stop == "question":
            lane.invoke(graph, Command(resume=1), config)
        shown = lane.history(graph, thread)
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"yes-this-is-stored" in stored
    assert secret.encode() not in stored
    assert secret not in repr(shown)


def test_a_caught_failure_is_recorded_and_not_tried_again(lane, saver, thread, colour):  # W40
    bad = Switch()

    @task
    @colour
    def fails(n: int) -> int:
        bad()
        return n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> list[str]:
        try:
            fails(n).result()
        except Boom as error:
            caught = f"caught {error}"
        return [caught, interrupt("?")]

    @entrypoint(checkpointer=saver)
    async def aflow(n: int) -> list[str]:
        try:
            await fails(n)
        except Boom as error:
            caught = f"caught {error}"
        return [caught, interrupt("?")]

    program = aflow if lane.is_async else flow
    lane.invoke(program, 1, thread)
    assert lane.invoke(program, Command(resume="go"), thread) == ["caught boom", "go"]
    assert bad.calls == 1
