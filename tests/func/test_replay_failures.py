"""Failures and resuming: caught ones stay as they were, those that ended the run are tried again."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Lane
from tests.func.bodies import Child, Paint
from tests.func.world import TWICE, Broken, World
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.func import entrypoint, task
from twinstep.types import Command, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def test_a_failure_that_nobody_waited_for_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def body(x: int) -> Any:
        flaky(x)
        return (yield slow(x))

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken, match="not now"):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == 1
    assert sorted(map(str, world.ran)) == ["1", "flaky", "flaky"]


def test_a_caught_failure_is_not_repeated_and_has_the_same_type_and_text(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def body(x: int) -> Any:
        try:
            yield flaky(x)
        except Exception as error:
            return [type(error).__name__, str(error), interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, Command(resume="yes"), thread) == ["Broken", "not now", "yes"]
    assert world.ran == ["flaky"]


def test_a_caught_failure_stays_caught_when_another_one_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    @task
    def hopeless() -> None:
        world.work("hopeless")
        raise ValueError("never")

    flaky = task(world.flaky)

    def body(x: int) -> Any:
        try:
            yield hopeless()
        except ValueError as error:
            found = str(error)
        return [found, (yield flaky(x))]

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == ["never", 1]
    assert world.ran == ["hopeless", "flaky", "flaky"]


def test_a_failure_that_is_raised_again_as_another_error_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def body(x: int) -> Any:
        try:
            return (yield flaky(x))
        except Broken as error:
            raise ValueError("wrapped") from error

    program = entrypoint(checkpointer=saver)(paint(body))
    with pytest.raises(ValueError, match="wrapped"):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == 1


async def in_a_group(future: Any) -> Any:
    async def wait() -> Any:
        return await future

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait())
    return waiting.result()


async def with_another_cause(future: Any) -> Any:
    try:
        return await future
    except Broken:
        raise ValueError("wrapped") from KeyError("something else")


async def in_a_cause(future: Any) -> Any:
    try:
        return await future
    except Broken as error:
        raise ValueError("wrapped") from ExceptionGroup("several", [KeyError(), error])


@pytest.mark.parametrize("wait", [in_a_group, with_another_cause, in_a_cause])
def test_a_failure_that_reaches_the_caller_inside_another_error_is_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World, wait: Callable[..., Any]
) -> None:
    flaky = task(world.flaky)

    @entrypoint(checkpointer=saver)
    async def program(x: int) -> Any:
        return await wait(flaky(x))

    with pytest.raises((ExceptionGroup, ValueError)):
        lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, None, thread) == 1


@pytest.mark.parametrize("inside", ["the task", "a task in it", "a child of it"])
@pytest.mark.parametrize("how", ["wait", "gather"])
@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_failures_of_parallel_tasks_are_all_tried_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, world: World, inside: str, how: str, durability: Any
) -> None:
    flaky, child = task(world.flaky), entrypoint()(world.flaky)
    work: Any = {
        "the task": flaky,
        "a task in it": task(lambda x: flaky(x).result()),
        "a child of it": task(lambda x: child.invoke(x)),
    }[inside]

    def wait(x: int) -> Any:
        futures = [work(n) for n in "ab"]
        cf.wait(futures)
        return [future.result() for future in futures]

    async def gather(x: int) -> Any:
        return list(await asyncio.gather(work("a"), work("b")))

    program = entrypoint(checkpointer=saver)(wait if how == "wait" else gather)
    with pytest.raises(Broken):
        lane.invoke(program, 1, thread, durability=durability)
    world.broken = False
    assert lane.invoke(program, None, thread, durability=durability) == ["a", "b"]


def test_a_caught_failure_of_a_nested_entrypoint_is_not_repeated(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, paint: Paint, world: World
) -> None:
    flaky = task(world.flaky)

    def child(x: int) -> Any:
        return (yield flaky(x))

    inner = entrypoint()(paint(child))

    def body(x: int) -> Any:
        try:
            found = yield Child(inner, x)
        except Broken as error:
            found = str(error)
        return [found, interrupt("?")]

    program = entrypoint(checkpointer=saver)(paint(body))
    lane.invoke(program, 1, thread)
    world.broken = False
    assert lane.invoke(program, Command(resume="a"), thread) == ["not now", "a"]
    assert world.ran == ["flaky"]


def test_a_result_that_cannot_be_stored_does_not_block_the_thread(lane: Lane, saver: Any, thread: Any) -> None:
    results = iter([object(), "fine"])
    program = entrypoint(checkpointer=saver)(lambda x: next(results))
    with pytest.raises(TypeError, match="'object' cannot be stored"):
        lane.invoke(program, 1, thread)
    assert lane.state(program, thread).metadata["status"] == "failed"
    assert lane.invoke(program, None, thread) == "fine"


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
def test_a_retried_entrypoint_does_not_repeat_finished_tasks(
    lane: Lane, thread: Any, paint: Paint, world: World, saved: bool
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def body(x: int) -> Any:
        first = yield slow(x)
        try:
            return [first, (yield flaky(x))]
        finally:
            world.broken = False

    saver = InMemorySaver() if saved else None
    program = entrypoint(checkpointer=saver, retry_policy=TWICE)(paint(body))
    assert lane.invoke(program, 1, thread) == [1, 1]
    assert world.ran == [1, "flaky", "flaky"]


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
def test_a_retried_task_does_not_repeat_the_tasks_it_has_finished(
    lane: Lane, thread: Any, paint: Paint, world: World, saved: bool
) -> None:
    slow, flaky = task(world.work), task(world.flaky)

    def both(x: int) -> Any:
        first = yield slow(x)
        try:
            return [first, (yield flaky(x))]
        finally:
            world.broken = False

    outer = task(retry_policy=TWICE)(paint(both))

    def body(x: int) -> Any:
        return (yield outer(x))

    program = entrypoint(checkpointer=InMemorySaver() if saved else None)(paint(body))
    assert lane.invoke(program, 1, thread) == [1, 1]
    assert world.ran == [1, "flaky", "flaky"]
