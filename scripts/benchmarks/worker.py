"""One measurement in a process of its own: `python -m scripts.benchmarks.worker CASE PACKAGE SECONDS`.

Prints the figures as JSON on the last line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.benchmarks.case import BARE, Side, Timed
from scripts.benchmarks.rows import ROWS


def main(case: str, package: str, seconds: str) -> None:
    """Measure a case, named like its function, on one side."""
    row = next(row for row in ROWS if row.case.__name__ == case)
    function = row.bare if package == BARE else row.case
    assert function is not None
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        side = Side(package, Path(folder))  # it holds what the case has opened
        found = function(side)
        print(json.dumps(found.measure(float(seconds)) if isinstance(found, Timed) else found))


if __name__ == "__main__":
    main(*sys.argv[1:])
