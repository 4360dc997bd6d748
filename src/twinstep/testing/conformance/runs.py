"""What the engine makes of a saver, as a test class: whole runs, stopped at each write, forked and raced."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.rows import Commit
from twinstep.errors import CheckpointStorageError, ThreadConflictError
from twinstep.func import entrypoint, task
from twinstep.testing.conformance.writer import put, thread
from twinstep.types import Command, RunnableConfig, interrupt

EXACT: list[Any] = [
    None, True, 0, -(2**200), 1.5, float("inf"), 1 + 2j, "täglich \U0001f600", b"\0\xff", bytearray(b"x"),
    (1, (2,)), [()], {1, 2}, frozenset({(1, 2)}), {"a": {1: (2,)}}, OrderedDict(b=1, a=2), Counter("aab"),
    deque([1, 2], maxlen=3), Decimal("1.10"), Fraction(1, 3), range(1, 9, 2), UUID(int=7),
    datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=UTC), "x" * 100_000, bytes(100_000),
]  # fmt: skip
"""Values that must come back equal and of the same type."""


class RunConformance:
    """Runs of entrypoints with the saver."""

    @pytest.mark.parametrize("lost", ["write", "acknowledgement"])
    def test_a_run_stopped_at_any_write_goes_on(self, saver: BaseCheckpointSaver, lost: str) -> None:
        """A failed write stops the run; work that is on record is not repeated."""
        stopped, at = True, 0
        while stopped:
            at += 1
            ran: list[int] = []
            flow, config = _flow(saver, ran), thread(f"{lost} {at}")
            stopped = _stopped_at(saver, at, lost == "write", flow, config)
            started = flow.get_state(config).metadata is not None
            if not flow.get_state(config).interrupts:
                flow.invoke(None if started else 3, config)
            assert flow.invoke(Command(resume="!"), config) == [0, 1, 2, "!"]
            assert len(ran) <= 4 if lost == "write" else ran == [0, 1, 2], f"stopped at write {at}"
        assert at > 4

    def test_a_fork_does_not_see_what_the_run_it_left_has_done(self, saver: BaseCheckpointSaver) -> None:
        ran: list[int] = []
        flow, config = _flow(saver, ran), thread()
        flow.invoke(1, config)
        first = flow.get_state(config).config
        flow.invoke(Command(resume="left"), config)
        assert flow.invoke(Command(resume="right"), first) == [0, "right"]
        assert flow.get_state(config).values == [0, "right"]

    def test_runs_that_race_for_a_thread_lose_nothing(self, saver: BaseCheckpointSaver) -> None:
        @entrypoint(checkpointer=saver)
        def add(name: str, previous: Any = None) -> list[str]:
            return [*(previous or []), name]

        def work(i: int) -> str | None:
            try:
                add.invoke(f"{i}", thread())
            except ThreadConflictError:
                return None
            return f"{i}"

        with ThreadPoolExecutor(4) as pool:
            won = [name for name in pool.map(work, range(16)) if name]
        assert sorted(add.get_state(thread()).values) == sorted(won)
        assert won

    @pytest.mark.parametrize("value", EXACT, ids=lambda value: type(value).__name__)
    def test_values_come_back_exactly(self, saver: BaseCheckpointSaver, value: Any) -> None:
        put(saver, thread(), value=value)
        found = saver.get(thread())
        assert found is not None
        assert (found["channel_values"]["value"], type(found["channel_values"]["value"])) == (value, type(value))


def _flow(saver: BaseCheckpointSaver, ran: list[int]) -> Any:
    """Return a program with some calls and a question."""

    @task
    def work(i: int) -> int:
        ran.append(i)
        return i

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> list[Any]:
        return [*(work(i).result() for i in range(n)), interrupt("go on?")]

    return flow


def _stopped_at(saver: BaseCheckpointSaver, at: int, before: bool, flow: Any, config: RunnableConfig) -> bool:
    """Run a program whose `at`-th write fails, and tell whether it came so far."""
    with _failing(saver, at, before):
        try:
            flow.invoke(3, config)
        except CheckpointStorageError:
            return True
    return False


@contextmanager
def _failing(saver: BaseCheckpointSaver, at: int, before: bool) -> Iterator[None]:
    """Make one write of a saver fail, before it is stored or when it has been."""
    commit, count = saver.commit, 0

    def failing(each: Commit) -> None:
        nonlocal count
        count += 1
        if count != at or not before:
            commit(each)
        if count == at:
            raise CheckpointStorageError("The test stops the run here.")

    vars(saver)["commit"] = failing
    try:
        yield
    finally:
        del vars(saver)["commit"]
