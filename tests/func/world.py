"""What happens outside of a run, and fails when it is told to."""

from __future__ import annotations

from typing import Any

from twinstep.types import RetryPolicy

TWICE = RetryPolicy(initial_interval=0, max_attempts=2, jitter=False, retry_on=Exception)


class Broken(Exception):
    """Raised by the tests."""


class World:
    """What happens outside of a run: counts calls and fails when it is told to."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.broken = True

    def work(self, x: Any) -> Any:
        self.ran.append(x)
        return x

    def flaky(self, x: Any) -> Any:
        self.ran.append("flaky")
        if self.broken:
            raise Broken("not now")
        return x
