"""The synchronous driver: does what programs ask for, in the caller's thread and in worker threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock
from types import CoroutineType
from typing import Any, NoReturn, cast

from twinstep.errors import NodeCancelledError
from twinstep.pregel.deadline import give_up, remaining
from twinstep.pregel.effects import (
    CacheGet,
    CachePut,
    Call,
    History,
    Join,
    Load,
    Program,
    RunTasks,
    Sleep,
    Store,
    StoreBeside,
    Wait,
)
from twinstep.pregel.execute import run_node
from twinstep.pregel.task import NodeTask, Task
from twinstep.pregel.workers import Job, in_slot
from twinstep.stream import Listener
from twinstep.threads import THREADS


def settle(program: Program[Any]) -> Any:
    """Run a program to its end in this thread."""
    send: Callable[[Any], Any] = program.send
    value: Any = None
    while True:
        try:
            effect = send(value)
        except StopIteration as stop:
            return stop.value
        finally:
            value = None  # an error that was thrown in: its traceback holds this frame
        try:
            value = PERFORM[type(effect)](effect)
            send = program.send
        except BaseException as error:
            value, send = error, program.throw


def drive(program: Program[Any], listener: Listener) -> Generator[Any, None, Any]:
    """Run a program, yield the chunks of a listener as they come, and return the program's result."""
    send: Callable[[Any], Any] = program.send
    value: Any = None
    try:
        while True:
            try:
                effect = send(value)
            except StopIteration as stop:
                yield from drain(listener)
                return stop.value
            except BaseException:
                yield from drain(listener)
                raise
            finally:
                value = None
            if listener.chunks:
                yield from drain(listener)
            try:
                if type(effect) is RunTasks and (listener.live or (listener.shared and len(effect.tasks) > 1)):
                    yield from _run_live(effect.tasks, listener)
                else:
                    value = PERFORM[type(effect)](effect)
                send = program.send
            except GeneratorExit:
                raise
            except BaseException as error:
                if listener.chunks:
                    yield from drain(listener)
                value, send = error, program.throw
    finally:
        program.close()


def drain(listener: Listener) -> Generator[Any]:
    """Yield the chunks that wait."""
    chunks = listener.chunks
    while chunks:
        yield chunks.popleft()


# ---------------------------------------------------------------------- tasks of a superstep


class Batch:
    """Tasks of one superstep, taken by whichever thread is free; each thread that takes one calls the next thread.

    The first failure cancels the coroutines of the others; plain functions are waited for.
    """

    def __init__(self, tasks: Sequence[NodeTask], finished: Callable[[], object]) -> None:
        self._all, self._tasks = tasks, deque(tasks)
        self._left = len(tasks)
        self._finished = finished
        self._lock = Lock()
        self._slots = tasks[0].run.root.workers()
        self._context = copy_context()
        self._stopped = self._called = False

    def call(self) -> None:
        """Call one more thread, unless one is on its way."""
        if not self._called:
            self._called = True
            self._slots.start(Helper(self))

    def help(self) -> None:
        """Work in a thread that was called."""
        self._called = False
        self.work()

    def work(self) -> None:
        """Run tasks until there are none left to begin."""
        tasks = self._tasks
        while True:
            try:
                task = tasks.popleft()
            except IndexError:
                return
            self._slots.note()
            if tasks:
                self.call()
            if not self._stopped:
                self._run(task)
                if task.error is not None and task.has_failed:
                    self._failed(task)
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                self._finished()

    def _run(self, task: NodeTask) -> None:
        try:
            in_slot(task, self._context.copy(), settle, run_node(task))
        except BaseException as error:  # whatever happens, the batch has to end
            task.error = error

    def _failed(self, failed: NodeTask) -> None:
        """Begin no further task and cancel what can be; what was cancelled because of another has no error."""
        if was_cancelled(failed, failed.error):
            failed.error = None
        if not self._stopped:
            self._stopped = True
            for task in self._all:
                if task is not failed:
                    task.abort()

    def is_open(self) -> bool:
        """Tell whether there are tasks left to begin."""
        return bool(self._tasks)

    def stop(self) -> None:
        """Begin no further task."""
        self._stopped = True


def was_cancelled(task: Task, error: BaseException | None) -> bool:
    """Tell whether an error means that a task was cancelled because nobody waited for it any more."""
    if not task.unwanted or error is None:
        return False
    from twinstep.pregel.portal import Cancelled

    return isinstance(error, Cancelled)


