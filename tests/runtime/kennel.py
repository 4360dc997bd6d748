"""Real processes that start in milliseconds and may be killed at any moment.

One helper process imports the program once; every job runs in a fork of it, which is a process of its own with its own
saver and its own connections.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
LONG = 20.0
"""Seconds after which a job is taken to hang."""

_MASTER = """
import json, os, sys, traceback
for line in sys.stdin:
    job = json.loads(line)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            out = os.open(job.pop("_out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1), os.dup2(out, 2)
            work(**job)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True) if job.pop("_wait", False) else None
"""


class Dog:
    """One job: a process.

    Attributes:
        pid: its process id.
    """

    def __init__(self, kennel: Kennel, pid: int, out: Path) -> None:
        self._kennel, self.pid, self._out = kennel, pid, out
        self._pidfd = os.pidfd_open(pid)

    def alive(self) -> bool:
        """Tell whether it still runs."""
        import select

        return not select.select([self._pidfd], [], [], 0)[0]

    def wait(self, seconds: float = LONG) -> bool:
        """Wait for its end; tell whether it came in time."""
        import select

        return bool(select.select([self._pidfd], [], [], seconds)[0])

    def kill(self) -> bool:
        """Kill it without warning; tell whether it was still running."""
        was_alive = self.alive()
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        assert self.wait()
        return was_alive

    def said(self) -> str:
        """Return what it has printed, when it has ended."""
        if not self.wait():
            self.kill()
            raise TimeoutError(f"a job did not end: {self._out.read_text()}")
        return self._out.read_text().strip()

    def wait_for(self, file: Path) -> None:
        """Wait until it has made a file."""
        deadline = time.monotonic() + LONG
        while not file.exists():
            assert self.alive() and time.monotonic() < deadline, self._out.read_text()
            time.sleep(0.002)


class Kennel:
    """Runs jobs in processes.

    Args:
        program: source text that defines `work(**options)`.
    """

    def __init__(self, program: str) -> None:
        self._source, self._jobs = program, 0

    def __enter__(self) -> Self:
        import tempfile

        self._dir = tempfile.TemporaryDirectory()
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        self._master = subprocess.Popen(
            [sys.executable, "-c", self._source + _MASTER],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def start(self, **options: Any) -> Dog:
        """Start a job."""
        assert self._master.stdin is not None
        assert self._master.stdout is not None
        self._jobs += 1
        out = Path(self._dir.name) / f"{self._jobs}.out"
        self._master.stdin.write(json.dumps({**options, "_out": str(out)}) + "\n")
        self._master.stdin.flush()
        return Dog(self, int(self._master.stdout.readline()), out)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._master.kill()
        self._master.communicate()
        self._dir.cleanup()
