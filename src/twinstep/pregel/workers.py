"""Synchronous code in threads: the slots that limit how many of them a run uses, and who calls the next one."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twinstep.forked import when_forked
from twinstep.scope import Scope
from twinstep.threads import THREADS

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")


class Holder(Protocol):
    """A task, as far as its slot is concerned."""

    holds: bool | None
    gated: bool

    @property
    def run(self) -> Any: ...


class Job(ABC):
    """Something to do once, in a slot: by a worker thread, or by whoever waits for it.

    Attributes:
        granted: whether it has a slot.
    """

    def __init__(self) -> None:
        self.granted = False
        self._claim = threading.Lock()

    def claim(self) -> bool:
        """Tell whether the caller is the first who asks, and so has to run it."""
        return self._claim.acquire(blocking=False)

    def takes_time(self) -> bool:
        """Tell whether there still is something to do."""
        return True

    @abstractmethod
    def run(self) -> None:
        """Do it; never raises."""


STALL = 0.0005
"""Seconds without a job begun after which a run calls one more thread.

So jobs of a few microseconds are done one after the other, which is faster in Python, and many equal ones do not end at
the same moment: when a process is killed, few results have not been stored yet.
"""


class Watch:
    """Calls threads for the runs that need more of them; works only while there are runs that may."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all runs (see `Threads.reset`)."""
        self._runs: list[Slots] = []
        self._lock = threading.Lock()
        self._on = False

    def add(self, run: Slots) -> None:
        """Call a thread for a run when those that it has are no longer enough."""
        with self._lock:
            self._runs.append(run)
            start, self._on = not self._on, True
        if start:
            THREADS.start(self._look)

    def _look(self) -> None:
        THREADS.busy()
        wait = STALL
        while wait > 0:
            time.sleep(wait)
            wait = self._call()

    def _call(self) -> float:
        """Call the threads that are needed now, and return for how long no other ones are."""
        with self._lock:
            waits = [(run, run.crowded()) for run in self._runs]
            self._runs = [run for run, wait in waits if wait > 0]
            self._on = bool(self._runs)
        for run, wait in waits:
            if wait <= 0:
                run.call()
        return min((wait for _, wait in waits if wait > 0), default=0)


WATCH = Watch()
when_forked(WATCH.reset)


