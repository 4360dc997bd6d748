"""The command: measures the sides by turns, each case in a process of its own, and prints a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.case import BARE, REFERENCE, SUBJECT, Row, Sample
from scripts.benchmarks.report import Result, head, line
from scripts.benchmarks.table import ROWS

ROOT = Path(__file__).resolve().parents[2]
Outcome = list[Sample] | str
"""What the repetitions have measured, or why they have not."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; its status tells whether it ran, never how fast anything was."""
    options = parse(arguments)
    rows = [row for row in ROWS if options.only.lower() in row.title.lower()]
    if not rows:
        sys.exit(f"No row has {options.only!r} in its title; the rows are:\n  " + "\n  ".join(r.title for r in ROWS))
    print(*head(bool(options.reference)), sep="\n", flush=True)
    results = []
    known: dict[str, dict[str, Outcome]] = {}
    for row in rows:
        name = row.case.__name__
        if name not in known:
            known[name] = measured(row, options)
        results.append(Result.of(row, known[name]))
        print(line(results[-1], bool(options.reference)), flush=True)
    met, judged = sum(r.met is True for r in results), sum(r.met is not None for r in results)
    print(f"{met} of {judged} bars met" + (f"; {len(rows) - judged} not measured" if judged < len(rows) else ""))
    if options.json:
        report = {"python": platform.python_version(), "machine": platform.platform(), "cores": os.cpu_count()}
        text = json.dumps({**report, "rows": [result.as_json() for result in results]}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure twinstep beside the same work in plain Python (bare), and beside LangGraph when an "
        "interpreter that has it is named. Figures are medians of CPU time unless a row says otherwise. A bar was set "
        "on one machine: with the reference at hand it is scaled by how fast the reference runs here.",
        epilog="The row of PostgreSQL needs TWINSTEP_BENCH_POSTGRES, a connection string of a server.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repetitions: under two minutes")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with this text in their title")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to a file")
    parser.add_argument("--reference", metavar="PYTHON", help="an interpreter with langgraph")
    return parser.parse_args(arguments)


def measured(row: Row, options: argparse.Namespace) -> dict[str, Outcome]:
    """Measure a row's case on all sides, by turns."""
    sides = {SUBJECT: sys.executable}
    if row.bare is not None:
        sides[BARE] = sys.executable
    if options.reference and not (row.slow and options.quick):
        sides[REFERENCE] = options.reference
    repetitions, seconds = (1 if row.slow else 2, 0.1) if options.quick else (5, 0.5)
    found: dict[str, Outcome] = {side: [] for side in sides}
    for _ in range(repetitions):
        for side, python in sides.items():
            samples = found[side]
            if isinstance(samples, str):
                continue
            sample = once(python, row, side, seconds)
            if isinstance(sample, str):
                found[side] = sample
            else:
                samples.append(sample)
    return found


def once(python: str, row: Row, side: str, seconds: float) -> Sample | str:
    """Measure a case in a fresh process; return its figures, or why there are none."""
    command = [python, "-m", "scripts.benchmarks.worker", row.case.__name__, side, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["it said nothing"]
    if done.returncode:
        return lines[-1]
    sample: Sample = json.loads(lines[-1])
    return sample
