"""A comparison with figures that an earlier run has written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.benchmarks.case import BARE, SUBJECT
from scripts.benchmarks.report import Result

Figures = dict[str, float]


def read_baseline(path: Path) -> dict[str, Figures]:
    """Return the medians of a file that `--json` has written, by row and side."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {row["title"]: row["median"] for row in rows}


def slower(judged: Sequence[Result], before: dict[str, Figures], factor: float) -> Iterator[str]:
    """Yield a line for each row whose figure has grown by more than a factor.

    Figures are taken as multiples of the bare ones where both runs have those, so that machines may differ.
    """
    for result in judged:
        old, new = before.get(result.row.title, {}), result.figures
        unit = "x bare" if old.get(BARE, 0) > 0 and new.get(BARE, 0) > 0 else result.row.unit
        was, now = _figure(old, unit), _figure(new, unit)
        if was is not None and now is not None and now > max(was, _noise(result, unit)) * factor:
            yield f"{result.row.title}: {was:.3g} {unit} before, {now:.3g} {unit} now: {now / was:.2f} times"


def _figure(found: Figures, unit: str) -> float | None:
    """Return twinstep's figure; None if there is none that can be compared."""
    if found.get(SUBJECT, 0) <= 0:
        return None
    return found[SUBJECT] / found[BARE] if unit == "x bare" else found[SUBJECT]


def _noise(result: Result, unit: str) -> float:
    """Return below what a figure means nothing: a twentieth of a bar that is not one of time."""
    return 0.0 if unit == "x bare" or result.bar is None else result.bar / 20