class Slots:
    """The right of a run to work on so many tasks at once.

    Whoever works holds a slot. A task that starts others lends them its slot for the rest of its time, for it will
    mostly wait for them; so nobody can wait for ever, whatever the limit. A task that has a slot but no thread yet is
    run by the thread that waits for its result: calling and waiting is then as cheap as a plain call, and nested
    tasks need no threads.
    """

    def __init__(self, limit: int, held: int) -> None:
        self._limit, self._free = limit, limit - held
        self._waiting: deque[Job] = deque()  # without a slot
        self._ready: deque[Job] = deque()  # with a slot, without a thread
        self._called = False  # whether a thread is on its way
        self._taken = 0.0  # when somebody began to work last
        self._storing = 0  # how many wait for their outcome to be stored
        self._lock = threading.Lock()

    def start(self, job: Job) -> None:
        """Run a job in a thread as soon as there is a slot for it."""
        with self._lock:
            if self._free <= 0:
                self._waiting.append(job)
                return
            self._free -= 1
            call = self._put(job)
        if call:
            self._call()

    def steal(self, job: Job) -> bool:
        """Tell whether the caller may run a job in its own thread; it then has to release the job's slot."""
        with self._lock:
            if not job.granted:
                if self._free <= 0:
                    return False
                self._free -= 1
                job.granted = True
            elif job in self._ready:  # else a thread has taken it
                self._ready.remove(job)
        self.note()
        return job.claim()

    def release(self) -> None:
        """Give a slot to the next job that waits, or back."""
        job = self._next()
        if job is None:
            return
        with self._lock:
            call = self._put(job)
        if call:
            self._call()

    def note(self) -> None:
        """Note that somebody begins to work."""
        self._taken = time.monotonic()

    def storing(self, change: int) -> None:
        """Note that one more, or one less, waits for its outcome to be stored."""
        with self._lock:
            self._storing += change

    def take(self) -> None:
        """Take a slot without waiting; while more are taken than there are, no job starts."""
        with self._lock:
            self._free -= 1

    def _put(self, job: Job) -> bool:
        """Offer a job that has a slot to the threads; tell whether one is to be called.

        One is called at a time, and calls the next when it is busy. The caller holds the lock.
        """
        job.granted = True
        self._ready.append(job)
        call, self._called = not self._called, True
        return call

    def _serve(self) -> None:
        self.note()
        with self._lock:
            job = self._first_ready()
            self._called = bool(self._ready)
            call = self._called
        if call:
            self._call()
        if job is None:
            return
        if job.takes_time():
            THREADS.busy()
        job.run()
        while (job := self._next()) is not None and job.claim():  # one that was stolen goes on in its slot
            self.note()
            job.run()

    def _call(self) -> None:
        """Call a thread, as soon as there is a need for one."""
        if self.crowded() > 0:
            WATCH.add(self)
        else:
            self.call()

    def call(self) -> None:
        """Call a thread."""
        THREADS.start(self._serve)

    def crowded(self) -> float:
        """Return for how many seconds those that work are enough: they take jobs, or wait for the database."""
        working = self._limit - self._free - len(self._ready)
        if not self._ready or working <= 0:
            return 0
        if self._storing * 2 > working:
            return STALL
        return self._taken + STALL - time.monotonic()

    def _first_ready(self) -> Job | None:
        while self._ready:
            job = self._ready.popleft()
            if job.claim():
                return job
        return None

    def _next(self) -> Job | None:
        with self._lock:
            while self._free >= 0 and self._waiting:
                job = self._waiting.popleft()
                if not job.granted:
                    job.granted = True
                    return job
            self._free += 1
            return None


def lend(task: Holder) -> None:
    """Let the tasks that a task starts use its slot, and its place at the gate of the event loop."""
    if task.holds:
        task.holds = False
        task.run.root.workers().release()
    lend_gate(task)


def lend_gate(task: Holder) -> None:
    """Let what a task starts pass the gate of the event loop in its place."""
    if task.gated:
        task.gated = False
        task.run.root.gate.leave()


def in_slot(task: Holder, context: Context, work: Callable[..., T], *args: Any) -> T:
    """Run a task's code in a slot that was taken for it; afterwards the slot is there again."""
    task.holds = True
    try:
        return context.run(work, *args)
    finally:
        if not task.holds:
            task.run.root.workers().take()
        task.holds = None


def running_loop() -> AbstractEventLoop | None:
    """Return the event loop that runs in this thread; a program that never imported asyncio has none."""
    events = sys.modules.get("asyncio.events")
    return None if events is None else events._get_running_loop()


def code_loop(run: Any) -> AbstractEventLoop | None:
    """Return the event loop that the calling code of a run belongs to; synchronous code has none."""
    loop = running_loop()
    return None if loop is None or loop in run.blocked else loop


def block_loop(run: Any) -> None:
    """Note that the event loop of this thread, if there is one, as in a notebook, waits for a run."""
    loop = running_loop()
    if loop is not None:
        run.blocked = (*run.blocked, loop)


def waiting_for(run: Any) -> AbstractContextManager[None]:
    """Drive a run in this thread; one nested in a task in the task's own slot, also when the task has lent it."""
    block_loop(run)
    parent: Scope | None = run.parent
    lent = parent is not None and getattr(parent, "holds", None) is False
    return _taking(parent.run.root.workers()) if parent is not None and lent else _AS_IT_IS


_AS_IT_IS = nullcontext()


@contextmanager
def _taking(slots: Slots) -> Iterator[None]:
    slots.take()
    try:
        yield
    finally:
        slots.release()
