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
        bar: the bar on this machine.
    """

    row: Row
    measured: Measured
    figures: dict[str, float]
    clock: float | None
    bar: float

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None when that was not measured."""
        return self.figures[SUBJECT] <= self.bar if SUBJECT in self.figures else None


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
        bar = row.bar * scale if row.unit in TIMES else row.bar
        if row.above_bare:
            bar += found.get(BARE, 0.0)
        clocks = [sample["wall"] for sample in measured.samples[SUBJECT] if row.metric == "cpu" and "wall" in sample]
        judged.append(Result(row, measured, found, median(clocks) if clocks else None, bar))
    return judged


def figures(row: Row, measured: Measured) -> dict[str, float]:
    """Return a row's median by side."""
    values = {side: [s[row.metric] for s in found if row.metric in s] for side, found in measured.samples.items()}
    return {side: median(found) for side, found in values.items() if found}


def table(judged: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table."""
    compared = any(REFERENCE in result.figures for result in judged)
    names = ["twinstep", "clock", "bare", "x bare", *(["reference", "x faster"] if compared else []), "bar", "of bar"]
    first = f"{'':{WIDTH}}" + "".join(f"{name:>{COLUMN}}" for name in names)
    yield first
    yield "-" * len(first)
    for result in judged:
        unit = f" [{result.row.unit}]" if result.row.unit else ""
        title = f"{result.row.title + unit:{WIDTH}}"
        if result.met is None:
            yield f"{title}  not measured: {result.measured.missing[SUBJECT]}"
        else:
            cells = "".join(f"{_number(cell):>{COLUMN}}" for cell in _cells(result, compared))
            yield title + cells + ("  met" if result.met else "  NOT MET")
    lacking = {(side, why): None for result in judged for side, why in result.measured.missing.items()}
    yield from (f"{side} was not measured: {why}" for side, why in lacking if side != SUBJECT)
    met, known = [result.met for result in judged].count(True), sum(result.met is not None for result in judged)
    yield f"{met} of {known} bars met" + (f", {len(judged) - known} not measured" if known < len(judged) else "")


def _cells(result: Result, compared: bool) -> list[float | None]:
    found = result.figures
    subject, bare, reference = found[SUBJECT], found.get(BARE), found.get(REFERENCE)
    cells = [subject, result.clock, bare, subject / bare if bare else None]
    if compared:
        faster = reference / subject if reference and reference > 0 and subject > 0 else None
        cells += [reference, faster]
    return [*cells, result.bar, subject / result.bar]


def _number(value: float | None) -> str:
    """Return a number in as many digits as mean something."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def as_json(result: Result) -> dict[str, Any]:
    """Return everything that is known of a row."""
    row = result.row
    return {
        "title": row.title,
        "metric": row.metric,
        "unit": row.unit,
        "bar": row.bar,
        "bar_here": result.bar,
        "met": result.met,
        "median": result.figures,
        "samples": result.measured.samples,
        "missing": result.measured.missing,
    }
