"""Threads for synchronous code: one pool for the process, and the slots that limit how many of them a run uses."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

Job = Callable[[], object]
"""Something to do that never raises; it may find that somebody else has done it already."""

IDLE = 10.0
"""Seconds after which a thread without work ends."""


class Threads:
    """Daemon threads that are kept for a while and used again; there are as many as there are jobs at once."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all threads (after a fork they do not exist in the child)."""
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def start(self, job: Job) -> None:
        """Run a job in a thread of its own."""
        with self._lock:
            reuse = self._idle > 0
            if reuse:
                self._idle -= 1  # reserved: an idle thread takes exactly one job
        if reuse:
            self._jobs.put(job)
        else:
            threading.Thread(target=self._work, args=(job,), name="twinstep-worker", daemon=True).start()

    def _work(self, job: Job) -> None:
        while True:
            job()
            del job  # an idle thread must not keep the last run alive
            with self._lock:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        return
                job = self._jobs.get()  # somebody has just reserved this thread


THREADS = Threads()
os.register_at_fork(after_in_child=THREADS.reset)


class Slots:
    """The right of a run to work on so many tasks at once.

    Whoever works holds a slot. A task lends its slot to the tasks it starts and takes it back when it reads a result;
    taking back never waits, so that nobody can wait for ever, whatever the limit.
    """

    def __init__(self, limit: int, held: int) -> None:
        self._free = limit - held
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()

    def start(self, job: Job) -> None:
        """Run a job in a thread as soon as there is a slot for it."""
        with self._lock:
            if self._free <= 0:
                self._waiting.append(job)
                return
            self._free -= 1
        THREADS.start(lambda: self._run(job))

    def _run(self, job: Job | None) -> None:
        while job is not None:
            job()
            job = self._next()

    def _next(self) -> Job | None:
        """Hand the slot to the next job that waits, or give it back."""
        with self._lock:
            if self._free >= 0 and self._waiting:
                return self._waiting.popleft()
            self._free += 1
            return None

    def release(self) -> None:
        """Give back the caller's slot."""
        job = self._next()
        if job is not None:
            THREADS.start(lambda: self._run(job))

    def take(self) -> None:
        """Take a slot without waiting; while more are taken than there are, no job starts."""
        with self._lock:
            self._free -= 1
