"""Coroutines for synchronous code: one event loop in a thread of its own, made when it is first needed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from twinstep.pregel.run import Root

Cancelled = asyncio.CancelledError


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

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop that the caller does not run on, started if need be."""
        with self._lock:
            current = asyncio._get_running_loop()
            level = self._loops.index(current) + 1 if current in self._loops else 0
            if level == len(self._loops):
                loop = asyncio.new_event_loop()
                self._loops.append(loop)
                threading.Thread(target=_run, args=(loop,), name="twinstep-loop", daemon=True).start()
            return self._loops[level]


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop for ever: also when a coroutine raises SystemExit, which is for whoever waits for it."""
    while True:
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


PORTAL = Portal()
os.register_at_fork(after_in_child=PORTAL.reset)


class Awaited(Future[Any]):
    """The outcome of a coroutine on another thread's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.task: asyncio.Task[Any] | None = None

    def abort(self) -> None:
        """Cancel the coroutine; the outcome comes when it has ended. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


def run_coroutine(coroutine: Coroutine[Any, Any, Any], root: Root) -> Awaited:
    """Start a coroutine of a run, in the context of the caller, on the run's loop, if it has one, or a private one.

    A private loop is also used when the caller itself runs on the run's loop and would wait for itself.
    """
    loop = root.loop
    if loop is None or loop is asyncio._get_running_loop() or not loop.is_running():
        loop = PORTAL.loop()
    if root.limit and root.gate is None:
        from twinstep.pregel.drive_async import Gate

        root.gate = Gate(root.limit, loop)
    outcome = Awaited(loop)

    def start() -> None:
        task = outcome.task = loop.create_task(coroutine)
        task.add_done_callback(finish)
        outcome.add_done_callback(lambda f: loop.call_soon_threadsafe(task.cancel) if f.cancelled() else None)

    def finish(task: asyncio.Task[Any]) -> None:
        if outcome.cancelled():
            return
        if task.cancelled():
            outcome.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    loop.call_soon_threadsafe(start, context=copy_context())
    return outcome
