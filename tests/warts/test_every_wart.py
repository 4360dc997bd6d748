"""No surprise of the list is without a test named after it."""

from __future__ import annotations

import re
from pathlib import Path

LAST = 63


def test_every_wart_has_a_test() -> None:
    source = "".join(file.read_text() for file in Path(__file__).parent.glob("test_warts_*.py"))
    tested = {int(number) for number in re.findall(r"def test_w(\d+)_", source)}
    assert tested == set(range(1, LAST + 1))
