"""The command: measures the sides by turns, each case in a process of its own, and prints a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.case import BARE, REFERENCE, SUBJECT, Row, Sample
from scripts.benchmarks.report import Measured, as_json, results, table
from scripts.benchmarks.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; its status tells whether it ran, never how fast anything was."""
    options = parse(arguments)
    rows = [row for row in ROWS if options.only.lower() in row.title.lower()]
    if not rows:
        sys.exit(f"No row has {options.only!r} in its title; the rows are:\n  " + "\n  ".join(r.title for r in ROWS))
    found: dict[str, Measured] = {}
    for row in rows:
        name = row.case.__name__
        if name not in found:
            print(f"measuring: {row.title}", file=sys.stderr)
            found[name] = measure(row, options)
    judged = results([(row, found[row.case.__name__]) for row in rows])
    print(*table(judged), sep="\n")
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.platform(), "cores": os.cpu_count()}
        report = {**machine, "rows": [as_json(result) for result in judged]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure twinstep beside the same work in plain Python (bare), and beside LangGraph when an "
        "interpreter that has it is named. Figures are medians of several processes, in CPU time unless a row says "
        "otherwise. The bars were set on one machine; beside the reference they are scaled by how fast it runs here.",
        epilog="The row of Postgres needs a server: TWINSTEP_BENCH_POSTGRES is its connection string.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter repetitions: a minute, or two beside the reference"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with this text in their title")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to a file")
    parser.add_argument("--reference", type=interpreter, metavar="PYTHON", help="an interpreter with langgraph")
    return parser.parse_args(arguments)


def interpreter(name: str) -> str:
    """Return the path of an interpreter, which is run from another directory."""
    found = shutil.which(name)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no program {name!r}")
    return os.path.abspath(found)


def measure(row: Row, options: argparse.Namespace) -> Measured:
    """Measure a row's case on all sides, by turns."""
    sides = {SUBJECT: sys.executable}
    if row.bare is not None:
        sides[BARE] = sys.executable
    if options.reference and not (row.slow and options.quick):
        sides[REFERENCE] = options.reference
    repetitions, seconds = (1 if row.slow else 2, 0.1) if options.quick else (2 if row.slow else 5, 0.5)
    found = Measured({side: [] for side in sides})
    for repetition in range(repetitions):
        for side, python in sides.items():
            if side in found.missing or (side == REFERENCE and options.quick and repetition):
                continue
            sample = once(python, row, side, seconds)
            if isinstance(sample, str):
                found.missing[side] = sample
            else:
                found.samples[side].append(sample)
    return found


def once(python: str, row: Row, side: str, seconds: float) -> Sample | str:
    """Measure a case in a fresh process; return its figures, or why there are none."""
    command = [python, "-m", "scripts.benchmarks.worker", row.case.__name__, side, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample
