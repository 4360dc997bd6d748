"""A picture of the table: a bar for each side of each row, on a logarithmic scale, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10

from scripts.benchmarks.case import BARE, REFERENCE, SUBJECT
from scripts.benchmarks.report import Result, number

LEFT, WIDE, RIGHT = 330, 520, 150
TOP, BOTTOM = 78, 34
BAR, GAP = 7, 9
COLOURS = {SUBJECT: "#2563eb", REFERENCE: "#f59e0b", BARE: "#9ca3af"}
NAMES = {SUBJECT: "twinstep", REFERENCE: "LangGraph", BARE: "bare Python"}
MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6}
TICKS = {
    -2: "10 ns",
    -1: "0.1 µs",
    0: "1 µs",
    1: "10 µs",
    2: "100 µs",
    3: "1 ms",
    4: "10 ms",
    5: "0.1 s",
    6: "1 s",
    7: "10 s",
}


def svg(judged: Sequence[Result]) -> str:
    """Draw the rows of time that twinstep and another side were measured in."""
    rows = [(result, bars(result)) for result in judged if result.row.unit in MICROSECONDS]
    rows = [(result, found) for result, found in rows if SUBJECT in found and len(found) > 1]
    if not rows:
        raise SystemExit("there is no row of time to draw")
    every = [value for _, found in rows for value in found.values()]
    scale = Scale(floor(log10(min(every))), ceil(log10(max(every))))
    height = TOP + sum(len(found) * BAR + GAP for _, found in rows)
    lines = [*head(height + BOTTOM), *legend(rows), *scale.grid(height)]
    y = TOP + GAP // 2
    for result, found in rows:
        lines += draw(result, found, scale, y)
        y += len(found) * BAR + GAP
    return "\n".join([*lines, "</svg>"]) + "\n"


def bars(result: Result) -> dict[str, float]:
    """Return the microseconds of a row by side, in the order in which they are drawn."""
    unit = MICROSECONDS[result.row.unit]
    return {side: result.figures[side] * unit for side in COLOURS if result.figures.get(side, 0) > 0}


class Scale:
    """Where a time is on the axis.

    Args:
        low: the power of ten, of microseconds, at the left end.
        high: that at the right end.
    """

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def width(self, value: float) -> float:
        """Return how long the bar of so many microseconds is."""
        return (log10(value) - self.low) / (self.high - self.low) * WIDE

    def grid(self, height: int) -> Iterator[str]:
        """Yield a line and a label for each power of ten."""
        for power in range(self.low, self.high + 1):
            x = LEFT + self.width(10**power)
            yield f'<path d="M{x:.1f} {TOP - 4}V{height}" stroke="#e5e7eb"/>'
            yield text(x, height + 18, TICKS.get(power, f"1e{power} µs"), "middle", "#6b7280")


def head(height: int) -> Iterator[str]:
    width = LEFT + WIDE + RIGHT
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="11">'
    )
    yield f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    yield text(
        20, 28, "CPU time of one operation (on the clock where a row says so), logarithmic", "start", "#111827", size=16
    )


def legend(rows: Sequence[tuple[Result, dict[str, float]]]) -> Iterator[str]:
    x = 20
    for side in COLOURS:
        if any(side in found for _, found in rows):
            yield f'<rect x="{x}" y="42" width="12" height="12" fill="{COLOURS[side]}"/>'
            yield text(x + 18, 52, NAMES[side], "start", "#374151")
            x += 110
    if any(REFERENCE in found for _, found in rows):
        yield text(LEFT + WIDE + RIGHT - 20, 52, "LangGraph / twinstep", "end", "#6b7280")


def draw(result: Result, found: dict[str, float], scale: Scale, y: int) -> Iterator[str]:
    """Yield a row: its title, its bars with their figures, and how much faster twinstep is."""
    middle = y + len(found) * BAR / 2 + 4
    yield text(LEFT - 10, middle, result.row.title, "end", "#111827")
    for place, (side, value) in enumerate(found.items()):
        top, width = y + place * BAR, max(scale.width(value), 1)
        yield f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 1}" fill="{COLOURS[side]}"/>'
        yield text(LEFT + width + 4, top + 6, readable(value), "start", "#4b5563", size=7)
    if REFERENCE in found:
        times = found[REFERENCE] / found[SUBJECT]
        yield text(LEFT + WIDE + RIGHT - 20, middle, f"{number(times)} x", "end", "#111827")


def text(x: float, y: float, words: str, anchor: str, colour: str, size: int = 11) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
    return f"<text {place}>{escape(words)}</text>"


def readable(value: float) -> str:
    """Return microseconds in the unit that suits them."""
    unit, name = max((size, name) for name, size in MICROSECONDS.items() if size <= max(value, 1))
    return f"{number(value / unit)} {name.replace('u', 'µ')}"
