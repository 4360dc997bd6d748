"""Coroutines for synchronous code: one event loop in a thread of its own, made when it is first needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from twinstep.forked import when_forked
from twinstep.pregel.effects import SPARING
from twinstep.pregel.run import Run

Cancelled = asyncio.CancelledError
PATIENCE = 1.0
"""Seconds after which a private loop that has not begun a coroutine is taken for blocked."""


class Portal:
    """The private event loops of the process: one, and one more for every level of synchronous calls inside it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the loops (after a fork their threads do not exist in the child)."""
        self._lock = threading.Lock()
        self._loops: list[asyncio.AbstractEventLoop] = []

    def owns(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Tell whether a loop is one of these."""
        return loop in self._loops

    def loop(self, blocked: Collection[asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
        """Return a loop that is not among the blocked ones, started if need be."""
        with self._lock:
            for loop in self._loops:
                if loop not in blocked:
                    return loop
            loop = asyncio.new_event_loop()
            self._loops.append(loop)
        threading.Thread(target=_run, args=(loop,), name="twinstep-loop", daemon=True).start()
        return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop for ever: also when a coroutine raises SystemExit, which is for whoever waits for it."""
    while True:
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


PORTAL = Portal()
when_forked(PORTAL.reset)


class Awaited(Future[Any]):
    """The outcome of a coroutine on another thread's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        super().__init__()
        self._loop, self._coroutine, self._lock = loop, coroutine, threading.Lock()
        self.task: asyncio.Task[Any] | None = None

    def result(self, timeout: float | None = None) -> Any:
        """Return what the coroutine comes to; when a private loop does not even begin it, another one does."""
        if self.task is None and not self.done() and (timeout is None or timeout > PATIENCE):
            try:
                return super().result(PATIENCE)
            except TimeoutError:
                if self.done():  # it is the coroutine's own
                    raise
                self._move()
            timeout = None if timeout is None else timeout - PATIENCE
        return super().result(timeout)

    def _move(self) -> None:
        """Take the coroutine to another private loop, if the one it waits for is blocked by what that is doing."""
        with self._lock:
            if self.task is None and PORTAL.owns(self._loop):
                self._loop = PORTAL.loop((self._loop,))
                self.start()

    def start(self) -> None:
        """Start the coroutine on the loop, in the context of the caller."""
        self._loop.call_soon_threadsafe(self._start, self._loop, context=copy_context())

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if loop is not self._loop:
                return
            task = self.task = loop.create_task(self._coroutine)
        task.add_done_callback(self._finish)
        self.add_done_callback(lambda f: loop.call_soon_threadsafe(task.cancel) if f.cancelled() else None)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        if self.cancelled():
            return
        if task.cancelled():
            self.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(task.result())

    def abort(self) -> None:
        """Cancel the coroutine, because of a failure; the outcome comes when it has ended.

        May be called from any thread.
        """
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel(SPARING)


def run_coroutine(coroutine: Coroutine[Any, Any, Any], run: Run) -> Awaited:
    """Start a coroutine of a run, in the context of the caller, on the run's loop, if it has one, or a private one.

    A private loop is also used when the loop waits for what the caller does, and would wait for itself.
    """
    root, loop = run.root, run.root.loop
    current = asyncio._get_running_loop()
    blocked = run.blocked if current is None else (*run.blocked, current)
    if loop is None or loop in blocked or not loop.is_running():
        loop = PORTAL.loop(blocked)
    if root.limit and root.gate is None:
        from twinstep.pregel.gate import Gate

        root.gate = Gate(root.limit, loop)
    outcome = Awaited(loop, coroutine)
    outcome.start()
    return outcome
