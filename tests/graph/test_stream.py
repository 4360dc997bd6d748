"""What a stream shows: the chunks of every mode, exactly, in order (behaviour 4 and 10)."""

import re
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from tests.conftest import Lane, in_notebooks_too
from tests.graph.kit import build, letters, one, row, says, side_by_side
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_stream_writer
from twinstep.errors import InvalidConfigError
from twinstep.graph import START
from twinstep.runtime import Runtime
from twinstep.types import Command, GraphOutput, Interrupt, Send, StreamWriter, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def ab(**options: Any) -> Any:
    """Return the compiled graph a -> b."""
    return row({"a": says("a"), "b": lambda s: {"x": s["x"] + 1, "log": ["b"]}}).compile(**options)


def asks(**options: Any) -> Any:
    """Return the compiled graph a -> i, where i asks a question."""
    return row({"a": says("a"), "i": lambda s: {"log": [interrupt("q")]}}).compile(**options)


VALUES = [{"x": 0, "log": []}, {"x": 0, "log": ["a"]}, {"x": 1, "log": ["a", "b"]}]
UPDATES = [{"a": {"log": ["a"]}}, {"b": {"x": 1, "log": ["b"]}}]


def labelled(mode: str, chunks: list[Any]) -> list[Any]:
    return [(mode, chunk) for chunk in chunks]


# ---------------------------------------------------------------------- layouts


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ({}, UPDATES),
        ({"stream_mode": "updates"}, UPDATES),
        ({"stream_mode": "values"}, VALUES),
        ({"stream_mode": "custom"}, []),
        ({"stream_mode": "messages"}, []),
        ({"stream_mode": ["updates"]}, labelled("updates", UPDATES)),
        ({"subgraphs": True}, [((), chunk) for chunk in UPDATES]),
        ({"stream_mode": ["values"], "subgraphs": True}, [((), "values", chunk) for chunk in VALUES]),
        ({"version": "v2"}, [{"type": "updates", "ns": (), "data": chunk} for chunk in UPDATES]),
        (
            {"version": "v2", "stream_mode": ["values"], "subgraphs": True},
            [{"type": "values", "ns": (), "data": chunk, "interrupts": ()} for chunk in VALUES],
        ),
    ],
)
@in_notebooks_too
def test_the_layout_of_chunks(options: Any, chunks: list[Any], saved: bool, lane: Lane, thread: dict[str, Any]) -> None:
    graph = ab(checkpointer=InMemorySaver() if saved else None)
    assert lane.stream(graph, {"x": 0}, thread, **options) == chunks


@pytest.mark.parametrize("modes", [["updates", "values"], ("values", "updates")])
def test_several_modes_are_labelled_and_values_follow_updates(modes: Any, lane: Lane) -> None:
    v, u = labelled("values", VALUES), labelled("updates", UPDATES)
    assert lane.stream(ab(), {"x": 0}, stream_mode=modes) == [v[0], u[0], v[1], u[1], v[2]]


