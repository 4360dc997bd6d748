"""Worker processes: started when they are needed, kept for a while, killed with the task that is given up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

from twinstep.errors import WorkerLostError
from twinstep.pregel.remote import SERDE, Tell, perform
from twinstep.pregel.workers import THREADS

TOLD, OUTCOME = b"t", b"o"
"""How messages of a worker begin: something the code tells, or the outcome."""
IDLE = os.cpu_count() or 1
"""Processes without work that are kept."""


class Worker:
    """A process that does one job at a time."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(theirs,), name="twinstep-process", daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """The id of the process."""
        return self._process.pid

    def do(self, job: bytes, tell: Tell) -> bytes:
        """Do a job and return its outcome.

        Raises:
            WorkerLostError: the process ended before the job did.
        """
        try:
            self._pipe.send_bytes(job)
            while True:
                data = self._pipe.recv_bytes()
                if data[:1] == OUTCOME:
                    return data[1:]
                tell(SERDE.loads(data[1:]))
        except (EOFError, OSError) as error:
            self._process.join(1)
            raise WorkerLostError(self._process.exitcode) from error

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """End a process that has no work."""
        self.kill()
        self._process.join()
        self._pipe.close()


def serve(pipe: Connection) -> None:
    """Do the jobs that come through a pipe, until it is closed; the main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then ends its workers
    lock = threading.Lock()

    def tell(told: Any) -> None:
        with lock:
            pipe.send_bytes(TOLD + SERDE.dumps(told, at="what was sent to the stream"))

    try:
        while True:
            outcome = perform(pipe.recv_bytes(), tell)
            with lock:
                pipe.send_bytes(OUTCOME + outcome)
    except (EOFError, OSError):  # the program has ended
        pass


class Pool:
    """Workers without work; as many work at once as there are jobs."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the workers (after a fork they belong to the parent)."""
        self._idle: list[Worker] = []
        self._lock = threading.Lock()

    def take(self) -> Worker:
        """Return a worker."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Worker()

    def give_back(self, worker: Worker) -> None:
        """Keep a worker for the next job, or end it."""
        with self._lock:
            if len(self._idle) < IDLE:
                self._idle.append(worker)
                return
        worker.close()


POOL = Pool()
os.register_at_fork(after_in_child=POOL.reset)


def submit(job: bytes, tell: Tell) -> tuple[Future[bytes], Callable[[], None]]:
    """Start a job in a worker process; return its outcome to come, and what kills the process."""
    future: Future[bytes] = Future()
    future.set_running_or_notify_cancel()
    worker, lock, working = POOL.take(), threading.Lock(), True

    def work() -> None:
        nonlocal working
        THREADS.busy()
        try:
            outcome = worker.do(job, tell)
        except BaseException as error:
            worker.close()
            future.set_exception(error)
            return
        with lock:
            working = False
        POOL.give_back(worker)
        future.set_result(outcome)

    def kill() -> None:
        with lock:
            if working:  # otherwise it may have the next job already
                worker.kill()

    THREADS.start(work)
    return future, kill
