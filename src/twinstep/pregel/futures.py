"""Calls of tasks, and the handle that synchronous code gets of them; `drive_async` has the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures._base import FINISHED
from contextvars import copy_context
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any

from twinstep.checkpoint.format import Record
from twinstep.errors import OutsideRunError
from twinstep.ids import id_below
from twinstep.pregel.action import Action
from twinstep.pregel.calls import name_on_record, stands_for
from twinstep.pregel.drive_sync import settle, was_cancelled
from twinstep.pregel.execute import run_call, take_result
from twinstep.pregel.task import CallTask, Task
from twinstep.pregel.workers import Job, code_loop, in_slot, lend
from twinstep.scope import SCOPE, require_scope
from twinstep.threads import THREADS
from twinstep.types import CachePolicy, RetryPolicy, TaskFuture, TimeoutPolicy

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

PRUNE = 64
"""Number of remembered futures from which on those that nobody needs any more are dropped."""


def is_deep() -> bool:
    """Tell whether half of the frames that this thread may have are in use: tasks that call tasks in many levels."""
    try:
        sys._getframe(sys.getrecursionlimit() // 2)
    except ValueError:
        return False
    return True


def run_aside(job: Callable[[], object]) -> None:
    """Run a function that never raises in another thread, with frames of its own, and wait for its end."""
    ended = Lock()
    ended.acquire()

    def work() -> None:
        THREADS.busy()
        job()
        ended.release()

    THREADS.start(work)
    ended.acquire()


class SyncFuture(Job, Future[Any]):
    """A task call made by synchronous code."""

    def __init__(self, task: CallTask) -> None:
        Job.__init__(self)
        Future.__init__(self)
        self._task = task
        self._context = copy_context()
        self.observed: bool = False

    def run(self) -> None:
        """Run the task and keep its outcome."""
        try:
            result = in_slot(self._task, self._context, settle, run_call(self._task))
        except BaseException as error:
            self.set_exception(error)
        else:
            self.set_result(result)

    def _help(self, timeout: float | None) -> None:
        """Run the task here, if it has not begun and the caller has the time."""
        if timeout is None and not self.done():
            slots = self._task.run.root.workers()
            if slots.steal(self):
                if is_deep():
                    run_aside(self.run)
                else:
                    self.run()
                slots.release()

    def result(self, timeout: float | None = None) -> Any:
        """Return the task's result, or raise its error."""
        self.observed = True
        self._help(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the task's error, or None."""
        self.observed = True
        self._help(timeout)
        return super().exception(timeout)

    def cancel(self) -> bool:
        """Give the task up, if it has not begun."""
        return self.claim() and super().cancel()

    def give_up(self, spare: bool) -> None:
        """Cancel the task if it has not begun, or is a coroutine; a plain function goes on."""
        if not self.cancel():
            self._task.abort()

    def wait(self) -> None:
        """Wait for the end, in a thread."""
        if not self.cancelled():
            self._help(None)
            super().exception()

    def failure(self) -> tuple[BaseException, bool] | None:
        """Return the error of a task that has ended, and whether somebody has seen it."""
        error = None if self.cancelled() else super().exception()
        return None if error is None or was_cancelled(self._task, error) else (error, self.observed)

    def __await__(self) -> Generator[Any, Any, Any]:
        from asyncio import wrap_future

        self.observed = True
        return wrap_future(self).__await__()


class Replayed(Future[Any]):
    """A call whose result is on record: done from the start.

    What makes other futures expensive, the means to wait for them, is made when somebody looks for it.
    """

    _state, _exception = FINISHED, None

    def __init__(self, value: Any) -> None:
        self._result = value

    def __getattr__(self, name: str) -> Any:
        if name not in _WAITING:
            raise AttributeError(name)
        return self.__dict__.setdefault(name, _WAITING[name]())

    def result(self, timeout: float | None = None) -> Any:
        """Return the task's result."""
        return self._result

    def __await__(self) -> Generator[Any, Any, Any]:
        from asyncio import wrap_future

        return wrap_future(self).__await__()


_WAITING: dict[str, Callable[[], Any]] = {"_condition": Condition, "_waiters": list, "_done_callbacks": list}
"""What a future needs to be waited for."""


def is_handle(value: Any) -> bool:
    """Tell whether a value is the handle of a task (or any other future) and not its result."""
    return hasattr(value, "add_done_callback")


def call(
    action: Action,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: str | None = None,
    retry: tuple[RetryPolicy, ...] = (),
    cache: CachePolicy | None = None,
    timeout: TimeoutPolicy | None = None,
    *,
    hidden: bool = False,
) -> TaskFuture[Any]:
    """Start a task called by the running code and return its handle; streams leave a hidden one out.

    Raises:
        OutsideRunError: no run is under way here.
    """
    caller = SCOPE.get()
    if not isinstance(caller, Task):
        caller = require_scope(f"Task '{name}'")
        raise OutsideRunError(
            f"Task '{name}' cannot be called from '{caller.name}', which runs in another process (executor=)."
        )
    caller.check_wanted(name)
    if caller.timeout is not None:
        caller.alive()
    run = caller.run
    loop = code_loop(run)
    if retry and run.saver is None:
        run.memory = True  # what the task starts is not repeated when it is tried again
    digest = run.serde.digest_call(args, kwargs) if run.keeps else ""
    place = f"key {key}" if key is not None else caller.occurrence(name)
    known, id, record = name, None, None
    if run.records:
        if run.spec.past.renamed:
            known = name_on_record(caller, name, place)
        id = id_below(caller.begun_ids(), known, place)
        record = run.recall(id)
        if record is not None and record.kind == "result" and record.digest == digest:
            return ended(take_result(run, caller, id, record), loop)
    task = CallTask(run, name, (*caller.path, known, place), action, args, kwargs, retry, cache, timeout)
    task.caller, task.hidden, task.digest, task._id = caller, hidden, digest, id
    replayed = replay(task, record, loop) if record is not None else None
    return replayed if replayed is not None else start(task, loop)


def start(task: CallTask, loop: AbstractEventLoop | None) -> TaskFuture[Any]:
    """Start a call and return its future: the one of synchronous code, or that of code on an event loop."""
    caller = task.caller
    if loop is not None:
        from twinstep.pregel.drive_async import start_call

        started = start_call(task, loop)
        lend(caller)
        return started
    future = SyncFuture(task)
    remember(caller, future)
    lend(caller)
    task.run.root.workers().start(future)
    return future


def replay(task: CallTask, record: Record, loop: AbstractEventLoop | None) -> TaskFuture[Any] | None:
    """Return the outcome of a call of which another one is on record than that result, or None: it has to be run."""
    if record.kind not in ("result", "error"):
        return None
    task.run.unused.discard(task.id)
    try:
        if record.digest != task.digest and not stands_for(record, task):
            return None
        if record.kind == "error":
            task.failed(record.value)
            raise record.value
    except Exception as error:
        return _failed(task, error, loop)
    return ended(take_result(task.run, task.caller, task.id, record), loop)


def ended(result: Any, loop: AbstractEventLoop | None) -> TaskFuture[Any]:
    """Return the handle of a call whose result is on record: that takes less than to start it."""
    if loop is None:
        return Replayed(result)
    handle = loop.create_future()
    handle.set_result(result)
    return handle


def _failed(task: CallTask, error: Exception, loop: AbstractEventLoop | None) -> TaskFuture[Any]:
    if loop is not None:
        from twinstep.pregel import drive_async

        return drive_async.start(task.caller, _raise(error), loop)
    failed = SyncFuture(task)
    failed.set_exception(error)
    remember(task.caller, failed)
    return failed


async def _raise(error: Exception) -> None:
    raise error


def remember(caller: Task, future: Any) -> None:
    """Keep a future until its caller ends, so that it is waited for and its failure is not lost."""
    if caller.pending is None:
        caller.pending = []
    elif len(caller.pending) >= PRUNE and caller.pending[0].done():
        caller.pending = [f for f in caller.pending if not f.done() or f.failure() is not None]
    caller.pending.append(future)
