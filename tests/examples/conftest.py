"""Scripts run in processes that start in milliseconds: forks of one interpreter that has imported the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FORKS = """
import gc, json, os, runpy, signal, sys, warnings
import networkx, twinstep.func, twinstep.graph, twinstep.models, twinstep.prebuilt
import twinstep.checkpoint.sqlite, twinstep.store.sqlite
gc.collect(), gc.freeze()
for line in sys.stdin:
    if os.fork() == 0:
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
else:
    sys.exit()
script, folder = json.loads(line)
os.chdir(folder)
for number, file in enumerate((os.devnull, "stdout", "stderr")):
    os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
sys.argv, sys.path[0] = [script], os.path.dirname(script)
warnings.simplefilter("error")
signal.alarm(60)
runpy.run_path(script, run_name="__main__")
"""


class Interpreter:
    """Runs scripts as `python -W error SCRIPT` does, without the wait for the imports."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, script: Path, folder: Path) -> tuple[int, str, str]:
        """Run a script in a process of its own, in `folder`; return its exit code and what it wrote."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(script), str(folder)]), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        return code, (folder / "stdout").read_text(), (folder / "stderr").read_text()


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """An interpreter that has no keys of providers."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Interpreter(process)
