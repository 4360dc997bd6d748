"""How long an attempt may still take."""

from __future__ import annotations

import time
from collections.abc import Sequence

from twinstep.errors import NodeTimeoutError, StepTimeoutError
from twinstep.pregel.run import Run
from twinstep.pregel.task import NodeTask, Task
from twinstep.types import TimeoutPolicy


def remaining(task: Task, policy: TimeoutPolicy) -> float:
    """Return the seconds until an attempt has to be given up, unless it shows a sign of life."""
    now = time.monotonic()
    limits = []
    if policy.run_timeout is not None:
        limits.append(task.began + seconds(policy.run_timeout) - now)
    if policy.idle_timeout is not None:
        limits.append(task.seen + seconds(policy.idle_timeout) - now)
    if task.run.step_ends is not None:
        limits.append(task.run.step_ends - now)
    return min(limits, default=float("inf"))


def limit_step(run: Run, tasks: Sequence[NodeTask]) -> None:
    """Note when the superstep that begins now has to end; its tasks are given up then."""
    assert run.step_timeout is not None
    run.step_ends = time.monotonic() + run.step_timeout
    for task in tasks:
        task.timeout = task.timeout or TimeoutPolicy()


def seconds(value: object) -> float:
    """Return a limit in seconds; the policy has turned timedeltas into numbers."""
    assert isinstance(value, int | float)
    return float(value)


def give_up(task: Task, policy: TimeoutPolicy) -> NodeTimeoutError | StepTimeoutError:
    """Give the running attempt up and return the error that says why."""
    task.fenced = True
    now, run = time.monotonic(), task.run
    if run.step_ends is not None and run.step_timeout is not None and now >= run.step_ends:
        return StepTimeoutError(task.name, run.step, run.step_timeout)
    elapsed = now - task.began
    idle = policy.run_timeout is None or elapsed < seconds(policy.run_timeout)
    return NodeTimeoutError(
        task.name,
        elapsed,
        kind="idle" if idle else "run",
        idle_timeout=None if policy.idle_timeout is None else seconds(policy.idle_timeout),
        run_timeout=None if policy.run_timeout is None else seconds(policy.run_timeout),
    )
