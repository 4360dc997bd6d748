"""The handles of task calls: how they are waited for, and what becomes of those that nobody waits for."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.conftest import Lane
from tests.func.bodies import Paint, within
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import OutsideRunError
from twinstep.func import entrypoint, task
from twinstep.types import Command, TaskFuture, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def increment(x: int) -> int:
    return x + 1


def test_result_waits_in_plain_code(lane: Lane, colour: Colour) -> None:
    work = task(colour(increment))

    @entrypoint()
    def program(x: int) -> list[Any]:
        future = work(x)
        assert isinstance(future, TaskFuture)
        return [future.result(), future.done(), future.exception()]

    assert lane.invoke(program, 1) == [2, True, None]


def all_results(futures: list[Any]) -> list[int]:
    return [future.result() for future in futures]


def as_completed(futures: list[Any]) -> list[int]:
    return sorted(future.result() for future in cf.as_completed(futures, timeout=5))


def wait_for_all(futures: list[Any]) -> list[int]:
    done, waiting = cf.wait(futures, timeout=5)
    assert not waiting
    return sorted(future.result() for future in done)


def wait_for_first(futures: list[Any]) -> list[int]:
    found: list[int] = []
    waiting = set(futures)
    while waiting:
        done, waiting = cf.wait(waiting, timeout=5, return_when=cf.FIRST_COMPLETED)
        assert done
        found += [future.result() for future in done]
    return sorted(found)


async def await_each(futures: list[Any]) -> list[int]:
    return [await future for future in futures]


async def gather(futures: list[Any]) -> list[int]:
    return list(await asyncio.gather(*futures))


async def two_gathers(futures: list[Any]) -> list[int]:
    first, second = asyncio.gather(*futures[:2]), asyncio.gather(*futures[2:])
    return [*await first, *await second]


async def as_awaited(futures: list[Any]) -> list[int]:
    return sorted([await future for future in asyncio.as_completed(futures, timeout=5)])


async def wait_async(futures: list[Any]) -> list[int]:
    found: list[int] = []
    waiting = set(futures)
    while waiting:
        done, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert done
        found += [future.result() for future in done]
    return sorted(found)


COLLECTORS = [
    all_results, as_completed, wait_for_all, wait_for_first, await_each, gather, two_gathers, as_awaited, wait_async
]  # fmt: skip


@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("collect", COLLECTORS)
def test_any_way_to_collect_futures_works_under_any_limit(
    lane: Lane, colour: Colour, collect: Callable[..., Any], limit: int | None
) -> None:
    work = task(colour(increment))

    def start(n: int) -> Any:
        return collect([work(i) for i in range(n)])

    async def astart(n: int) -> Any:
        return await start(n)

    program = entrypoint()(astart if asyncio.iscoroutinefunction(collect) else start)
    assert within(5, lambda: lane.invoke(program, 5, {"max_concurrency": limit})) == [1, 2, 3, 4, 5]


def test_result_of_an_unfinished_future_in_a_coroutine_says_to_await_it(lane: Lane) -> None:
    @entrypoint()
    async def program(x: int) -> Any:
        future = task(increment)(x)
        with pytest.raises(asyncio.InvalidStateError, match="await"):
            future.result()
        return await future

    assert lane.invoke(program, 1) == 2


# ---------------------------------------------------------------------- failures and calls that nobody waits for


def test_a_task_that_nobody_waits_for_has_ended_before_the_run_ends(lane: Lane, paint: Paint, colour: Colour) -> None:
    ended: list[int] = []
    work = task(colour(ended.append), name="work")

    def body(x: int) -> Any:
        for i in range(3):
            work(i)
        return "done"
        yield

    assert lane.invoke(entrypoint()(paint(body)), 0) == "done"
    assert sorted(ended) == [0, 1, 2]


def fail(x: int) -> None:
    raise LookupError(f"no {x}")


def test_the_failure_of_a_task_that_nobody_waits_for_fails_the_run(lane: Lane, paint: Paint, colour: Colour) -> None:
    broken = task(colour(fail))

    def body(x: int) -> Any:
        broken(x)
        return "fine"
        yield

    with pytest.raises(LookupError, match="no 3"):
        lane.invoke(entrypoint()(paint(body)), 3)


def test_a_failure_is_raised_where_it_is_waited_for(lane: Lane, paint: Paint, colour: Colour) -> None:
    broken, work = task(colour(fail)), task(increment)

    def body(x: int) -> Any:
        try:
            yield broken(x)
        except LookupError as error:
            return [str(error), (yield work(x))]

    assert lane.invoke(entrypoint()(paint(body)), 3) == ["no 3", 4]


def test_gather_can_return_failures(lane: Lane) -> None:
    broken, work = task(fail), task(increment)

    @entrypoint()
    async def program(x: int) -> list[str]:
        found = await asyncio.gather(broken(x), work(x), return_exceptions=True)
        return [repr(one) for one in found]

    assert lane.invoke(program, 1) == ["LookupError('no 1')", "2"]


def test_a_task_group_cancels_the_siblings_of_a_failed_task(lane: Lane) -> None:
    cancelled = threading.Event()

    @task
    async def slow() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    broken = task(fail)

    async def wait_for(future: Any) -> Any:
        return await future

    @entrypoint()
    async def program(x: int) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait_for(slow()))
                group.create_task(wait_for(broken(x)))
        except* LookupError:
            pass
        return "gone on"

    assert within(3, lambda: lane.invoke(program, 1)) == "gone on"
    assert cancelled.is_set()


def test_result_with_a_timeout_gives_up_waiting_and_can_be_asked_again(lane: Lane) -> None:
    go = threading.Event()

    @task
    def slow() -> bool:
        return go.wait(timeout=5)

    @entrypoint()
    def program(x: int) -> Any:
        future: Any = slow()
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
        go.set()
        return future.result()

    assert lane.invoke(program, 0) is True


def test_done_callbacks_are_called(lane: Lane) -> None:
    seen: list[int] = []

    @entrypoint()
    def program(x: int) -> int:
        future = task(increment)(x)
        future.add_done_callback(lambda f: seen.append(f.result()))
        return future.result()

    assert lane.invoke(program, 1) == 2
    assert seen == [2]


def test_a_task_cannot_be_called_outside_of_a_run() -> None:
    with pytest.raises(OutsideRunError, match="'increment'"):
        task(increment)(1)


def test_a_future_can_be_handed_to_another_task(lane: Lane) -> None:
    work = task(increment)

    @task
    def outer(future: Any) -> int:
        return future.result() + 10

    @entrypoint()
    def program(x: int) -> int:
        return outer(work(x)).result()

    assert within(5, lambda: lane.invoke(program, 1, {"max_concurrency": 1})) == 12


def test_a_failure_is_not_lost_among_many_tasks(lane: Lane) -> None:
    broken, work = task(fail), task(increment)

    @entrypoint()
    def program(n: int) -> int:
        broken(1)
        return sum(future.result() for future in [work(i) for i in range(n)])

    with pytest.raises(LookupError, match="no 1"):
        lane.invoke(program, 200)


def test_a_task_that_has_not_begun_can_be_cancelled(lane: Lane) -> None:
    ran, begun, go = [], threading.Event(), threading.Event()

    @task
    def work(x: int) -> None:
        ran.append(x)
        begun.set()
        go.wait(timeout=2)

    @entrypoint()
    def program(x: int) -> list[bool]:
        first, second = work(1), work(2)
        begun.wait(timeout=2)
        found = [first.cancel(), second.cancel()]
        go.set()
        with pytest.raises(cf.CancelledError):
            second.result()
        return found

    assert within(5, lambda: lane.invoke(program, 0, {"max_concurrency": 1})) == [False, True]
    assert ran == [1]


@pytest.mark.parametrize("limit", [None, 1])
def test_a_timeout_in_the_body_gives_up_a_task(lane: Lane, limit: int | None) -> None:
    @task
    async def slow() -> None:
        await asyncio.sleep(5)

    @entrypoint()
    async def program(x: int) -> str:
        try:
            async with asyncio.timeout(0.02):
                await slow()
        except TimeoutError:
            return "fallback"
        return "slow"

    assert within(3, lambda: lane.invoke(program, 1, {"max_concurrency": limit})) == "fallback"


@pytest.mark.parametrize("limit", [None, 1])
def test_tasks_can_be_called_from_a_thread_of_a_coroutine(lane: Lane, colour: Colour, limit: int | None) -> None:
    work = task(colour(increment))

    @entrypoint()
    async def program(x: int) -> list[int]:
        return await asyncio.to_thread(lambda: [future.result() for future in [work(1), work(2)]])

    assert within(3, lambda: lane.invoke(program, 1, {"max_concurrency": limit})) == [2, 3]


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("awaited", [True, False])
def test_plain_code_may_run_an_event_loop_of_its_own(
    lane: Lane, colour: Colour, limit: int | None, awaited: bool
) -> None:
    work = task(colour(increment))

    @entrypoint()
    def program(x: int) -> Any:
        async def main() -> Any:
            futures = [work(1), work(2)]
            return await asyncio.gather(*futures) if awaited else len(futures)

        return asyncio.run(main())

    assert within(3, lambda: lane.invoke(program, 1, {"max_concurrency": limit})) == ([2, 3] if awaited else 2)


@pytest.mark.parametrize("limit", [None, 1])
def test_a_child_can_be_streamed_in_a_body(lane: Lane, limit: int | None) -> None:
    work = task(increment)
    inner = entrypoint()(lambda x: work(x).result())
    expected = [{"increment": 2}, {"<lambda>": 2}]

    async def follow(x: int) -> Any:
        return [chunk async for chunk in inner.astream(x)]

    for program in (entrypoint()(lambda x: list(inner.stream(x))), entrypoint()(follow)):
        assert within(3, partial(lane.invoke, program, 1, {"max_concurrency": limit})) == expected


def test_a_batch_of_children_belongs_to_the_run(lane: Lane) -> None:
    inner = entrypoint()(lambda x, runtime: [x, runtime.context["name"]])

    async def body(x: int) -> Any:
        return await inner.abatch([1, 2])

    for program in (entrypoint()(lambda x: inner.batch([1, 2])), entrypoint()(body)):
        assert lane.invoke(program, 0, context={"name": "Ada"}) == [[1, "Ada"], [2, "Ada"]]


def test_a_batch_of_children_shows_all_its_questions(lane: Lane) -> None:
    child = entrypoint()(lambda x: interrupt(x))
    parent = entrypoint(checkpointer=InMemorySaver())(lambda x: child.batch([1, 2, 3]))
    thread: Any = {"configurable": {"thread_id": "1"}}
    asked = lane.invoke(parent, 0, thread)["__interrupt__"]
    assert [question.value for question in asked] == [1, 2, 3]
    answers = {question.id: question.value * 10 for question in asked}
    assert lane.invoke(parent, Command(resume=answers), thread) == [10, 20, 30]


def test_a_task_cannot_be_called_after_its_caller_has_ended() -> None:
    async def main() -> Any:
        found: list[Any] = []
        background = []

        async def late() -> None:
            await asyncio.sleep(0.01)
            with pytest.raises(OutsideRunError, match="not started"):
                await task(found.append)(1)

        @entrypoint()
        async def program(x: int) -> None:
            background.append(asyncio.create_task(late()))

        await program.ainvoke(1)
        await background[0]
        return found

    assert asyncio.run(main()) == []
