"""From measurements to lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from scripts.benchmarks.case import BARE, REFERENCE, SUBJECT, Row, Sample

WIDTH = 46
COLUMN = 11


@dataclass(frozen=True)
class Result:
    """What was measured for one row.

    Attributes:
        figures: the median by side.
        wall: twinstep's time on the clock, when the row is about CPU.
        bar: the bar on this machine.
        missing: why twinstep has no figure.
    """

    row: Row
    figures: dict[str, float]
    samples: dict[str, list[float]]
    wall: float | None
    bar: float
    missing: str

    @classmethod
    def of(cls, row: Row, measured: Mapping[str, list[Sample] | str]) -> Result:
        """Pick a row's figures out of what its case has measured."""
        samples = {
            side: [each[row.metric] for each in found if row.metric in each]
            for side, found in measured.items()
            if not isinstance(found, str)
        }
        figures = {side: median(values) for side, values in samples.items() if values}
        walls = [each["wall"] for each in measured[SUBJECT] if "wall" in each] if row.metric == "cpu" else []
        bar = row.bar
        if row.above_bare:
            bar += figures.get(BARE, 0.0)
        elif row.reference and REFERENCE in figures and row.unit not in ("", "MB", "kB"):
            bar *= figures[REFERENCE] / row.reference
        missing = measured[SUBJECT] if isinstance(measured[SUBJECT], str) else ""
        return cls(row, figures, samples, median(walls) if walls else None, bar, missing)

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None when that was not measured."""
        return self.figures[SUBJECT] <= self.bar if SUBJECT in self.figures else None

    def as_json(self) -> dict[str, Any]:
        """Return everything that is known of the row."""
        return {
            "title": self.row.title,
            "metric": self.row.metric,
            "unit": self.row.unit,
            "bar": self.row.bar,
            "bar_here": self.bar,
            "met": self.met,
            "median": self.figures,
            "samples": self.samples,
            "missing": self.missing,
        }


def head(with_reference: bool) -> list[str]:
    """Return the first lines of the table."""
    names = ["twinstep", "clock", "bare", "x bare"]
    if with_reference:
        names += ["reference", "x faster"]
    names += ["bar", "of bar"]
    first = f"{'':{WIDTH}}" + "".join(f"{name:>{COLUMN}}" for name in names)
    return [first, "-" * len(first)]


def line(result: Result, with_reference: bool) -> str:
    """Return a row as a line of the table."""
    title = f"{result.row.title} [{result.row.unit}]" if result.row.unit else result.row.title
    figures = result.figures
    subject, bare, reference = figures.get(SUBJECT), figures.get(BARE), figures.get(REFERENCE)
    if subject is None:
        return f"{title:{WIDTH}}  not measured: {result.missing}"
    cells = [subject, result.wall, bare, subject / bare if bare else None]
    if with_reference:
        cells += [reference, reference / subject if reference and subject else None]
    cells += [result.bar, subject / result.bar]
    return f"{title:{WIDTH}}" + "".join(f"{_number(cell):>{COLUMN}}" for cell in cells) + ("" if result.met else "  MISSED")


def _number(value: float | None) -> str:
    """Return a number in as many digits as mean something."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
