"""Retries, timeouts and caches of tasks and entrypoints."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.conftest import Lane, in_notebooks_too
from tests.func.bodies import Paint
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import InvalidConfigError, NodeTimeoutError
from twinstep.func import entrypoint, task
from twinstep.types import CachePolicy, Command, RetryPolicy, TimeoutPolicy, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def calling(*works: Any, **options: Any) -> Any:
    """Make an entrypoint that calls tasks with its input, one after the other."""

    @entrypoint(**options)
    def program(x: Any) -> Any:
        return [work(x).result() for work in works]

    return program


# ---------------------------------------------------------------------- retry


class Unsteady:
    """Fails a number of times with the given errors, then answers with the number of tries."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.tries = list(errors), 0

    def __call__(self, x: Any) -> int:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.tries


def policy(**options: Any) -> RetryPolicy:
    return RetryPolicy(**{"initial_interval": 0, "jitter": False, **options})


@pytest.mark.parametrize("unit", ["task", "entrypoint"])
def test_a_temporary_failure_is_tried_again(lane: Lane, colour: Colour, unit: str) -> None:
    fn = colour(lambda x: work(x))
    work = Unsteady(ConnectionError(), OSError())
    if unit == "task":
        assert lane.invoke(calling(task(retry_policy=policy())(fn)), 1) == [3]
    else:
        assert lane.invoke(entrypoint(retry_policy=policy())(fn), 1) == 3


def test_the_last_failure_is_raised_when_the_attempts_are_used_up(lane: Lane, colour: Colour) -> None:
    work = Unsteady(*(ConnectionError(n) for n in range(9)))
    program = calling(task(retry_policy=policy(max_attempts=3))(colour(lambda x: work(x))))
    with pytest.raises(ConnectionError, match="2"):
        lane.invoke(program, 1)
    assert work.tries == 3


def test_nothing_is_retried_without_a_policy(lane: Lane) -> None:
    work = Unsteady(ConnectionError())
    with pytest.raises(ConnectionError):
        lane.invoke(calling(task(work)), 1)
    assert work.tries == 1


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ConnectionError(), 2), (TimeoutError(), 2), (OSError(), 2), (Exception(), 2),
        (NodeTimeoutError("n", 1.0), 2), (ValueError(), 1), (TypeError(), 1), (KeyError(), 1), (ZeroDivisionError(), 1),
        (RuntimeError(), 1), (NotImplementedError(), 1), (AssertionError(), 1), (FileNotFoundError(), 1),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else "",
)  # fmt: skip
def test_w49_by_default_only_what_may_be_temporary_is_retried(error: Exception, tries: int) -> None:
    work = Unsteady(*[error] * 5)
    with pytest.raises(type(error)):
        calling(task(retry_policy=policy(max_attempts=2))(work)).invoke(1)
    assert work.tries == tries


@pytest.mark.parametrize(
    "retry_on", [ValueError, (KeyError, ValueError), [ValueError], lambda error: "yes" in str(error)]
)
def test_what_is_retried_can_be_chosen(retry_on: Any) -> None:
    work = Unsteady(ValueError("yes"))
    assert calling(task(retry_policy=policy(retry_on=retry_on))(work)).invoke(1) == [2]
    work = Unsteady(RuntimeError("no"))
    with pytest.raises(RuntimeError):
        calling(task(retry_policy=policy(retry_on=retry_on))(work)).invoke(1)


def test_of_several_policies_the_first_that_matches_decides() -> None:
    several = [policy(max_attempts=2, retry_on=ValueError), policy(max_attempts=4, retry_on=Exception)]
    for error, tries in ((ValueError(), 2), (KeyError(), 4)):
        work = Unsteady(*[error] * 9)
        with pytest.raises(type(error)):
            calling(task(retry_policy=several)(work)).invoke(1)
        assert work.tries == tries


def test_the_pauses_grow_up_to_a_limit(lane: Lane) -> None:
    times: list[float] = []

    @task(retry_policy=policy(initial_interval=0.02, backoff_factor=2, max_interval=0.03, max_attempts=4))
    def work(x: int) -> None:
        times.append(time.monotonic())
        raise ConnectionError

    with pytest.raises(ConnectionError):
        lane.invoke(calling(work), 1)
    pauses = [after - before for before, after in pairwise(times)]
    assert [pause > least for pause, least in zip(pauses, (0.019, 0.029, 0.029), strict=True)] == [True] * 3
    assert sum(pauses) < 0.5  # 0.08 without the limit of 0.03, and what a busy machine adds


