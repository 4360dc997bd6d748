"""One measurement in a process of its own: `python -m scripts.benchmarks.worker CASE PACKAGE SECONDS`.

Prints the figures as JSON on the last line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.benchmarks.case import BARE, Sample, Side, Timed, peak, size
from scripts.benchmarks.peers import PEERS


def measured(case: str, package: str, seconds: float) -> Sample:
    """Measure a case, named like its function, on one side; the most memory held and what was stored are added."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        side = Side(package, Path(folder))
        found = function(case, package)(side)
        if isinstance(found, Timed):
            timed = found.measure(seconds)
            stored = size(side) * 1e6 / timed.pop("ops")
            found = {**timed, "stored": stored} if stored else timed
        side.close()
        return {"peak": peak(), **found}


def function(case: str, package: str) -> Callable[[Side], Timed | Sample]:
    """Return the function that does a case for a side."""
    for peer in PEERS:
        if peer.distribution == package:
            adapter = import_module(f"scripts.benchmarks.peers.{peer.module}")
            return getattr(adapter, case)  # type: ignore[no-any-return]
    from scripts.benchmarks.rows import ROWS

    row = next(row for row in ROWS if row.case.__name__ == case)
    found = row.bare if package == BARE else row.case
    assert found is not None
    return found


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
