"""Worker processes: started when they are needed, kept for a while, killed with the task that is given up."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue

from twinstep.errors import WorkerLostError
from twinstep.forked import when_forked
from twinstep.pregel.remote import SERDE, Tell, check_loaded, perform
from twinstep.threads import THREADS

TOLD, OUTCOME = b"t", b"o"
"""How messages of a worker begin: something the code tells, or the outcome."""
KEPT = os.cpu_count() or 1
"""Processes without work that are kept."""
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from twinstep.pregel.processes import serve; serve(int(sys.argv[1]))"
)
"""What a worker process runs: it imports this module, and not the program's script."""


class Worker:
    """A process that does one job at a time."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        fd = theirs.fileno()
        command = [sys.executable, "-c", BOOT, str(fd), json.dumps(sys.path)]
        self._process = subprocess.Popen(command, pass_fds=(fd,), stdin=subprocess.DEVNULL)
        theirs.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Tell whether the process can take a job."""
        return self._process.poll() is None

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
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            raise WorkerLostError(self._process.returncode) from error

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """End the process and leave nothing of it."""
        self.kill()
        self._process.wait()
        self._pipe.close()


def serve(fd: int) -> None:
    """Do the jobs that come through a pipe, until its other end is closed; the main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then ends its workers
    pipe, jobs, lock = Connection(fd), SimpleQueue[bytes](), threading.Lock()

    def receive() -> None:
        """Hand over the jobs; when the program has ended, end in the middle of one."""
        try:
            while True:
                jobs.put(pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)

    def send(kind: bytes, data: bytes) -> None:
        with lock:
            pipe.send_bytes(kind + data)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        send(OUTCOME, perform(jobs.get(), lambda told: send(TOLD, SERDE.dumps(told, at="what was sent to the stream"))))


class Pool:
    """The worker processes; as many work at once as there are jobs."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the workers (after a fork they belong to the parent)."""
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._lock = threading.Lock()

    def take(self) -> Worker:
        """Return a worker.

        Raises:
            OutsideRunError: this is a worker process, which is still loading the program's script.
        """
        check_loaded()
        while self._idle:
            with suppress(IndexError):
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                self.drop(worker)
        worker = Worker()
        with self._lock:
            self._workers.add(worker)
        return worker

    def give_back(self, worker: Worker) -> None:
        """Keep a worker for the next job, or end it."""
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append(worker)
                return
        self.drop(worker)

    def drop(self, worker: Worker) -> None:
        """End a worker."""
        with self._lock:
            self._workers.discard(worker)
        worker.close()

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._workers):
            self.drop(worker)
        self._idle.clear()


POOL = Pool()
when_forked(POOL.reset)
atexit.register(POOL.close)


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
            POOL.drop(worker)
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
