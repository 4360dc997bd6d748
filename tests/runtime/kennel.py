"""Real processes that start in milliseconds and may be killed at any moment.

One helper process imports the program once; every job runs in a fork of it, which is a process of its own with its own
saver and its own connections.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

ROOT = Path(__file__).parents[2]
needs_processes = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs process handles (Linux)")
LONG = 20.0
"""Seconds after which a job is taken to hang."""

_MASTER = """
import gc, json, os, sys, traceback
from {module} import {name} as work, warm
warm()
gc.collect(), gc.freeze()
for line in sys.stdin:
    job = json.loads(line)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            out = os.open(job.pop("_out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            work(**job)
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(pid, flush=True)
"""


class Dog:
    """One job: a process.

    Attributes:
        pid: its process id.
    """

    def __init__(self, pid: int, out: Path) -> None:
        self.pid, self._out = pid, out
        self._pidfd: int | None = os.pidfd_open(pid)

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return not self.wait(0)

    def wait(self, seconds: float = LONG) -> bool:
        """Wait for its end; tell whether it came in time."""
        if self._pidfd is None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        os.close(self._pidfd)
        self._pidfd = None
        return True

    def kill(self) -> bool:
        """Kill it without warning; tell whether it was still running."""
        if not self.alive():
            return False
        assert self._pidfd is not None
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        assert self.wait()
        return True

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
            assert self.alive(), self._out.read_text()
            assert time.monotonic() < deadline, f"{file} was never made"
            time.sleep(0.002)


class Kennel:
    """Runs jobs in processes.

    Args:
        name: the function that does a job.
        module: where it is; its `warm` loads what the jobs need.
    """

    def __init__(self, name: str, module: str = "tests.runtime.jobs") -> None:
        self._name, self._module = name, module
        self._dogs: list[Dog] = []

    def __enter__(self) -> Self:
        self._dir = tempfile.TemporaryDirectory()
        path = [os.environ.get("PYTHONPATH", ""), str(ROOT / "src"), str(ROOT)]
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
        }
        self._master = subprocess.Popen(
            [sys.executable, "-c", _MASTER.format(module=self._module, name=self._name)],
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
        out = Path(self._dir.name) / f"{len(self._dogs)}.out"
        self._master.stdin.write(json.dumps({**options, "_out": str(out)}) + "\n")
        self._master.stdin.flush()
        self._dogs.append(Dog(int(self._master.stdout.readline()), out))
        return self._dogs[-1]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for dog in self._dogs:
            dog.kill()
        self._master.kill()
        self._master.communicate()
        self._dir.cleanup()