class Helper(Job):
    """The work on a batch, as something for one more thread."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self._batch = batch

    def takes_time(self) -> bool:
        """Tell whether the batch still has tasks to begin."""
        return self._batch.is_open()

    def run(self) -> None:
        """Run tasks of the batch until there are none left to begin."""
        self._batch.help()


def _run_tasks(effect: RunTasks) -> None:
    """Run tasks without anybody watching: this thread works too."""
    tasks = effect.tasks
    if len(tasks) == 1:
        in_slot(tasks[0], copy_context(), settle, run_node(tasks[0]))
        tasks[0].run.root.note_work()
        return
    gate = Lock()
    gate.acquire()
    batch = Batch(tasks, gate.release)
    try:
        batch.work()
    except BaseException:
        batch.stop()
        raise
    if not gate.acquire(blocking=False):
        slots = tasks[0].run.root.workers()
        slots.release()  # the others may need it for what they wait for
        try:
            gate.acquire()
        finally:
            slots.take()


def _run_live(tasks: Sequence[NodeTask], listener: Listener) -> Generator[Any]:
    """Run tasks in worker threads while this one hands the consumer what they tell."""
    signals: SimpleQueue[bool] = SimpleQueue()
    batch = Batch(tasks, lambda: signals.put(True))
    slots = tasks[0].run.root.workers()
    listener.wake = lambda: signals.put(False)
    slots.release()
    finished = False
    try:
        batch.call()
        while not finished:
            finished = signals.get()
            yield from drain(listener)
    finally:
        batch.stop()
        while not finished:
            finished = signals.get()
        listener.wake = None
        slots.take()


# ---------------------------------------------------------------------- effects


def _call(effect: Call) -> Any:
    if effect.timeout is not None:
        return _timed_call(effect)
    action = effect.action
    if action.is_async:
        return _await(effect, action.fn(*effect.args, **effect.kwargs))
    fn = action.fn.invoke if action.is_runnable else action.fn
    result = fn(*effect.args, **effect.kwargs)
    return _await(effect, result) if type(result) is CoroutineType else result


def _await(effect: Call, coroutine: Any) -> Any:
    from twinstep.pregel.portal import run_coroutine

    task = effect.task
    future = task.awaited = run_coroutine(coroutine, task.run)
    if task.unwanted:
        future.abort()
    try:
        return future.result()
    except BaseException as error:
        future.cancel()
        raise_named(task, error)
    finally:
        task.awaited = None


def raise_named(task: Task, error: BaseException) -> NoReturn:
    """Raise what a coroutine has raised; a cancellation that nobody asked for is an error of its code."""
    from twinstep.pregel.portal import Cancelled

    if isinstance(error, Cancelled) and not task.unwanted:
        raise NodeCancelledError(task.name) from error
    raise error


def _timed_call(effect: Call) -> Any:
    """Run code and stop waiting when its time is over; a coroutine is cancelled, what a thread still does ignored."""
    assert effect.timeout is not None
    future = _started(effect)
    while True:
        wait = remaining(effect.task, effect.timeout)
        if wait <= 0:
            future.cancel()
            raise give_up(effect.task, effect.timeout)
        try:
            return future.result(timeout=wait)
        except TimeoutError:  # look again: there may have been a sign of life
            if future.done():
                raise
        except BaseException as error:
            if effect.action.is_async:
                raise_named(effect.task, error)
            raise


def _started(effect: Call) -> Future[Any]:
    """Start code beside this thread."""
    action = effect.action
    if action.is_async:
        from twinstep.pregel.portal import run_coroutine

        task = effect.task
        task.awaited = run_coroutine(action.fn(*effect.args, **effect.kwargs), task.run)
        if task.unwanted:
            task.awaited.abort()
        return cast("Future[Any]", task.awaited)
    return THREADS.submit(copy_context().run, _call, Call(action, effect.args, effect.kwargs, effect.task))


def _join(effect: Join) -> list[tuple[BaseException, bool]]:
    for future in effect.futures:
        if effect.cancel:
            future.give_up(effect.spare)
    for future in effect.futures:
        future.wait()
    return [failure for future in effect.futures if (failure := future.failure()) is not None]


def _cache_put(effect: CachePut) -> None:
    effect.cache.set({effect.key: (effect.value, effect.ttl)})


def _cache_get(effect: CacheGet) -> tuple[Any] | None:
    found = effect.cache.get([effect.key])
    return (found[effect.key],) if effect.key in found else None


PERFORM: dict[type, Callable[[Any], Any]] = {
    Call: _call,
    RunTasks: _run_tasks,
    Join: _join,
    Wait: lambda effect: effect.future.result(),
    Sleep: lambda effect: time.sleep(effect.seconds),
    Load: lambda effect: effect.saver.load(effect.thread_id, effect.ns, effect.checkpoint_id, effect.known),
    Store: lambda effect: effect.saver.commit(effect.commit),
    StoreBeside: lambda effect: THREADS.submit(effect.saver.commit, effect.commit),
    History: lambda effect: effect.saver.checkpoints(
        effect.thread_id, effect.ns, before=effect.before, limit=effect.limit
    ),
    CacheGet: _cache_get,
    CachePut: _cache_put,
}
