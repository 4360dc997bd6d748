"""Threads for synchronous code, one pool for the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from twinstep.forked import when_forked

T = TypeVar("T")

IDLE = 10.0
"""Seconds after which a thread without work ends."""


class Threads:
    """Daemon threads that are kept for a while and used again; there are as many as there is work at once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all threads (after a fork they do not exist in the child)."""
        self._jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that wait for something to do
        self._open = 0  # what waits for a thread
        self._launching = False

    def start(self, job: Callable[[], object]) -> None:
        """Run a function that never raises in a thread of its own; it has to call `busy` if it takes time."""
        with self._lock:
            self._open += 1
            launch = self._idle == 0 and self._may_launch()
        self._jobs.put(job)
        if launch:
            self._launch()

    def submit(self, call: Callable[..., T], *args: Any) -> Future[T]:
        """Call a function in a thread; return what comes of it. It can be cancelled until it begins."""
        ended: Future[T] = Future()

        def work() -> None:
            if not ended.set_running_or_notify_cancel():
                return
            self.busy()
            try:
                result = call(*args)
            except BaseException as error:
                ended.set_exception(error)
            else:
                ended.set_result(result)

        self.start(work)
        return ended

    def busy(self) -> None:
        """Note that the calling thread is going to take time, so that others are needed for what waits."""
        with self._lock:
            launch = self._open > self._idle and self._may_launch()
        if launch:
            self._launch()

    def _may_launch(self) -> bool:
        """Tell whether the last thread that was made has begun; only then another one is."""
        if self._launching:
            return False
        self._launching = True
        return True

    def _launch(self) -> None:
        threading.Thread(target=self._work, name="twinstep-worker", daemon=True).start()

    def _work(self) -> None:
        with self._lock:
            self._launching = False
            self._idle += 1
        while (job := self._take()) is not None:
            job()
            del job  # an idle thread must not keep the last run alive
            with self._lock:
                self._idle += 1

    def _take(self) -> Callable[[], object] | None:
        """Wait for something to do; None when there has been nothing for a while."""
        while True:
            try:
                job = self._jobs.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    if self._open == 0:
                        self._idle -= 1
                        return None
                continue  # one is on its way
            with self._lock:
                self._idle -= 1
                self._open -= 1
            return job


THREADS = Threads()
when_forked(THREADS.reset)


async def in_thread(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a function in a thread, and return what it returns, without blocking the event loop.

    Unlike the event loop's own threads these are never used up: by functions, for example, that wait for what another
    coroutine is going to do. When the caller is cancelled, what has begun goes on.
    """
    from asyncio import wrap_future  # slow to import, and here already when a coroutine runs

    context = copy_context()

    def work() -> T:
        try:
            return context.run(call, *args, **kwargs)
        except StopIteration as error:  # which no future of an event loop takes
            raise RuntimeError(f"{call} raised {error!r}") from error

    return await wrap_future(THREADS.submit(work))
