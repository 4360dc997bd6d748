"""Synchronous code of a task as a job for a worker thread, and how a coroutine waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from twinstep.pregel.action import holdable
from twinstep.pregel.effects import SPARING
from twinstep.pregel.task import Task
from twinstep.pregel.workers import Job, in_slot


class ThreadJob(Job):
    """Synchronous code of a task, run for a coroutine that waits for it."""

    def __init__(self, task: Task, fn: Callable[[], Any]) -> None:
        super().__init__()
        self._task, self._fn = task, fn
        self._context, self._loop = copy_context(), asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = self._loop.create_future()

    def run(self) -> None:
        """Run the code and hand its outcome to the loop."""
        try:
            value = in_slot(self._task, self._context, self._fn)
            setter = self.outcome.set_result
        except BaseException as error:
            value, setter = holdable(error), self.outcome.set_exception
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._tell, setter, value)
        del self, value, setter  # an error holds this frame

    def _tell(self, setter: Callable[[Any], None], value: Any) -> None:
        if not self.outcome.done():
            setter(value)


async def in_thread(task: Task, fn: Callable[[], Any]) -> Any:
    """Run synchronous code of a task in a worker thread.

    When the waiting is cancelled the thread goes on. If that is because of a failure, its end is waited for, so that
    what it has done is put on record; else the engine ignores what it still does.
    """
    job = ThreadJob(task, fn)
    task.run.root.workers().start(job)
    try:
        return await asyncio.shield(job.outcome)
    except asyncio.CancelledError as error:
        if job.claim():
            raise
        if error.args != (SPARING,):
            task.fenced = True
            raise
    except BaseException:
        del job  # its outcome holds this frame
        raise
    return await _late(task, job)


async def _late(task: Task, job: ThreadJob) -> Any:
    """Return the outcome of a thread that nobody waits for any more except for the record."""
    task.unwanted = True
    try:
        return await job.outcome
    except asyncio.CancelledError:
        task.fenced = True
        raise
    except Exception as error:
        if task.retry:  # not now: when the run is continued
            raise asyncio.CancelledError(SPARING) from error
        raise
