"""How long an attempt may still take."""

from __future__ import annotations

import time

from twinstep.errors import NodeTimeoutError
from twinstep.pregel.task import Task
from twinstep.types import TimeoutPolicy


def remaining(task: Task, policy: TimeoutPolicy) -> float:
    """Return the seconds until an attempt has to be given up, unless it shows a sign of life."""
    now = time.monotonic()
    limits = []
    if policy.run_timeout is not None:
        limits.append(task.began + seconds(policy.run_timeout) - now)
    if policy.idle_timeout is not None:
        limits.append(task.seen + seconds(policy.idle_timeout) - now)
    return min(limits, default=float("inf"))


def seconds(value: object) -> float:
    """Return a limit in seconds; the policy has turned timedeltas into numbers."""
    assert isinstance(value, int | float)
    return float(value)


def give_up(task: Task, policy: TimeoutPolicy) -> NodeTimeoutError:
    """Give the running attempt up and return the error that says why."""
    task.fenced = True
    now = time.monotonic()
    elapsed = now - task.began
    idle = policy.run_timeout is None or elapsed < seconds(policy.run_timeout)
    return NodeTimeoutError(
        task.name,
        elapsed,
        kind="idle" if idle else "run",
        idle_timeout=None if policy.idle_timeout is None else seconds(policy.idle_timeout),
        run_timeout=None if policy.run_timeout is None else seconds(policy.run_timeout),
    )
