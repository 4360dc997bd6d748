"""PNG, drawn by Pillow with the font it brings along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from math import ceil, hypot
from typing import Any

from twinstep.drawing.picture import ARROW, FONT, LINE, PAD_Y, SMALL, SMALL_LINE, Box, Label, Line, Picture, Point
from twinstep.drawing.theme import EDGE, FILLS, STROKES, TEXT, radius

SMOOTH = 2  # drawn so many times larger and then reduced, because Pillow's lines have no soft edges
STEPS = 24  # straight pieces of a curve
DASH, SPACE = 5.0, 4.0


def draw(picture: Picture, scale: float) -> bytes:
    """Return a picture as the bytes of a PNG file.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError(
            "draw_png needs Pillow: pip install 'twinstep[drawing]'. draw_svg and draw_ascii need nothing."
        ) from error
    size = ceil(picture.width * scale), ceil(picture.height * scale)
    image = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), "white")
    pen = _Pen(ImageDraw.Draw(image), ImageFont, scale * SMOOTH)
    for box in picture.boxes:
        pen.frame(box)
    for line in picture.lines:
        pen.line(line)
    for box in picture.boxes:
        pen.texts(box)
    for label in picture.labels:
        pen.label(label)
    file = BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return file.getvalue()


class _Pen:
    """Draws shapes at a scale."""

    def __init__(self, draw: Any, fonts: Any, scale: float) -> None:
        self._draw, self._scale = draw, scale
        self._fonts = {size: fonts.load_default(size * scale) for size in (FONT, SMALL)}

    def frame(self, box: Box) -> None:
        s = self._scale
        corners = (box.x * s, box.y * s, (box.x + box.width) * s, (box.y + box.height) * s)
        self._draw.rounded_rectangle(
            corners, radius(box) * s, fill=FILLS[box.kind], outline=STROKES[box.kind], width=round(s)
        )

    def line(self, line: Line) -> None:
        path = _flat(line.points)
        tip = path[-1]
        while len(path) > 2 and hypot(tip[0] - path[-1][0], tip[1] - path[-1][1]) < ARROW - 1:
            path.pop()
        for piece in _dashes(path) if line.dotted else [path]:
            self._stroke(piece)
        x, y = path[-1]
        length = hypot(tip[0] - x, tip[1] - y) or 1
        ahead = ((tip[0] - x) / length, (tip[1] - y) / length)
        back = (tip[0] - ahead[0] * ARROW, tip[1] - ahead[1] * ARROW)
        side = (-ahead[1] * ARROW * 0.4, ahead[0] * ARROW * 0.4)
        wings = [(back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])]
        self._draw.polygon([self._at(point) for point in (tip, *wings)], fill=EDGE)

    def _stroke(self, points: Sequence[Point]) -> None:
        self._draw.line([self._at(point) for point in points], fill=EDGE, width=round(self._scale), joint="curve")

    def _at(self, point: Point) -> Point:
        return (point[0] * self._scale, point[1] * self._scale)

    def texts(self, box: Box) -> None:
        x, y = box.x + box.width / 2, box.y + PAD_Y + LINE / 2
        if box.kind == "cluster":
            self._text(x, box.y + 13, SMALL, box.title)
            return
        self._text(x, y, FONT, box.title)
        for n, line in enumerate(box.below):
            self._text(x, y + LINE / 2 + (n + 0.5) * SMALL_LINE, SMALL, line)

    def label(self, label: Label) -> None:
        self._text(label.x, label.y, SMALL, label.text, stroke_width=round(2.5 * self._scale), stroke_fill="white")

    def _text(self, x: float, y: float, size: int, text: str, **style: Any) -> None:
        self._draw.text(self._at((x, y)), text, fill=TEXT, font=self._fonts[size], anchor="mm", **style)


def _flat(points: Sequence[Point]) -> list[Point]:
    """Return a line of Bezier curves as a line of short straight pieces."""
    path = [points[0]]
    for n in range(1, len(points), 3):
        a, b, c, d = points[n - 1 : n + 3]
        for step in range(1, STEPS + 1):
            t, u = step / STEPS, 1 - step / STEPS
            weights = (u * u * u, 3 * t * u * u, 3 * t * t * u, t * t * t)
            x, y = (sum(w * p[axis] for w, p in zip(weights, (a, b, c, d), strict=True)) for axis in (0, 1))
            if (x, y) != path[-1]:
                path.append((x, y))
    return path


def _dashes(path: Sequence[Point]) -> Iterator[list[Point]]:
    """Cut a line into dashes."""
    on, left, dash = True, DASH, [path[0]]
    for (x0, y0), (x1, y1) in pairwise(path):
        length = hypot(x1 - x0, y1 - y0)
        at = 0.0
        while length - at > left:
            at += left
            point = (x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length)
            if on:
                yield [*dash, point]
            on, dash = not on, [point]
            left = DASH if on else SPACE
        left -= length - at
        if on:
            dash.append((x1, y1))
    if on and len(dash) > 1:
        yield dash
