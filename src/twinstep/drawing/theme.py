"""The colours and forms that SVG and PNG share."""

from __future__ import annotations

from twinstep.drawing.picture import Box, Kind

TEXT, EDGE = "#1f2430", "#5b6275"
FILLS: dict[Kind, str] = {"node": "#eef1ff", "start": "#ffffff", "end": "#d9dffb", "cluster": "#fafbfd"}
STROKES: dict[Kind, str] = {"node": "#7f8cd9", "start": "#7f8cd9", "end": "#7f8cd9", "cluster": "#c3c9da"}


def radius(box: Box) -> float:
    """Return how round the corners of a box are: those of starts and ends are half circles."""
    return box.height / 2 if box.kind in ("start", "end") else 8
