"""What an entrypoint shows while it runs: chunks of every mode, their order, and that they come at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Lane
from tests.func.bodies import Child, Paint
from tests.func.test_nesting import graph_of
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_stream_writer
from twinstep.errors import InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.types import Command, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def adding(paint: Paint, colour: Colour, **options: Any) -> Any:
    """Make the entrypoint `wf` that calls the task `add`."""

    def add(x: int) -> int:
        return x + 1

    work = task(colour(add))

    def wf(x: int) -> Any:
        return (yield work(x))

    return entrypoint(**options)(paint(wf))


def test_updates_show_each_task_and_then_the_result(lane: Lane, paint: Paint, colour: Colour) -> None:
    wf = adding(paint, colour)
    assert lane.stream(wf, 1) == [{"add": 2}, {"wf": 2}]
    assert lane.stream(wf, 1, stream_mode="updates") == [{"add": 2}, {"wf": 2}]


def test_values_show_only_the_result(lane: Lane, paint: Paint, colour: Colour, saver: Any, thread: Any) -> None:
    assert lane.stream(adding(paint, colour), 1, stream_mode="values") == [2]
    saved = adding(paint, colour, checkpointer=saver)
    assert [lane.stream(saved, n, thread, stream_mode="values") for n in (1, 2)] == [[2], [3]]


def test_tasks_show_the_start_and_the_end_of_each(lane: Lane, paint: Paint, colour: Colour) -> None:
    chunks = lane.stream(adding(paint, colour), 1, stream_mode="tasks")
    outer, inner = chunks[0]["id"], chunks[1]["id"]
    assert outer != inner
    assert chunks == [
        {"id": outer, "name": "wf", "input": 1, "triggers": ("__start__",)},
        {"id": inner, "name": "add", "input": ((1,), {}), "triggers": ("__pregel_push",)},
        {"id": inner, "name": "add", "error": None, "result": {"__return__": 2}, "interrupts": []},
        {"id": outer, "name": "wf", "error": None, "result": {"__end__": 2}, "interrupts": []},
    ]


def test_debug_shows_tasks_between_checkpoints(
    lane: Lane, paint: Paint, colour: Colour, saver: BaseCheckpointSaver, thread: Any
) -> None:
    chunks = lane.stream(adding(paint, colour, checkpointer=saver), 1, thread, stream_mode="debug")
    assert [(c["step"], c["type"]) for c in chunks] == [
        (-1, "checkpoint"), (0, "task"), (0, "task"), (0, "task_result"), (0, "task_result"), (0, "checkpoint")
    ]  # fmt: skip
    assert all("timestamp" in chunk for chunk in chunks)
    assert chunks[0]["payload"]["next"] == ["wf"]
    assert chunks[-1]["payload"]["values"] == 2


def test_checkpoints_show_what_was_stored(
    lane: Lane, paint: Paint, colour: Colour, saver: BaseCheckpointSaver, thread: Any
) -> None:
    wf = adding(paint, colour, checkpointer=saver)
    first, last = lane.stream(wf, 1, thread, stream_mode="checkpoints")
    assert (first["metadata"]["source"], first["metadata"]["step"], first["next"]) == ("input", -1, ["wf"])
    assert (last["metadata"]["source"], last["metadata"]["step"], last["next"]) == ("loop", 0, [])
    assert last["parent_config"] == first["config"]
    assert last["config"] == lane.state(wf, thread).config


def test_custom_shows_what_code_writes_in_the_order_of_writing(lane: Lane, paint: Paint, colour: Colour) -> None:
    def work(x: int, writer: Any) -> None:
        writer({"from": "task"})

    inner = task(colour(work))

    def body(x: int) -> Any:
        get_stream_writer()("before")
        yield inner(x)
        get_stream_writer()(None)

    program = entrypoint()(paint(body))
    assert lane.stream(program, 1, stream_mode="custom") == ["before", {"from": "task"}, None]
    assert lane.invoke(program, 1) is None  # nobody listens


def test_several_modes_label_their_chunks(lane: Lane, paint: Paint, colour: Colour) -> None:
    wf = adding(paint, colour)
    expected = [("updates", {"add": 2}), ("updates", {"wf": 2}), ("values", 2)]
    for modes in (["updates", "values"], ("updates", "values")):
        assert lane.stream(wf, 1, stream_mode=modes) == expected
    assert lane.stream(wf, 1, stream_mode=["values"]) == [("values", 2)]


def test_version_2_parts_tell_mode_and_namespace(lane: Lane, paint: Paint, colour: Colour) -> None:
    wf = adding(paint, colour)
    assert lane.stream(wf, 1, stream_mode=["updates", "values"], version="v2") == [
        {"type": "updates", "ns": (), "data": {"add": 2}},
        {"type": "updates", "ns": (), "data": {"wf": 2}},
        {"type": "values", "ns": (), "data": 2, "interrupts": ()},
    ]


def test_invoke_with_another_mode_returns_the_chunks(lane: Lane, paint: Paint, colour: Colour) -> None:
    assert lane.invoke(adding(paint, colour), 1, stream_mode="updates") == [{"add": 2}, {"wf": 2}]


def test_an_unknown_mode_is_refused(lane: Lane, paint: Paint, colour: Colour) -> None:
    with pytest.raises(InvalidConfigError, match=r"update.*Did you mean 'updates'"):
        lane.stream(adding(paint, colour), 1, stream_mode="update")


# ---------------------------------------------------------------------- questions, failures, replays


def test_a_question_ends_the_stream(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    add = task(lambda x: x + 1, name="add")
    wf = entrypoint(checkpointer=saver)(lambda x: [add(x).result(), interrupt("q")])
    modes = ["updates", "values"]
    chunks = lane.stream(wf, 1, thread, stream_mode=modes)
    question = chunks[1][1]["__interrupt__"][0]
    assert (question.value, question.response_schema, len(question.id)) == ("q", None, 32)
    assert chunks[:2] == [("updates", {"add": 2}), ("updates", {"__interrupt__": (question,)})]
    assert chunks[2:] == [("values", {"__interrupt__": (question,)})]
    resumed = lane.stream(wf, Command(resume="a"), thread, stream_mode=modes)
    assert resumed == [("updates", {"<lambda>": [2, "a"]}), ("values", [2, "a"])]  # add is not run, so not shown


def test_tasks_show_failures_and_questions(lane: Lane, colour: Colour, thread: Any) -> None:
    def fail(x: int) -> None:
        raise LookupError("no")

    broken, ask = task(colour(fail)), task(colour(lambda: interrupt("q")))

    @entrypoint(checkpointer=InMemorySaver())
    def program(x: int) -> Any:
        assert isinstance(broken(x).exception(), LookupError)
        return ask().result()

    ends = [chunk for chunk in lane.stream(program, 1, thread, stream_mode="tasks") if "interrupts" in chunk]
    assert [(end["name"], type(end["error"]), [q["value"] for q in end["interrupts"]]) for end in ends] == [
        ("fail", LookupError, []),
        ("<lambda>", type(None), ["q"]),
        ("program", type(None), ["q"]),
    ]


def test_what_was_shown_before_a_failure_is_shown(lane: Lane, paint: Paint, colour: Colour) -> None:
    work = task(colour(lambda x: x))

    def body(x: int) -> Any:
        yield work(x)
        get_stream_writer()("soon")
        raise ValueError("broken")

    program, seen = entrypoint()(paint(body)), []
    modes: Any = ["updates", "custom"]

    def follow() -> None:
        for chunk in program.stream(1, stream_mode=modes):
            seen.append(chunk)  # noqa: PERF402  # it raises in the middle

    async def afollow() -> None:
        async for chunk in program.astream(1, stream_mode=modes):
            seen.append(chunk)  # noqa: PERF401

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(afollow()) if lane.is_async else follow()
    assert seen == [("updates", {"<lambda>": 1}), ("custom", "soon")]


# ---------------------------------------------------------------------- nested programs


def nested(paint: Paint, kind: str) -> Any:
    add = task(lambda value: value + 1, name="add")

    def child(x: Any) -> Any:
        get_stream_writer()("inside")
        return {"value": (yield add(x["value"]))}

    inner = entrypoint()(paint(child)) if kind == "entrypoint" else graph_of(paint(child))

    def outer(x: Any) -> Any:
        return (yield Child(inner, {"value": x}))["value"]

    return entrypoint()(paint(outer))


@pytest.mark.parametrize("kind", ["entrypoint", "graph"])
def test_nested_programs_are_shown_with_their_namespace_when_asked_for(lane: Lane, paint: Paint, kind: str) -> None:
    program = nested(paint, kind)
    chunks = lane.stream(program, 1, stream_mode=["updates", "custom"], subgraphs=True)
    (namespace,) = {ns for ns, _, _ in chunks if ns}
    assert namespace[0].startswith("outer:")
    own = {"child": {"value": 2}} if kind == "entrypoint" else {"node": {"value": 2}}
    assert chunks == [
        (namespace, "custom", "inside"),
        (namespace, "updates", {"add": 2}),
        (namespace, "updates", own),
        ((), "updates", {"outer": 2}),
    ]
    assert lane.stream(program, 1, subgraphs=True)[-1] == ((), {"outer": 2})


@pytest.mark.parametrize("kind", ["entrypoint", "graph"])
def test_nested_programs_are_not_shown_otherwise(lane: Lane, paint: Paint, kind: str) -> None:
    assert lane.stream(nested(paint, kind), 1, stream_mode="updates") == [{"outer": 2}]


def test_the_second_child_of_a_task_has_a_namespace_of_its_own(lane: Lane, paint: Paint) -> None:
    inner = entrypoint()(lambda x: x)

    def outer(x: int) -> Any:
        yield Child(inner, 1)
        yield Child(inner, 2)

    chunks = lane.stream(entrypoint()(paint(outer)), 0, subgraphs=True)
    (first, _), (second, _), _ = chunks
    assert second == (*first, "1")


def test_custom_chunks_of_tasks_of_nested_programs_arrive(lane: Lane, paint: Paint) -> None:
    chunks = lane.stream(nested(paint, "entrypoint"), 1, stream_mode="custom", subgraphs=True)
    assert [chunk for _, chunk in chunks] == ["inside"]


# ---------------------------------------------------------------------- live


@pytest.mark.parametrize("mode", ["custom", "updates", "tasks"])
def test_chunks_arrive_while_the_code_still_runs(lane: Lane, colour: Colour, mode: Any) -> None:
    seen = threading.Event()
    quick = task(lambda: "quick", name="quick")

    @task
    def patient(writer: Any = None) -> bool:
        writer("here")
        return seen.wait(timeout=5)

    @entrypoint()
    def program(x: int) -> bool:
        quick().result()
        return patient().result()

    wanted: Any = {"custom": "here", "updates": {"quick": "quick"}}.get(mode)

    def look(chunk: Any) -> None:
        if chunk == wanted or (mode == "tasks" and chunk["name"] == "patient"):
            seen.set()

    async def follow() -> list[Any]:
        chunks = []
        async for chunk in program.astream(1, stream_mode=mode):
            look(chunk)
            chunks.append(chunk)
        return chunks

    if lane.is_async:
        assert asyncio.run(follow())
    else:
        for chunk in program.stream(1, stream_mode=mode):
            look(chunk)
    assert lane.invoke(program, 1) is True
    assert seen.is_set()


def test_an_async_consumer_runs_while_a_coroutine_task_waits_for_it() -> None:
    async def main() -> list[Any]:
        ready = asyncio.Event()

        @task
        async def patient(writer: Any = None) -> str:
            writer("here")
            async with asyncio.timeout(5):
                await ready.wait()
            return "done"

        @entrypoint()
        async def program(x: int) -> str:
            return await patient()

        chunks = []
        async for chunk in program.astream(1, stream_mode=["custom", "values"]):
            chunks.append(chunk)
            ready.set()
        return chunks

    assert asyncio.run(main()) == [("custom", "here"), ("values", "done")]


def test_closing_a_stream_early_stops_the_run_and_keeps_what_was_done(lane: Lane, saver: Any, thread: Any) -> None:
    ran: list[str] = []

    @task
    def step(name: str) -> str:
        ran.append(name)
        return name

    @entrypoint(checkpointer=saver)
    def program(x: int) -> list[str]:
        return [step(name).result() for name in ("a", "b")]

    async def take_one() -> Any:
        stream = program.astream(1, thread)
        first = await anext(stream)
        await stream.aclose()
        return first

    if lane.is_async:
        assert asyncio.run(take_one()) == {"step": "a"}
    else:
        stream = program.stream(1, thread)
        assert next(stream) == {"step": "a"}
        stream.close()
    assert lane.invoke(program, None, thread) == ["a", "b"]
    assert (ran.count("a"), ran.count("b")) == (1, 1)
