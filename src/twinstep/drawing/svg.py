"""SVG text (https://www.w3.org/TR/SVG11/)."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from twinstep.drawing.picture import ARROW, FONT, LINE, PAD_Y, SMALL, SMALL_LINE, Box, Label, Line, Picture
from twinstep.drawing.theme import EDGE, FILLS, STROKES, TEXT, radius

SANS = "Helvetica, Arial, 'DejaVu Sans', sans-serif"


def draw(picture: Picture) -> str:
    """Return the SVG text of a picture."""
    width, height = _number(picture.width), _number(picture.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{SANS}" text-anchor="middle" fill="{TEXT}">',
        f'<defs><marker id="arrow" viewBox="0 0 10 10" refX="9.5" refY="5" markerWidth="{ARROW}" '
        f'markerHeight="{ARROW}" markerUnits="userSpaceOnUse" orient="auto"><path d="M0,1 L10,5 L0,9 z" '
        f'fill="{EDGE}"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *(_frame(box) for box in picture.boxes),
        *(_line(line) for line in picture.lines),
        *(part for box in picture.boxes for part in _texts(box)),
        *(part for label in picture.labels for part in _label(label)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _frame(box: Box) -> str:
    place = f'x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'
    return f'<rect {place} rx="{_number(radius(box))}" fill="{FILLS[box.kind]}" stroke="{STROKES[box.kind]}"/>'


def _texts(box: Box) -> Iterator[str]:
    x = _number(box.x + box.width / 2)
    if box.kind == "cluster":
        yield _text(x, box.y + 17, SMALL, box.title, ' font-weight="bold"')
        return
    y = box.y + PAD_Y + LINE / 2 + FONT * 0.35
    yield _text(x, y, FONT, box.title)
    for n, line in enumerate(box.below):
        yield _text(x, y + LINE / 2 + 2 + (n + 0.5) * SMALL_LINE, SMALL, line, ' font-style="italic"')


def _line(line: Line) -> str:
    points = [f"{_number(x)},{_number(y)}" for x, y in line.points]
    curves = " ".join("C" + " ".join(points[n : n + 3]) for n in range(1, len(points), 3))
    dashes = ' stroke-dasharray="5 4"' if line.dotted else ""
    return f'<path d="M{points[0]} {curves}" fill="none" stroke="{EDGE}"{dashes} marker-end="url(#arrow)"/>'


def _label(label: Label) -> Iterator[str]:
    yield _text(_number(label.x), label.y + SMALL * 0.35, SMALL, label.text, HALO)


HALO = ' stroke="white" stroke-width="5" paint-order="stroke"'
"""Keeps the edge that a label stands on away from its letters."""


def _text(x: str, y: float, size: int, text: str, style: str = "") -> str:
    return f'<text x="{x}" y="{_number(y)}" font-size="{size}"{style}>{escape(text)}</text>'
