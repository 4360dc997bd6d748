"""The asynchronous driver: does what programs ask for, on an event loop; synchronous code runs in worker threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from types import CoroutineType
from typing import Any

from twinstep.errors import GraphInterrupt, NodeCancelledError
from twinstep.pregel.deadline import give_up, remaining
from twinstep.pregel.effects import (
    SPARING,
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
from twinstep.pregel.execute import run_call, run_node
from twinstep.pregel.futures import remember
from twinstep.pregel.gate import Gate
from twinstep.pregel.run import Run
from twinstep.pregel.task import CallTask, NodeTask, Task
from twinstep.pregel.thread_job import in_thread
from twinstep.pregel.workers import lend
from twinstep.stream import Listener


async def settle(program: Program[Any]) -> Any:
    """Run a program to its end."""
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
            value = await PERFORM[type(effect)](effect)
            send = program.send
        except BaseException as error:
            value, send = error, program.throw


async def drive(program: Program[Any], result: list[Any], listener: Listener) -> AsyncGenerator[Any]:
    """Run a program, yield the chunks of a listener as they come, and put the program's result into a list."""
    send: Callable[[Any], Any] = program.send
    value: Any = None
    try:
        while True:
            try:
                effect = send(value)
            except StopIteration as stop:
                result.append(stop.value)
                break
            except BaseException:
                while listener.chunks:
                    yield listener.chunks.popleft()
                raise
            finally:
                value = None
            while listener.chunks:
                yield listener.chunks.popleft()
            try:
                if type(effect) is RunTasks and (listener.live or (listener.shared and len(effect.tasks) > 1)):
                    async with aclosing(_run_live(effect.tasks, listener)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    value = await PERFORM[type(effect)](effect)
                send = program.send
            except GeneratorExit:
                raise
            except BaseException as error:
                value, send = error, program.throw
            while listener.chunks:
                yield listener.chunks.popleft()
    finally:
        program.close()
    while listener.chunks:
        yield listener.chunks.popleft()


def enter(run: Run) -> None:
    """Enter a run on this event loop; one nested in a task works in the slot of that task."""
    root, parent = run.root, run.parent
    if parent is None:
        root.loop = asyncio.get_running_loop()
        root.gate = Gate(root.limit, root.loop) if root.limit else None
    elif isinstance(parent, Task):
        lend(parent)


async def run(run: Run, main: Coroutine[Any, Any, Any]) -> Any:
    """Run the coroutine that executes a run; the task that it is nested in ends only when it has."""
    enter(run)
    if not isinstance(run.parent, Task):
        return await main
    result = await start(run.parent, main, asyncio.get_running_loop())
    if run.unwanted:
        raise asyncio.CancelledError(SPARING)
    return result


# ---------------------------------------------------------------------- tasks of a superstep


class Batch:
    """Tasks of one superstep as asyncio tasks; the first failure cancels the others."""

    def __init__(self, tasks: Sequence[NodeTask], finished: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = finished
        self._left = len(tasks)
        self._running = {self._loop.create_task(_in_slot(task, run_node(task))): task for task in tasks}
        for running in self._running:
            running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[Any]) -> None:
        task = self._running[running]
        self._left -= 1
        if not running.cancelled() and running.exception() is not None:
            task.error = running.exception()
        if self._left == 0:
            self._finished()
        elif task.has_failed:
            self.cancel(SPARING)

    def cancel(self, why: str | None = None) -> None:
        """Cancel what has not ended; what was cancelled has no error of its own."""
        for running in self._running:
            running.cancel(why)

    async def wait(self) -> None:
        """Wait until all tasks have ended."""
        if self._left:
            await asyncio.wait(self._running)
        cancelled = [task for task in self._running.values() if isinstance(task.error, asyncio.CancelledError)]
        if any(task.error is not None and task not in cancelled for task in self._running.values()):
            for task in cancelled:  # because of the failure of another one
                task.error = None

    async def abandon(self, why: str | None = None) -> None:
        """Cancel everything and wait for the end."""
        self.cancel(why)
        await self.wait()


def start_call(task: CallTask, loop: asyncio.AbstractEventLoop) -> AsyncFuture:
    """Start a task call made by code on an event loop."""
    return start(task.caller, _outcome(task), loop)


async def _outcome(task: CallTask) -> Any:
    """Return the outcome of a call, unless it was cancelled and has come to its end all the same."""
    result = await _in_slot(task, run_call(task))
    if task.unwanted:
        raise asyncio.CancelledError(SPARING)
    return result


def _in_slot(task: Task, program: Program[Any]) -> Coroutine[Any, Any, Any]:
    """Return what runs a task's program while holding one of the run's slots, if their number is limited."""
    gate = task.run.root.gate
    return settle(program) if gate is None or not gate.is_here() else _behind(gate, task, program)


async def _behind(gate: Gate, task: Task, program: Program[Any]) -> Any:
    await gate.enter()
    task.gated = True
    try:
        return await settle(program)
    finally:
        if task.gated:
            task.gated = False
            gate.leave()


async def _run_tasks(effect: RunTasks) -> None:
    """Run tasks without anybody watching; one alone runs in place."""
    first, *others = effect.tasks
    if first.run.unwanted:
        raise asyncio.CancelledError(SPARING)
    if not others:
        await _in_slot(first, run_node(first))
        first.run.unwanted = first.unwanted
        first.run.root.note_work()
        return
    finished = asyncio.Event()
    batch = Batch(effect.tasks, finished.set)
    try:
        await finished.wait()
    except BaseException as error:
        await batch.abandon(SPARING if error.args == (SPARING,) else None)
        raise
    await batch.wait()


async def _run_live(tasks: Sequence[NodeTask], listener: Listener) -> AsyncGenerator[Any]:
    """Run tasks and hand the consumer what they tell while they work."""
    loop, signal = asyncio.get_running_loop(), asyncio.Event()
    finished = False

    def finish() -> None:
        nonlocal finished
        finished = True
        signal.set()

    def wake() -> None:
        if asyncio._get_running_loop() is loop:
            signal.set()
        else:  # told by synchronous code in a thread
            loop.call_soon_threadsafe(signal.set)

    listener.wake = wake
    batch = Batch(tasks, finish)
    try:
        while not finished:
            await signal.wait()
            signal.clear()
            while listener.chunks:
                yield listener.chunks.popleft()
        await batch.wait()
    finally:
        listener.wake = None
        if not finished:
            await batch.abandon()


class AsyncFuture(asyncio.Task[Any]):
    """Something that a task has started on an event loop: a call of a task, or a nested run.

    Attributes:
        caller: the task that has started it.
    """

    caller: Task

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, unless its caller stops for a question.

        A `TaskGroup` cancels the siblings of the task that asks; they go on to their own question or result, so that
        all questions are shown at once. And it cancels those of one that fails.
        """
        if _raised(self.caller, GraphInterrupt):
            return False
        return super().cancel(msg or (SPARING if _raised(self.caller, Exception) else None))

    def result(self) -> Any:
        """Return the result of a task that has ended.

        Raises:
            InvalidStateError: it has not; asynchronous code has to await it.
        """
        if not self.done():
            raise asyncio.InvalidStateError("This task has not ended: in asynchronous code write `await task(...)`.")
        return super().result()

    def give_up(self, spare: bool) -> None:
        """Cancel the task; may be called from any thread."""
        if not self._over():
            self.get_loop().call_soon_threadsafe(super().cancel, SPARING if spare else None)

    def wait(self) -> None:
        """Wait for the end, in a thread other than that of the loop."""
        if self._over():
            return
        ended = threading.Event()
        self.get_loop().call_soon_threadsafe(self.add_done_callback, lambda _: ended.set())
        ended.wait()

    def _over(self) -> bool:
        """Tell whether the task has ended; one whose loop is closed has, whatever it was doing."""
        return self.done() or self.get_loop().is_closed()

    def failure(self) -> tuple[BaseException, bool] | None:
        """Return the error of a task that has ended, and whether somebody has seen it."""
        seen = not self._log_traceback  # asyncio's own note, for its warning about errors that nobody retrieved
        error = None if self.cancelled() or not self.done() else self.exception()
        return None if error is None else (error, seen)


def start(caller: Task, coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> AsyncFuture:
    """Start something for a task, which ends only when that has ended."""
    future = AsyncFuture(coroutine, loop=loop)
    future.caller = caller
    remember(caller, future)
    return future


def _raised(caller: Task, kind: type[BaseException]) -> bool:
    """Tell whether something that a task has started has raised such an error, without counting it as seen."""
    return any(isinstance(future._exception, kind) for future in caller.pending or ())


# ---------------------------------------------------------------------- effects


async def _call(effect: Call) -> Any:
    if effect.timeout is not None:
        return await _timed_call(effect)
    action = effect.action
    if action.is_runnable:
        coroutine = action.fn.ainvoke(*effect.args, **effect.kwargs)
    elif action.is_async:
        coroutine = action.fn(*effect.args, **effect.kwargs)
    elif effect.inline or action.inline:
        return action.fn(*effect.args, **effect.kwargs)
    else:
        result = await in_thread(effect.task, lambda: action.fn(*effect.args, **effect.kwargs))
        if type(result) is not CoroutineType:
            return result
        coroutine = result
    try:
        return await coroutine
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            effect.task.fenced = True
            raise
        raise NodeCancelledError(effect.task.name) from error


async def _timed_call(effect: Call) -> Any:
    """Run code until its time is over; then it is cancelled, or ignored where it cannot be."""
    assert effect.timeout is not None
    untimed = Call(effect.action, effect.args, effect.kwargs, effect.task)
    running = asyncio.get_running_loop().create_task(_call(untimed))
    try:
        while True:
            wait = remaining(effect.task, effect.timeout)
            if wait <= 0:
                effect.task.closing = True
                raise give_up(effect.task, effect.timeout)
            try:
                done, _ = await asyncio.wait({running}, timeout=wait)
            except asyncio.CancelledError as error:
                if error.args != (SPARING,) or not running.cancel(SPARING):
                    raise
                continue  # if it is in a thread, until that has ended or its time is over
            if done:
                return running.result()
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
        effect.task.closing = False


async def _join(effect: Join) -> list[tuple[BaseException, bool]]:
    waiting = []
    for future in effect.futures:
        if effect.cancel:
            future.give_up(effect.spare)
        if not future.done():
            waiting.append(_end_of(future) if isinstance(future, Future) else future)
    if waiting:
        await asyncio.wait(waiting)
    return [failure for future in effect.futures if (failure := future.failure()) is not None]


def _end_of(future: Future[Any]) -> asyncio.Future[None]:
    """Return a future of this loop that ends with one of a thread, and does not look at its outcome."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not end.done():
            end.set_result(None)

    future.add_done_callback(lambda _: loop.call_soon_threadsafe(tell))
    return end


async def _wait(effect: Wait) -> None:
    await asyncio.wrap_future(effect.future)


async def _load(effect: Load) -> Any:
    return await effect.saver.aload(effect.thread_id, effect.ns, effect.checkpoint_id, effect.known)


async def _history(effect: History) -> Any:
    return await effect.saver.acheckpoints(effect.thread_id, effect.ns, before=effect.before, limit=effect.limit)


async def _cache_get(effect: CacheGet) -> tuple[Any] | None:
    found = await effect.cache.aget([effect.key])
    return (found[effect.key],) if effect.key in found else None


def _store(effect: Store) -> Coroutine[Any, Any, None]:
    return effect.saver.acommit(effect.commit)


async def _store_beside(effect: StoreBeside) -> Future[None]:
    future: Future[None] = Future()

    def tell(task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(None)

    task = asyncio.get_running_loop().create_task(effect.saver.acommit(effect.commit))
    _BESIDE.add(task)
    task.add_done_callback(_BESIDE.discard)
    task.add_done_callback(tell)
    return future


_BESIDE: set[asyncio.Task[None]] = set()
"""What is being stored beside a superstep; an event loop alone does not keep its tasks alive."""


def _sleep(effect: Sleep) -> Coroutine[Any, Any, None]:
    return asyncio.sleep(effect.seconds)


def _cache_put(effect: CachePut) -> Any:
    return effect.cache.aset({effect.key: (effect.value, effect.ttl)})


PERFORM: dict[type, Callable[[Any], Awaitable[Any]]] = {
    Call: _call,
    RunTasks: _run_tasks,
    Join: _join,
    Wait: _wait,
    Sleep: _sleep,
    Load: _load,
    Store: _store,
    StoreBeside: _store_beside,
    History: _history,
    CacheGet: _cache_get,
    CachePut: _cache_put,
}
