"""From measurements to a table: medians, ratios, and whether the bars are met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from scripts.benchmarks.case import BARE, REFERENCE, SUBJECT, Row, Sample

WIDTH = 50
COLUMN = 11
TIMES = ("us", "ms", "s")


@dataclass
class Measured:
    """What the repetitions of a case have measured by side, or why a side could not do it."""

    samples: dict[str, list[Sample]]
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One line of the table.

    Attributes:
        figures: the median by side.
        clock: twinstep's time on the clock, when the row is about CPU.
        bar: the bar on this machine, if the row has one.
        unscaled: the bar as it was set, for another machine.
    """

    row: Row
    measured: Measured
    figures: dict[str, float]
    clock: float | None
    bar: float | None
    unscaled: float | None

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None when that was not measured, or there is none."""
        return None if self.bar is None or SUBJECT not in self.figures else self.figures[SUBJECT] <= self.bar

    @property
    def faster(self) -> float | None:
        """How many times more the reference needs."""
        subject, reference = self.figures.get(SUBJECT, 0), self.figures.get(REFERENCE, 0)
        return reference / subject if reference > 0 and subject > 0 else None

    def peak(self, side: str) -> float | None:
        """Return the most memory that a side's process has held, in MB."""
        found = [sample["peak"] for sample in self.measured.samples.get(side, []) if "peak" in sample]
        return median(found) if found else None


def results(rows: Sequence[tuple[Row, Measured]]) -> list[Result]:
    """Judge rows: each bar of time is scaled by how this machine compares with the one it was set on."""
    picked = [(row, measured, figures(row, measured)) for row, measured in rows]
    here = [
        found[REFERENCE] / row.reference
        for row, _, found in picked
        if row.reference and row.unit in TIMES and found.get(REFERENCE, 0) > 0
    ]
    scale = median(here) if here else 1.0
    judged = []
    for row, measured, found in picked:
        floor = found.get(BARE, 0.0) if row.above_bare else 0.0
        factor = scale if row.unit in TIMES else 1.0
        bar, unscaled = (None if row.bar is None else row.bar * by + floor for by in (factor, 1.0))
        clocks = [sample["wall"] for sample in measured.samples[SUBJECT] if row.metric == "cpu" and "wall" in sample]
        judged.append(Result(row, measured, found, median(clocks) if clocks else None, bar, unscaled))
    return judged


def figures(row: Row, measured: Measured) -> dict[str, float]:
    """Return a row's median by side."""
    values = {side: [s[row.metric] for s in found if row.metric in s] for side, found in measured.samples.items()}
    return {side: median(found) for side, found in values.items() if found}


# ---------------------------------------------------------------------- tables

Lines = list[list[str]]
"""A table: the names of its columns, and then its lines; the first cell of each is a title."""


def table(judged: Sequence[Result]) -> Lines:
    """Return twinstep beside bare Python, and beside the reference when that was measured."""
    compared = any(REFERENCE in result.figures for result in judged)
    beside = ["reference", "x faster", "its MB"] if compared else []
    lines = [["", "twinstep", "clock", "bare", "x bare", "peak MB", *beside, "bar", "of bar", ""]]
    known = [result for result in judged if SUBJECT in result.figures]
    return lines + [[titled(each.row), *map(number, _cells(each, compared)), _verdict(each)] for each in known]


def peer_table(judged: Sequence[Result], peers: Sequence[str]) -> Lines:
    """Return twinstep and the reference beside the peers, in the rows that any of them was measured in."""
    sides = [SUBJECT, BARE, REFERENCE, *peers]
    rows = [result for result in judged if any(peer in result.figures for peer in peers)]
    cells = [[titled(result.row), *(number(result.figures.get(side)) for side in sides)] for result in rows]
    return [["", *sides], *cells] if cells else []


def notes(judged: Sequence[Result]) -> Iterator[str]:
    """Yield what could not be measured, and how many bars are met."""
    for result in judged:
        if SUBJECT not in result.figures:
            yield f"{result.row.title} was not measured: {result.measured.missing[SUBJECT]}"
    lacking = {(side, why): None for result in judged for side, why in result.measured.missing.items()}
    yield from (f"{side} was not measured: {why}" for side, why in lacking if side != SUBJECT)
    known = [result for result in judged if result.met is not None]
    yield f"{sum(result.met is True for result in known)} of {len(known)} bars met"
    if any(result.bar != result.unscaled for result in known):
        unscaled = sum(result.figures[SUBJECT] <= (result.unscaled or 0) for result in known)
        yield f"bars of time are scaled by how fast LangGraph runs here; as they were set, {unscaled} are met"


def plain(lines: Lines) -> Iterator[str]:
    """Yield a table as text in columns."""
    for place, (title, *cells) in enumerate(lines):
        wide = [max(len(cell) + 2, COLUMN) for cell in lines[0][1:]]
        line = f"{title:{WIDTH}}" + "".join(f"{cell:>{size}}" for cell, size in zip(cells, wide, strict=True))
        yield line.rstrip()
        if place == 0:
            yield "-" * len(line)


def markdown(lines: Lines) -> Iterator[str]:
    """Yield a table as Markdown."""
    for place, cells in enumerate(lines):
        yield f"| {' | '.join(cells)} |"
        if place == 0:
            yield "|---" + "|---:" * (len(cells) - 1) + "|"


def titled(row: Row) -> str:
    return f"{row.title} [{row.unit}]" if row.unit else row.title


def _cells(result: Result, compared: bool) -> list[float | None]:
    found = result.figures
    subject, bare = found[SUBJECT], found.get(BARE)
    beside = [found.get(REFERENCE), result.faster, result.peak(REFERENCE)] if compared else []
    multiple = subject / bare if bare else None
    of_bar = subject / result.bar if result.bar else None
    return [subject, result.clock, bare, multiple, result.peak(SUBJECT), *beside, result.bar, of_bar]


def _verdict(result: Result) -> str:
    return "" if result.met is None else "met" if result.met else "NOT MET"


def number(value: float | None) -> str:
    """Return a number in as many digits as mean something."""
    if value is None:
        return "-"
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{places}f}"


def as_json(result: Result) -> dict[str, Any]:
    """Return everything that is known of a row."""
    row = result.row
    return {
        "title": row.title,
        "metric": row.metric,
        "unit": row.unit,
        "bar": row.bar,
        "bar_here": result.bar,
        "bar_unscaled": result.unscaled,
        "met": result.met,
        "median": result.figures,
        "samples": result.measured.samples,
        "missing": result.measured.missing,
    }
