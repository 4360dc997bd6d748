"""The command: measures the sides, prints tables, and writes what it was asked to write."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.baseline import read_baseline, slower
from scripts.benchmarks.case import BARE, SUBJECT, Row
from scripts.benchmarks.environments import version
from scripts.benchmarks.measure import INSTALL, Sides, measure_all, once
from scripts.benchmarks.peers import PEERS
from scripts.benchmarks.plot import svg
from scripts.benchmarks.report import Result, as_json, markdown, notes, number, peer_table, plain, results, table
from scripts.benchmarks.rows import ROWS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; its status tells whether it ran, and with `--baseline` whether nothing became slower."""
    options = parse(arguments)
    rows = [row for row in ROWS if options.only.lower() in row.title.lower() and not (row.long and options.quick)]
    if not rows:
        sys.exit(f"No row has {options.only!r} in its title; the rows are:\n  " + "\n  ".join(r.title for r in ROWS))
    if options.profile:
        print(*profiles(rows), sep="\n")
        return 0
    before = read_baseline(options.baseline) if options.baseline else {}
    sides = Sides(options.reference, options.peers)
    judged = results(measure_all(rows, sides, options.quick))
    compared = [peer.distribution for peer in PEERS if peer.distribution in sides.pythons]
    tables = [lines for lines in (table(judged), peer_table(judged, compared)) if lines]
    for lines in tables:
        print(*plain(lines), "", sep="\n")
    print(*(f"{side} could not be installed: {why}" for side, why in sides.missing.items()), *notes(judged), sep="\n")
    write(options, judged, [*(line for lines in tables for line in (*markdown(lines), ""))], sides)
    lost = list(slower(judged, before, options.factor))
    print(*lost, sep="\n", end="\n" if lost else "")
    return 1 if lost else 0


def write(options: argparse.Namespace, judged: Sequence[Result], document: Sequence[str], sides: Sides) -> None:
    """Write the files that were asked for."""
    if options.json:
        report = {**machine(sides), "rows": [as_json(result) for result in judged]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text("\n".join(document), encoding="utf-8")
    if options.plot:
        options.plot.write_text(svg(judged), encoding="utf-8")


def machine(sides: Sides) -> dict[str, Any]:
    """Return what was measured, and on what."""
    versions = {side: version(python, side) for side, python in sides.pythons.items() if side not in (SUBJECT, BARE)}
    return {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def profiles(rows: Sequence[Row]) -> Iterator[str]:
    """Yield where twinstep's time goes in each row of CPU time: by function, or by package where it imports."""
    for row in rows:
        if row.metric == "cpu":
            found = once(sys.executable, "profile", row, SUBJECT, 4)
            if isinstance(found, str):
                yield f"{row.title}: {found}"
                continue
            if not found["most"]:
                continue  # its work is another process's
            yield f"\n{row.title}: {number(found['cost'])} {row.unit}"
            yield "  " + ", ".join(f"{name} {share:.0%}" for name, share in found["packages"].items())
            for each in found["most"]:
                yield f"{each['cost']:>10.3g} {row.unit} {each['share']:>5.0%}  {each['name']}"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure twinstep beside the same work in plain Python (bare), and, when asked, beside LangGraph "
        "and other runtimes. Figures are medians of several processes, in CPU time unless a row says "
        "otherwise. The bars were set on one machine; beside the reference they are scaled by how fast it runs here.",
        epilog="The rows of Postgres start a server of their own; TWINSTEP_BENCH_POSTGRES names another.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer and shorter repetitions, without the longest rows: a few minutes")
    add("--only", default="", metavar="TEXT", help="only rows with this text in their title")
    add(
        "--reference",
        nargs="?",
        const=INSTALL,
        type=interpreter,
        metavar="PYTHON",
        help="beside LangGraph: with an interpreter that has it, or in an environment that is made, .venv-reference",
    )
    add("--peers", action="store_true", help="beside other runtimes, in environments that are made, .venv-peers/*")
    add("--profile", action="store_true", help="instead of comparing, show in which functions twinstep's time goes")
    add("--baseline", type=existing, metavar="FILE", help="fail if a row is slower than in this file of --json")
    add("--factor", type=float, default=1.5, metavar="TIMES", help="how much slower that is (default 1.5)")
    add("--json", type=Path, metavar="FILE", help="also write all figures to a file")
    add("--markdown", type=Path, metavar="FILE", help="also write the tables as Markdown")
    add("--plot", type=Path, metavar="FILE.svg", help="also draw the rows of time")
    return parser.parse_args(arguments)


def interpreter(name: str) -> str:
    """Return the path of an interpreter, which is run from another directory; `INSTALL` stays as it is."""
    if name == INSTALL:
        return name
    found = shutil.which(name)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no program {name!r}")
    return os.path.abspath(found)


def existing(name: str) -> Path:
    """Return the path of a file that is there."""
    if not Path(name).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {name!r}")
    return Path(name)
