"""The handles of task calls: one for synchronous code, one for code on an event loop."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from twinstep.pregel.action import Action
from twinstep.pregel.execute import run_call
from twinstep.pregel.task import CallTask, Task
from twinstep.scope import require_scope
from twinstep.types import CachePolicy, RetryPolicy, TaskFuture, TimeoutPolicy

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

PRUNE = 64
"""Number of remembered futures from which on those that nobody needs any more are dropped."""


class SyncFuture(Future[Any]):
    """A task call made by synchronous code.

    Whoever gets to it first runs it: a worker thread, or the thread that asks for the result. Waiting for a task that
    has not begun is therefore the same as calling it, and nested tasks need no threads of their own.
    """

    def __init__(self, task: CallTask, caller: Task, settle: Callable[[Any], Any]) -> None:
        super().__init__()
        self._task, self._caller, self._settle = task, caller, settle
        self._context = copy_context()
        self._claim = threading.Lock()
        self.observed = False

    def __call__(self) -> None:
        """Run the task, unless somebody else has begun to."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            result = self._context.run(self._settle, run_call(self._task))
        except BaseException as error:
            self.set_exception(error)
        else:
            self.set_result(result)

    def _finish(self, timeout: float | None) -> None:
        """Run the task here, if it has not begun; take note that somebody asks for it."""
        self.observed = True
        take_back(self._caller)
        if timeout is None and not self.done():
            self()

    def result(self, timeout: float | None = None) -> Any:
        """Return the task's result, or raise its error."""
        self._finish(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the task's error, or None."""
        self._finish(timeout)
        return super().exception(timeout)

    def cancel(self) -> bool:
        """Give the task up, if it has not begun."""
        return self._claim.acquire(blocking=False) and super().cancel()

    def wait(self) -> BaseException | None:
        """Wait for the end and return the error, if nobody has seen it."""
        seen = self.observed
        if self.cancelled():
            return None
        error = self.exception()
        return None if seen else error

    def __await__(self) -> Generator[Any, Any, Any]:
        from asyncio import wrap_future

        self.observed = True
        return wrap_future(self).__await__()


def lend(task: Task) -> None:
    """Let the tasks that a task starts use its slot."""
    if not task.lent:
        task.lent = True
        task.run.root.workers().release()


def take_back(task: Task) -> None:
    """Take the slot back that a task had lent."""
    if task.lent:
        task.lent = False
        task.run.root.workers().take()


def call(
    action: Action,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    key: str | None = None,
    retry: tuple[RetryPolicy, ...] = (),
    cache: CachePolicy | None = None,
    timeout: TimeoutPolicy | None = None,
) -> TaskFuture[Any]:
    """Start a task called by the running code and return its handle.

    Raises:
        OutsideRunError: no run is under way here.
    """
    caller = require_scope(f"Task '{name}'")
    assert isinstance(caller, Task)
    caller.check_wanted(name)
    caller.alive()
    place = f"key {key}" if key is not None else caller.occurrence(name)
    task = CallTask(caller.run, name, (*caller.path, name, place), action, args, kwargs, retry, cache, timeout)
    loop = running_loop()
    if loop is None:
        from twinstep.pregel.drive_sync import settle

        future: Any = SyncFuture(task, caller, settle)
        remember(caller, future)
        lend(caller)
        caller.run.root.workers().start(future)
    else:
        from twinstep.pregel.drive_async import AsyncFuture

        future = AsyncFuture(task, caller, loop)
        remember(caller, future)
    handle: TaskFuture[Any] = future
    return handle


def remember(caller: Task, future: Any) -> None:
    """Keep a future until its caller ends, so that it is waited for and its failure is not lost."""
    if caller.pending is None:
        caller.pending = []
    elif len(caller.pending) >= PRUNE and caller.pending[0].done():
        caller.pending = [f for f in caller.pending if not (f.done() and f.observed)]
    caller.pending.append(future)


def running_loop() -> AbstractEventLoop | None:
    """Return the event loop that runs in this thread; a program that never imported asyncio has none."""
    events = sys.modules.get("asyncio.events")
    return None if events is None else events._get_running_loop()
