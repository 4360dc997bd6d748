"""Programs that make other calls at their resume than before, and programs that were changed meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from scripts.trials.trial import Figure, Scale, Trial

ROOT = Path(__file__).resolve().parents[2]


def tested(file: str) -> tuple[int, int]:
    """Run a file of tests; return how many failed, and how many there are."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", file]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    counts = {"passed": 0, "failed": 0, "error": 0, "errors": 0}
    words = said.strip().splitlines()[-1].replace(",", "").split()
    for number, word in pairwise(words):
        if word in counts:
            counts[word] += int(number)
    failed = counts["failed"] + counts["error"] + counts["errors"]
    return failed, failed + counts["passed"]


def nondeterminism(scale: Scale) -> Iterator[Figure]:
    """Eight ways in which a program can make other calls at its resume (tests, on two savers in two lanes)."""
    failed, of = tested("tests/runtime/test_nondeterminism.py")
    yield Figure("silently wrong, or not told what was recorded and what was made", failed, 0, of)


def changed_code(scale: Scale) -> Iterator[Figure]:
    """Fourteen changes of code between a question and its answer (tests, on two savers in two lanes)."""
    failed, of = tested("tests/runtime/test_changed_code.py")
    yield Figure("silently dropped or redone, or missing names not listed", failed, 0, of)


TRIALS: list[Trial] = [nondeterminism, changed_code]
