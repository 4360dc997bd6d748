"""What a case is: work to be timed, and the library that does it.

Cases are written once. twinstep and the reference share their public names module for module, so a case asks its side
for modules; "bare" is the same work as plain Python calls. Nothing here imports more than the standard library, so
that a case runs in any interpreter.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import resource
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Literal

Sample = dict[str, float]
"""What one process has measured, by metric."""
BARE, SUBJECT, REFERENCE = "bare", "twinstep", "langgraph"


class Side:
    """Who does the work.

    Args:
        package: `twinstep`, `langgraph`, or `bare` for plain Python.
        folder: an empty directory for files.
    """

    def __init__(self, package: str, folder: Path) -> None:
        self.package, self.folder = package, folder
        self._open = ExitStack()

    def module(self, name: str) -> Any:
        """Import a module of the library."""
        return import_module(f"{self.package}.{name}")

    def memory(self) -> Any:
        """Return a saver that keeps everything in memory."""
        return self.module("checkpoint.memory").InMemorySaver()

    def enter(self, manager: AbstractContextManager[Any]) -> Any:
        """Enter a context that is left when this side is closed."""
        return self._open.enter_context(manager)

    def callback(self, end: Callable[[], object]) -> None:
        """Call a function when this side is closed."""
        self._open.callback(end)

    def close(self) -> None:
        """Leave the contexts that were entered."""
        self._open.close()

    def connect(self, synchronous: str = "NORMAL") -> sqlite3.Connection:
        """Open a new SQLite file with a write-ahead log; `synchronous` is SQLite's own setting."""
        path = self.folder / f"{len(list(self.folder.iterdir()))}.sqlite"
        conn = sqlite3.connect(path, check_same_thread=False)
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute(f"PRAGMA synchronous={synchronous}")
        return conn

    def sqlite(self, synchronous: str = "NORMAL") -> Any:
        """Return a saver on a new SQLite file."""
        own = {"synchronous": synchronous} if self.package == SUBJECT else {}
        return self.module("checkpoint.sqlite").SqliteSaver(self.connect(synchronous), **own)


@dataclass(frozen=True)
class Timed:
    """Work to be timed.

    Args:
        run: does `ops` operations; a coroutine it returns is awaited.
        ops: how many operations one call does.
        without: the same work less what is to be measured; its time is subtracted.
    """

    run: Callable[[], Any]
    ops: int
    without: Callable[[], Any] | None = None

    def measure(self, seconds: float) -> Sample:
        """Repeat the work for about so many seconds; return the microseconds of an operation, and how many were done.

        They are those of the fastest round, for what else the machine does only ever adds to them.
        """
        with asyncio.Runner() as runner:
            _time(self.run, runner)
            gc.collect()
            end = perf_counter() + seconds
            runs: list[Sample] = []
            rests: list[Sample] = []
            while len(runs) < 3 or perf_counter() < end:
                runs.append(_time(self.run, runner))
                rests.append(_time(self.without or _nothing, runner))
        sample = {clock: (_least(runs, clock) - _least(rests, clock)) / self.ops * 1e6 for clock in ("cpu", "wall")}
        return {**sample, "ops": float(self.ops * (len(runs) + 1))}


def _time(run: Callable[[], Any], runner: asyncio.Runner) -> Sample:
    cpu, wall = process_time(), perf_counter()
    result = run()
    if inspect.iscoroutine(result):
        runner.run(result)
    return {"cpu": process_time() - cpu, "wall": perf_counter() - wall}


def peak() -> float:
    """Return the most memory this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike the figure below, it leaves out what the process was forked from
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def size(side: Side) -> float:
    """Return the MB that a side's files take, once the write-ahead log is copied into them."""
    for file in side.folder.glob("*.sqlite"):
        with closing(sqlite3.connect(file)) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(file.stat().st_size for file in side.folder.iterdir()) / 1e6


def _nothing() -> None:
    pass


def _least(rounds: list[Sample], clock: str) -> float:
    return min(each[clock] for each in rounds)


Case = Callable[[Side], Timed | Sample]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        title: what is measured.
        case: does it with a library.
        bare: does it in plain Python.
        bar: what is to be reached, in `unit`; None for what is only compared.
        reference: what the reference needed on the machine the bar was set on.
        metric: which of the case's figures this is.
        unit: of the figures.
        above_bare: whether the bar counts from what plain Python needs.
        slow: leave the reference out of a quick run.
        long: leave the row out of a quick run.
        served: whether it needs a PostgreSQL server.
    """

    title: str
    case: Case
    bare: Case | None
    bar: float | None
    reference: float | None = None
    metric: str = "cpu"
    unit: Literal["us", "ms", "s", "MB", "kB", "B", ""] = "us"
    above_bare: bool = False
    slow: bool = False
    long: bool = False
    served: bool = False