def test_both_lanes_give_the_same_chunks(colour: Colour) -> None:
    nodes = {"a": colour(lambda s, writer: writer("hi")), "b": colour(says("b")), "c": colour(says("c"))}
    graph = build(nodes, [(START, "a"), ("a", "b"), ("b", "c")]).compile()
    modes = ["values", "updates", "custom", "tasks"]

    def chunks(name: str) -> list[Any]:
        return [UUID.sub("id", repr(chunk)) for chunk in Lane(name).stream(graph, {"x": 0}, stream_mode=modes)]

    assert chunks("sync") == chunks("async")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream_mode": "valeus"}, "Unknown stream_mode 'valeus'.*Did you mean 'values'"),
        ({"stream_mode": ["values", "toools"]}, "Unknown stream_mode 'toools'"),
        ({"stream_mode": 5}, "Unknown stream_mode 5"),
        ({"durability": "synk"}, "Unknown durability 'synk'.*Did you mean 'sync'"),
        ({"version": "v3"}, "v3"),
        ({"output_keys": "lgo"}, "Key lgo not in channels.*Did you mean 'log'"),
        ({"output_keys": ["x", "lgo"]}, "Key lgo not in channels"),
    ],
)
def test_w41_options_that_do_not_exist_are_refused(options: Any, message: str, lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        lane.stream(ab(), {"x": 0}, **options)
    with pytest.raises(InvalidConfigError, match=message):
        lane.invoke(ab(), {"x": 0}, **options)


# ---------------------------------------------------------------------- invoke


@pytest.mark.filterwarnings("ignore:'durability' has no effect")
@pytest.mark.parametrize(
    ("options", "out"),
    [
        ({}, VALUES[-1]),
        ({"stream_mode": "updates"}, UPDATES),
        ({"stream_mode": ["updates"]}, labelled("updates", UPDATES)),
        ({"version": "v2"}, GraphOutput(VALUES[-1])),
        ({"output_keys": "log"}, ["a", "b"]),
        ({"output_keys": ["x"]}, {"x": 1}),
        ({"durability": "sync"}, VALUES[-1]),  # W10: without a saver there is nothing to be durable
    ],
)
def test_what_invoke_returns(options: Any, out: Any, lane: Lane) -> None:
    assert lane.invoke(ab(), {"x": 0}, **options) == out


class Model(pydantic.BaseModel):
    a: int
    c: str = "default"


def test_version_2_gives_the_output_as_its_schema(lane: Lane) -> None:
    graph = one(lambda s: {"a": 2}, Model)
    assert lane.invoke(graph, {"a": 1}) == {"a": 2}
    out = lane.invoke(graph, {"a": 1}, version="v2")
    assert out == GraphOutput(Model(a=2))
    assert out.interrupts == ()


# ---------------------------------------------------------------------- updates and values


@pytest.mark.parametrize("returned", [None, {}])
def test_w60_a_node_that_changes_nothing_is_seen(returned: Any, lane: Lane) -> None:
    chunks = lane.stream(one(lambda s: returned), {"x": 0}, stream_mode=["updates", "values", "updates"])
    same = ("values", {"x": 0, "log": []})
    assert chunks == [same, ("updates", {"n": None}), same]


@pytest.mark.parametrize(
    ("returned", "update"),
    [
        ([Command(update={"log": [1]}), {"log": [2]}], [{"log": [1]}, {"log": [2]}]),
        ([Command(update={"log": [1]}), {"x": 2}], {"log": [1], "x": 2}),
        (Command(goto=Send("end", {})), None),
    ],
)
def test_an_update_is_what_the_node_wrote_to_state_keys(returned: Any, update: Any, lane: Lane) -> None:
    nodes = {"n": (lambda s: returned, {"destinations": ["end"]}), "end": lambda s: None}
    assert lane.stream(build(nodes, [(START, "n")]).compile(), {})[0] == {"n": update}


def test_a_state_of_one_value_is_shown_bare(lane: Lane) -> None:
    graph = one(lambda n: n + 1, int)
    assert lane.stream(graph, 1, stream_mode=["values", "updates"]) == [
        ("values", 1),
        ("updates", {"n": 2}),
        ("values", 2),
    ]


@pytest.mark.parametrize(
    ("keys", "updates", "values"),
    [
        ("x", [{"a": None}, {"b": 1}], [0, 0, 1]),
        (["x"], [{"a": None}, {"b": {"x": 1}}], [{"x": 0}, {"x": 0}, {"x": 1}]),
    ],
)
def test_output_keys_pick_what_is_shown(keys: Any, updates: list[Any], values: list[Any], lane: Lane) -> None:
    assert lane.stream(ab(), {"x": 0}, output_keys=keys) == updates
    assert lane.stream(ab(), {"x": 0}, output_keys=keys, stream_mode="values") == values


def test_chunks_are_not_changed_by_what_comes_later(lane: Lane) -> None:
    chunks = lane.stream(ab(), {"x": 0}, stream_mode="values")
    assert chunks == VALUES
    assert len({id(chunk) for chunk in chunks}) == 3


# ---------------------------------------------------------------------- custom


def test_every_way_to_the_custom_stream(colour: Colour, lane: Lane) -> None:
    def node(state: Any, writer: StreamWriter, runtime: Runtime) -> dict[str, Any]:
        writer(1)
        get_stream_writer()({"two": 2})
        runtime.stream_writer(None)
        return {"log": ["n"]}

    graph = row({"n": colour(node)}).compile()
    assert lane.stream(graph, {}, stream_mode="custom") == [1, {"two": 2}, None]
    assert lane.stream(graph, {}, stream_mode=["custom", "updates"])[-1] == ("updates", {"n": {"log": ["n"]}})
    assert lane.stream(graph, {}) == [{"n": {"log": ["n"]}}], "not asked for, not shown"


# ---------------------------------------------------------------------- tasks, checkpoints, debug


def test_tasks_tell_how_each_node_began_and_ended(lane: Lane) -> None:
    chunks = lane.stream(ab(), {"x": 0}, stream_mode="tasks")
    ids = [chunk.pop("id") for chunk in chunks]
    assert all(UUID.fullmatch(id) for id in ids)
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert chunks == [
        {"name": "a", "input": {"x": 0, "log": []}, "triggers": ("branch:to:a",)},
        {"name": "a", "error": None, "result": {"log": ["a"]}, "interrupts": []},
        {"name": "b", "input": {"x": 0, "log": ["a"]}, "triggers": ("branch:to:b",)},
        {"name": "b", "error": None, "result": {"x": 1, "log": ["b"]}, "interrupts": []},
    ]


def test_tasks_show_several_writes_of_one_key(lane: Lane) -> None:
    graph = one(lambda s: [Command(update={"log": [1]}), {"log": [2]}])
    assert lane.stream(graph, {}, stream_mode="tasks")[-1]["result"] == {"log": {"$writes": [[1], [2]]}}


def test_tasks_of_packets_show_the_packet(lane: Lane) -> None:
    graph = build({"w": lambda i: {"log": [i]}}, [])
    graph.add_conditional_edges(START, lambda s: [Send("w", i) for i in range(2)], ["w"])
    chunks = lane.stream(graph.compile(), {}, stream_mode="tasks")
    starts = [chunk for chunk in chunks if "input" in chunk]
    assert sorted(chunk["input"] for chunk in starts) == [0, 1]
    assert {chunk["triggers"] for chunk in starts} == {("__pregel_push",)}


@pytest.mark.parametrize("others", ["", "m"], ids=["alone", "with a sibling"])
@pytest.mark.parametrize("mode", ["tasks", "debug"])
def test_a_failed_node_ends_with_its_error(mode: str, others: str, lane: Lane, colour: Colour) -> None:
    def boom(state: Any) -> None:
        raise ValueError("boom")

    graph = side_by_side({**letters(others), "n": colour(boom)}).compile()
    chunks: list[Any] = []
    with pytest.raises(ValueError, match="boom"):
        lane.consume(chunks.append, graph, {}, stream_mode=mode)
    tasks = [chunk["payload"] if mode == "debug" else chunk for chunk in chunks]
    (end,) = [task for task in tasks if task["name"] == "n" and "result" in task]
    assert (type(end["error"]), end["result"], end["interrupts"]) == (ValueError, {}, [])


def test_a_node_that_asks_ends_with_its_question(lane: Lane, thread: dict[str, Any]) -> None:
    end = lane.stream(asks(checkpointer=InMemorySaver()), {}, thread, stream_mode="tasks")[-1]
    (question,) = end["interrupts"]
    assert (end["name"], end["error"], end["result"]) == ("i", None, {})
    assert question == {"value": "q", "id": question["id"], "response_schema": None}


def test_checkpoints_are_shown_as_they_are_committed(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = ab(checkpointer=saver)
    chunks = lane.stream(graph, {"x": 0}, thread, stream_mode="checkpoints")
    assert [(c["metadata"]["source"], c["metadata"]["step"], c["next"]) for c in chunks] == [
        ("input", -1, ["__start__"]),
        ("loop", 0, ["a"]),
        ("loop", 1, ["b"]),
        ("loop", 2, []),
    ]
    assert [c["values"] for c in chunks] == [{"log": []}, *VALUES]
    assert [[task["name"] for task in c["tasks"]] for c in chunks] == [["__start__"], ["a"], ["b"], []]
    assert set(chunks[0]) == {"config", "parent_config", "values", "metadata", "next", "tasks"}
    configs = [c["config"] for c in chunks]
    assert [c["parent_config"] for c in chunks] == [None, *configs[:-1]]
    assert configs[::-1] == [h.config for h in lane.history(graph, thread)]
    assert {task["id"] for c in chunks for task in c["tasks"]} == {
        task.id for h in lane.history(graph, thread) for task in h.tasks
    }


def test_without_a_checkpointer_there_are_no_checkpoints(lane: Lane) -> None:
    assert lane.stream(ab(), {"x": 0}, stream_mode="checkpoints") == []
    assert {chunk["type"] for chunk in lane.stream(ab(), {"x": 0}, stream_mode="debug")} == {"task", "task_result"}


def test_debug_is_tasks_and_checkpoints_in_one(lane: Lane, thread: dict[str, Any]) -> None:
    graph = ab(checkpointer=InMemorySaver())
    chunks = lane.stream(graph, {"x": 0}, thread, stream_mode=["debug", "tasks", "checkpoints"])
    debug = [chunk for mode, chunk in chunks if mode == "debug"]
    assert [(chunk["step"], chunk["type"]) for chunk in debug] == [
        (-1, "checkpoint"),
        (0, "checkpoint"),
        (1, "task"),
        (1, "task_result"),
        (1, "checkpoint"),
        (2, "task"),
        (2, "task_result"),
        (2, "checkpoint"),
    ]
    assert [chunk["payload"] for chunk in debug] == [chunk for mode, chunk in chunks if mode != "debug"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", chunk["timestamp"]) for chunk in debug)


# ---------------------------------------------------------------------- where a run stops


def test_a_question_in_every_mode(lane: Lane, saver: BaseCheckpointSaver, thread: dict[str, Any]) -> None:
    graph = asks(checkpointer=saver)
    chunks = lane.stream(graph, {"x": 0}, thread, stream_mode=["updates", "values"])
    questions = lane.state(graph, thread).interrupts
    assert questions == (Interrupt("q", questions[0].id),)
    assert re.fullmatch("[0-9a-f]{32}", questions[0].id)
    assert chunks[:3] == [("values", VALUES[0]), ("updates", UPDATES[0]), ("values", VALUES[1])]
    assert sorted(chunks[3:], key=lambda chunk: str(chunk[0])) == [
        ("updates", {"__interrupt__": questions}),
        ("values", {"x": 0, "log": ["a"], "__interrupt__": questions}),
    ]
    # asked again, because nothing answered it
    assert lane.invoke(graph, None, thread) == {"x": 0, "log": ["a"], "__interrupt__": list(questions)}
    assert lane.invoke(graph, None, thread, version="v2") == GraphOutput({"x": 0, "log": ["a"]}, questions)
    parts = lane.stream(graph, None, thread, stream_mode=["values", "updates"], version="v2")
    assert {"type": "updates", "ns": (), "data": {"__interrupt__": questions}} in parts
    assert {"type": "values", "ns": (), "data": {"x": 0, "log": ["a"]}, "interrupts": questions} in parts
    assert lane.stream(graph, Command(resume="A"), thread) == [{"i": {"log": ["A"]}}]


@pytest.mark.parametrize("where", [{"interrupt_before": ["i"]}, {"interrupt_after": ["a"]}])
def test_a_breakpoint_in_every_mode(where: Any, lane: Lane, thread: dict[str, Any]) -> None:
    graph = asks(checkpointer=InMemorySaver())
    chunks = lane.stream(graph, {"x": 0}, thread, stream_mode=["updates", "values"], **where)
    assert chunks == [
        ("values", VALUES[0]),
        ("updates", UPDATES[0]),
        ("values", VALUES[1]),
        ("updates", {"__interrupt__": ()}),
    ]
    other = {"configurable": {"thread_id": "2"}}
    assert lane.invoke(graph, {"x": 0}, other, **where) == {"x": 0, "log": ["a"], "__interrupt__": []}, "W33"


def test_a_question_of_a_nested_graph_is_shown_inside_and_outside(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row({"sub": asks()}).compile(saver)
    chunks = lane.stream(graph, {"x": 0}, thread, subgraphs=True)
    inside = chunks[0][0]
    questions = lane.state(graph, thread).interrupts
    assert [q.value for q in questions] == ["q"]
    assert chunks == [
        (inside, {"a": {"log": ["a"]}}),
        (inside, {"__interrupt__": questions}),
        ((), {"__interrupt__": questions}),
    ]


def test_a_finished_thread_has_nothing_more_to_show(lane: Lane, thread: dict[str, Any]) -> None:
    graph = ab(checkpointer=InMemorySaver())
    lane.invoke(graph, {"x": 0}, thread)
    assert lane.stream(graph, None, thread) == []
    assert lane.invoke(graph, None, thread) == VALUES[-1]


# ---------------------------------------------------------------------- printing


@pytest.mark.parametrize(
    ("compiled", "options", "modes"),
    [
        ({}, {"print_mode": "updates"}, ["updates", "updates"]),
        ({}, {"print_mode": ["values"]}, ["values"] * 3),
        ({}, {"debug": True}, ["values", "updates", "values", "updates", "values"]),
        ({"debug": True}, {}, ["values", "updates", "values", "updates", "values"]),
        ({}, {}, []),
    ],
)
def test_chunks_can_be_printed_beside_what_is_streamed(
    compiled: Any, options: Any, modes: list[str], lane: Lane, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lane.stream(ab(**compiled), {"x": 0}, **options) == UPDATES
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("]")[0].partition("[1m[")[2] for line in lines] == modes
    if options.get("print_mode") == "updates":
        assert lines[0] == "\x1b[1m[updates]\x1b[0m {'a': {'log': ['a']}}"