def test_w49_jitter_keeps_a_pause_between_half_and_all_of_it() -> None:
    times: list[float] = []

    @task(retry_policy=RetryPolicy(initial_interval=0.04, max_attempts=2))
    def work(x: int) -> None:
        times.append(time.monotonic())
        raise ConnectionError

    with pytest.raises(ConnectionError):
        calling(work).invoke(1)
    assert 0.019 < times[1] - times[0] < 0.5


def test_code_can_see_which_attempt_it_is(lane: Lane) -> None:
    seen: list[tuple[int, bool]] = []

    @task(retry_policy=policy())
    def work(x: int, runtime: Any) -> None:
        info = runtime.execution_info
        seen.append((info.node_attempt, info.node_first_attempt_time is None))
        if len(seen) < 3:
            raise ConnectionError

    lane.invoke(calling(work), 1)
    assert [attempt for attempt, _ in seen] == [1, 2, 3]


def test_a_question_is_not_a_failure(lane: Lane, thread: Any, colour: Colour) -> None:
    tries: list[int] = []

    def ask(x: int) -> Any:
        tries.append(x)
        return interrupt("?")

    program = calling(task(retry_policy=policy(retry_on=Exception))(colour(ask)), checkpointer=InMemorySaver())
    assert "__interrupt__" in lane.invoke(program, 1, thread)
    assert tries == [1]
    assert lane.invoke(program, Command(resume="a"), thread) == ["a"]


def test_only_the_outcome_of_the_last_attempt_is_streamed(lane: Lane) -> None:
    work = Unsteady(ConnectionError())
    program = calling(task(name="work", retry_policy=policy())(lambda x: work(x)))
    assert lane.stream(program, 1) == [{"work": 2}, {"program": [2]}]


# ---------------------------------------------------------------------- timeout


