"""Where a case spends its time: `python -m scripts.benchmarks.profile CASE PACKAGE SECONDS`.

A timer of CPU time interrupts the work, and the function that is running is counted; so, unlike with a tracing
profiler, many small calls weigh what they weigh. What a function calls in C, such as SQLite, counts as its own.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from scripts.benchmarks.cases_graph import IMPORTS, importing
from scripts.benchmarks.rows import ROWS  # noqa: F401  what loads here is not sampled
from scripts.benchmarks.worker import measured

INTERVAL = 0.001  # a kernel's clock may be coarser; the shares are the same
SHOWN = 12
PACKAGES = 6


@contextmanager
def sampled() -> Iterator[Counter[CodeType]]:
    """Count what the main thread runs in the block."""
    found: Counter[CodeType] = Counter()

    def count(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            found[frame.f_code] += 1

    before = signal.signal(signal.SIGPROF, count)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        yield found
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def profile(cost: float, found: Counter[str]) -> dict[str, Any]:
    """Return a cost, which names take most of it, and the shares of the packages they are in."""
    total = found.total() or 1
    most = [{"name": name, "cost": cost * n / total, "share": n / total} for name, n in found.most_common(SHOWN)]
    packages: Counter[str] = Counter()
    for name, n in found.items():
        packages[name.rpartition("/")[0] or name] += n
    return {"cost": cost, "most": most, "packages": {name: n / total for name, n in packages.most_common(PACKAGES)}}


def name(code: CodeType) -> str:
    """Return a function's file, from its package on, and its name."""
    parts = Path(code.co_filename).parts
    start = next((i for i, part in enumerate(parts) if part in {"twinstep", "langgraph", "benchmarks"}), -2)
    return f"{'/'.join(parts[start:])}: {code.co_qualname}"


def imported(package: str) -> dict[str, Any]:
    """Return what importing a package costs by what it loads, in seconds on the clock, as the interpreter counts it."""
    command = [sys.executable, "-X", "importtime", "-c", IMPORTS.format(package=package)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    spent: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        own, _, module = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            name, *rest = module.strip().split(".")
            spent[f"{name}.{rest[0]}" if rest and name == package else name] += int(own)
    return profile(spent.total() / 1e6, spent)


def worked(case: str, package: str, seconds: float) -> dict[str, Any]:
    """Return what an operation of a case costs, and the functions that take most of it."""
    with sampled() as found:
        sample = measured(case, package, seconds)
    # on the clock, if the case tells it: while such a timer runs, the kernel may count CPU time in its ticks
    return profile(sample.get("wall", sample["cpu"]), Counter({name(code): times for code, times in found.items()}))


def main(case: str, package: str, seconds: str) -> None:
    """Print a profile of a case as JSON."""
    found = imported(package) if case == importing.__name__ else worked(case, package, float(seconds))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
