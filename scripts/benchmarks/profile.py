"""Where a case spends its time: `python -m scripts.benchmarks.profile CASE PACKAGE SECONDS`.

A timer of CPU time interrupts the work, and the function that is running is counted; so, unlike with a tracing
profiler, many small calls weigh what they weigh. What a function calls in C, such as SQLite, counts as its own.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from scripts.benchmarks.rows import ROWS  # noqa: F401  what loads here is not sampled
from scripts.benchmarks.worker import measured

INTERVAL = 0.001  # a kernel's clock may be coarser; the shares are the same
SHOWN = 12


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


def shares(found: Counter[CodeType], cost: float) -> Iterator[dict[str, Any]]:
    """Yield the functions that take most, and how much of an operation's cost each takes."""
    total = found.total() or 1
    for code, times in found.most_common(SHOWN):
        yield {"function": name(code), "cost": cost * times / total, "share": times / total}


def name(code: CodeType) -> str:
    """Return a function's file, from its package on, and its name."""
    parts = Path(code.co_filename).parts
    start = next((i for i, part in enumerate(parts) if part in {"twinstep", "langgraph", "benchmarks"}), -2)
    return f"{'/'.join(parts[start:])}: {code.co_qualname}"


def main(case: str, package: str, seconds: str) -> None:
    """Measure a case while it is sampled, and print its cost and its functions as JSON."""
    with sampled() as found:
        sample = measured(case, package, float(seconds))
    print(json.dumps({"cost": sample["cpu"], "functions": list(shares(found, sample["cpu"]))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
