"""scripts/bench: what it says of figures, when it fails on a baseline, and the picture it draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from scripts.benchmarks.baseline import read_baseline, slower
from scripts.benchmarks.case import BARE, REFERENCE, SUBJECT, Row, Side, Timed
from scripts.benchmarks.plot import svg
from scripts.benchmarks.report import Measured, Result, as_json, markdown, notes, plain, results, table


def nothing(side: Side) -> Timed:
    return Timed(lambda: None, 1)


def judged(subject: float, bare: float | None = None, reference: float | None = None, **row: Any) -> Result:
    """Judge one row of these medians, whose bar of 10 us was set where the reference took 100 us."""
    measured = {SUBJECT: subject, BARE: bare, REFERENCE: reference}
    samples = {side: [{"cpu": value, "peak": 50.0}] for side, value in measured.items() if value is not None}
    described = {"bar": 10, "reference": 100, **row}
    [result] = results([(Row("a row", nothing, nothing, **described), Measured(samples))])
    return result


def baseline(path: Path, result: Result) -> dict[str, dict[str, float]]:
    file = path / "before.json"
    file.write_text(json.dumps({"rows": [as_json(result)]}))
    return read_baseline(file)


def test_a_bar_moves_with_the_machine() -> None:
    assert judged(9).met is True
    assert judged(9, reference=50).met is False
    assert judged(9, reference=50).bar == 5
    assert list(notes([judged(9, reference=50)]))[-1].endswith("as they were set, 1 are met")


def test_a_row_without_a_bar_is_neither_met_nor_missed() -> None:
    assert judged(9, bar=None).met is None
    assert list(notes([judged(9, bar=None)])) == ["0 of 0 bars met"]


@pytest.mark.parametrize(("now", "lost"), [(30, False), (32, True)])
def test_a_row_that_became_slower_is_named(tmp_path: Path, now: float, lost: bool) -> None:
    found = list(slower([judged(now, bar=100)], baseline(tmp_path, judged(20, bar=100)), 1.5))
    assert len(found) == lost
    assert all(line.startswith("a row: 20 us before") for line in found)


def test_a_slower_machine_is_no_loss(tmp_path: Path) -> None:
    before = baseline(tmp_path, judged(20, bare=2))
    assert not list(slower([judged(60, bare=6)], before, 1.5))
    assert list(slower([judged(60, bare=2)], before, 1.5))


def test_what_was_not_measured_before_is_no_loss(tmp_path: Path) -> None:
    assert not list(slower([judged(20)], {}, 1.5))


def test_the_tables_have_a_line_for_each_row() -> None:
    lines = table([judged(9, bare=2, reference=90)])
    assert [line.count("|") for line in markdown(lines)] == [13, 13, 13]
    assert "10.0" in list(plain(lines))[-1].split()  # times faster than the reference


def test_the_picture_draws_a_bar_for_each_side() -> None:
    picture = ElementTree.fromstring(svg([judged(10, bare=1, reference=100)]))
    bars = [each for each in picture.iter("{http://www.w3.org/2000/svg}rect") if each.get("height") == "6"]
    subject, reference, bare = (float(each.attrib["width"]) for each in bars)
    assert bare < subject < reference
    assert reference == pytest.approx(2 * subject)