class Clock:
    """Waits long in either colour, without being waited for when the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def plain(self) -> None:
        self.over.wait(timeout=2)

    async def coroutine(self) -> None:
        for _ in range(2000):
            if self.over.is_set():
                return
            await asyncio.sleep(0.001)


@pytest.fixture
def clock() -> Any:
    clock = Clock()
    yield clock
    clock.over.set()


@pytest.mark.parametrize("timeout", [0.03, dt.timedelta(milliseconds=30), TimeoutPolicy(run_timeout=0.03)])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("unit", ["task", "entrypoint"])
@in_notebooks_too
def test_what_takes_too_long_is_given_up(lane: Lane, clock: Clock, kind: str, unit: str, timeout: Any) -> None:
    if kind == "plain":

        def slow(x: int) -> None:
            clock.plain()
    else:

        async def slow(x: int) -> None:  # type: ignore[misc]
            await clock.coroutine()

    program = calling(task(timeout=timeout)(slow)) if unit == "task" else entrypoint(timeout=timeout)(slow)
    began = time.monotonic()
    with pytest.raises(NodeTimeoutError, match=r"'slow' exceeded its run timeout of 0.030s") as caught:
        lane.invoke(program, 1)
    assert time.monotonic() - began < 1
    assert (caught.value.node, caught.value.kind, caught.value.timeout) == ("slow", "run", 0.03)
    assert caught.value.elapsed >= 0.03
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("sign", ["writer", "heartbeat", "task"])
def test_signs_of_life_put_an_idle_timeout_off(lane: Lane, sign: str) -> None:
    note = task(lambda: None)

    @task(timeout=TimeoutPolicy(idle_timeout=0.2))
    def work(x: int, writer: Any, runtime: Any) -> str:
        for _ in range(5):
            time.sleep(0.05)
            {"writer": lambda: writer("on it"), "heartbeat": runtime.heartbeat, "task": lambda: note().result()}[sign]()
        return "done"

    assert lane.invoke(calling(work), 1) == ["done"]


@pytest.mark.parametrize(("refresh_on", "sign"), [("auto", None), ("heartbeat", "writer")])
def test_an_idle_timeout_ends_what_shows_no_life(lane: Lane, clock: Clock, refresh_on: Any, sign: str | None) -> None:
    @task(timeout=TimeoutPolicy(idle_timeout=0.03, refresh_on=refresh_on))
    async def work(x: int, writer: Any) -> None:
        for _ in range(2000):
            await asyncio.sleep(0.001)
            if clock.over.is_set():
                return
            if sign:
                writer("no heartbeat")

    with pytest.raises(NodeTimeoutError, match="idle timeout") as caught:
        lane.invoke(calling(work), 1)
    assert caught.value.kind == "idle"


def test_a_coroutine_is_cancelled_at_its_timeout(lane: Lane) -> None:
    cancelled = threading.Event()

    @task(timeout=0.02)
    async def work(x: int) -> None:
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(NodeTimeoutError):
        lane.invoke(calling(work), 1)
    assert cancelled.wait(timeout=1)


def test_a_timeout_can_be_retried(lane: Lane, clock: Clock, thread: Any) -> None:
    tries: list[int] = []

    @task(timeout=0.1, retry_policy=policy())
    def work(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            clock.plain()
        return len(tries)

    assert lane.invoke(calling(work, checkpointer=InMemorySaver()), 1, thread) == [2]


@pytest.mark.parametrize("unit", ["task", "entrypoint"])
def test_what_a_given_up_attempt_still_does_is_ignored(lane: Lane, thread: Any, unit: str) -> None:
    late, over, inner = threading.Event(), threading.Event(), task(lambda x: x, name="inner")
    tries: list[Any] = []

    def slow(x: int, writer: Any) -> Any:
        tries.append(x)
        if len(tries) == 1:
            late.wait(timeout=2)
            try:
                writer("late")
                tries.append(inner("late").result())
            finally:
                over.set()
            return "late"
        late.set()
        assert over.wait(timeout=2)
        writer("in time")
        return inner("in time").result()

    options: Any = {"timeout": 0.15, "retry_policy": policy()}
    program = (
        calling(task(**options)(slow), checkpointer=InMemorySaver())
        if unit == "task"
        else entrypoint(checkpointer=InMemorySaver(), **options)(slow)
    )
    chunks = lane.stream(program, 1, thread, stream_mode=["custom", "updates"])
    assert "late" not in str(chunks)
    assert ("custom", "in time") in chunks
    assert tries == [1, 1]
    state = lane.state(program, thread)
    assert state.values == (["in time"] if unit == "task" else "in time")


@pytest.mark.parametrize("timeout", [0, -1, TimeoutPolicy])
def test_a_timeout_is_positive(timeout: Any) -> None:
    with pytest.raises(InvalidConfigError, match="greater than 0"):
        TimeoutPolicy(idle_timeout=0) if timeout is TimeoutPolicy else task(timeout=timeout)(abs)


# ---------------------------------------------------------------------- cache


class Counted:
    """Counts its runs."""

    def __init__(self) -> None:
        self.ran: list[Any] = []

    def __call__(self, x: Any) -> Any:
        self.ran.append(x)
        return (x, "result")


def cached_task(colour: Colour, counted: Counted, **options: Any) -> Any:
    def slow(x: Any) -> Any:
        return counted(x)

    return task(cache_policy=CachePolicy(**options))(colour(slow))


def test_a_second_call_with_equal_arguments_is_answered_from_the_cache(lane: Lane, colour: Colour) -> None:
    counted = Counted()
    slow = cached_task(colour, counted)
    program = calling(slow, slow, cache=InMemoryCache())
    hit = {"slow": (5, "result"), "__metadata__": {"cached": True}}
    result = {"program": [(5, "result")] * 2}
    assert lane.stream(program, 5) == [{"slow": (5, "result")}, hit, result]
    assert lane.stream(program, 5) == [hit, hit, result]
    assert lane.invoke(program, 6) == [(6, "result")] * 2
    assert counted.ran == [5, 6]


def test_without_a_cache_the_policy_changes_nothing(lane: Lane, colour: Colour) -> None:
    counted = Counted()
    slow = cached_task(colour, counted)
    lane.invoke(calling(slow, slow), 5)
    assert counted.ran == [5, 5]


def test_w59_identical_calls_at_the_same_time_run_once(lane: Lane, paint: Paint, colour: Colour) -> None:
    counted = Counted()

    def slow(x: int) -> Any:
        time.sleep(0.02)
        return counted(x)

    work = task(cache_policy=CachePolicy())(colour(slow))

    def body(x: int) -> Any:
        futures = [work(x), work(x), work(x)]
        results = []
        for future in futures:
            results.append((yield future))  # noqa: PERF401  # a comprehension cannot yield
        return results

    assert lane.invoke(entrypoint(cache=InMemoryCache())(paint(body)), 5) == [(5, "result")] * 3
    assert counted.ran == [5]


def test_a_failed_call_is_not_cached_and_does_not_fail_those_that_wait_for_it(lane: Lane) -> None:
    unsteady = Unsteady(ValueError("first"))

    @task(cache_policy=CachePolicy())
    def work(x: int) -> int:
        time.sleep(0.01)
        return unsteady(x)

    @entrypoint(cache=InMemoryCache())
    def program(x: int) -> list[Any]:
        return sorted(str(error) if (error := f.exception()) else str(f.result()) for f in [work(x), work(x), work(x)])

    assert lane.invoke(program, 1) == ["2", "2", "first"]


def test_w12_tasks_made_by_one_factory_do_not_share_results(lane: Lane) -> None:
    def make(word: str) -> Any:
        def say(x: int) -> str:
            return f"{word} {x}"

        return task(cache_policy=CachePolicy())(say)

    assert lane.invoke(calling(make("one"), make("two"), cache=InMemoryCache()), 1) == ["one 1", "two 1"]


def test_a_key_function_decides_what_is_the_same(lane: Lane, colour: Colour) -> None:
    counted = Counted()
    slow = cached_task(colour, counted, key_func=lambda x: x["id"])
    program = calling(slow, cache=InMemoryCache())
    assert lane.invoke(program, {"id": "a", "n": 1}) == lane.invoke(program, {"id": "a", "n": 2})
    lane.invoke(program, {"id": "b"})
    assert len(counted.ran) == 2


def test_a_result_is_forgotten_when_its_time_is_over(lane: Lane, colour: Colour) -> None:
    counted = Counted()
    program = calling(cached_task(colour, counted, ttl=0.09), cache=InMemoryCache())
    lane.invoke(program, 1)
    lane.invoke(program, 1)
    time.sleep(0.1)
    lane.invoke(program, 1)
    assert counted.ran == [1, 1]


def test_the_results_of_one_task_can_be_forgotten(lane: Lane, colour: Colour) -> None:
    cache: InMemoryCache[Any] = InMemoryCache()
    kept, cleared = Counted(), Counted()
    one, two = cached_task(colour, kept), task(cache_policy=CachePolicy())(colour(lambda x: cleared(x)))
    program = calling(one, two, cache=cache)
    lane.invoke(program, 1)
    if lane.is_async:
        asyncio.run(two.aclear_cache(cache))
    else:
        two.clear_cache(cache)
    lane.invoke(program, 1)
    assert (kept.ran, cleared.ran) == ([1], [1, 1])


def test_a_caller_cannot_change_what_is_cached(lane: Lane) -> None:
    work = task(cache_policy=CachePolicy())(lambda x: [x])

    @entrypoint(cache=InMemoryCache())
    def program(x: int) -> Any:
        found = work(x).result()
        found.append("changed")
        return work(x).result()

    assert lane.invoke(program, 1) == [1]


def test_a_whole_entrypoint_can_be_cached(lane: Lane, colour: Colour) -> None:
    counted = Counted()

    def program(x: int) -> Any:
        return counted(x)

    cached = entrypoint(cache=InMemoryCache(), cache_policy=CachePolicy())(colour(program))
    assert lane.stream(cached, 1) == [{"program": (1, "result")}]
    assert lane.stream(cached, 1) == [{"program": (1, "result"), "__metadata__": {"cached": True}}]
    lane.call(cached, "clear_cache")
    assert lane.invoke(cached, 1) == (1, "result")
    assert counted.ran == [1, 1]


def test_there_must_be_a_cache_to_clear(lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match="No cache"):
        lane.call(entrypoint()(lambda x: x), "clear_cache")


def test_a_question_is_not_cached(lane: Lane, thread: Any) -> None:
    ask = task(cache_policy=CachePolicy())(lambda x: interrupt("?"))
    program = calling(ask, cache=InMemoryCache(), checkpointer=InMemorySaver())
    for answer in ("a", "b"):
        lane.invoke(program, answer, thread)
        assert lane.invoke(program, Command(resume=answer), thread) == [answer]


def test_a_nested_entrypoint_uses_the_cache_of_its_caller(lane: Lane, colour: Colour) -> None:
    counted = Counted()
    inner = calling(cached_task(colour, counted))
    outer = entrypoint(cache=InMemoryCache())(lambda x: [inner.invoke(x), inner.invoke(x)])
    lane.invoke(outer, 1)
    assert counted.ran == [1]
