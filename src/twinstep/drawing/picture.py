"""A drawing as shapes with places and sizes in pixels, for SVG and PNG alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from unicodedata import combining, east_asian_width

from twinstep.drawing.graph import Cluster, Edge, Graph, Node, caption, clusters_of, is_start, is_terminal
from twinstep.drawing.layout import Route, Style, arrange_cluster

FONT, SMALL = 15, 12
LINE, SMALL_LINE = 20, 16
PAD_X, PAD_Y, TITLE = 16, 10, 26
MARGIN = 16
LOOP = 26
ARROW = 9
SHORTEST, STEEPEST = 26, 6

Point = tuple[float, float]
Kind = Literal["node", "start", "end", "cluster"]


@dataclass(slots=True)
class Box:
    """A rectangle with lines of text; of a cluster, the text is its title."""

    x: float
    y: float
    width: float
    height: float
    kind: Kind
    title: str
    below: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Line:
    """A line of cubic Bezier curves: a start, then two control points and an end for each; its tip has an arrow."""

    points: list[Point]
    dotted: bool


@dataclass(slots=True)
class Label:
    """A text on an edge, around its centre."""

    x: float
    y: float
    text: str


@dataclass(slots=True)
class Picture:
    """All shapes of a drawing; boxes of clusters come before what is in them."""

    width: float = 0
    height: float = 0
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    def take(self, other: Picture, x: float, y: float) -> None:
        """Put another picture into this one, moved by x and y."""
        for box in other.boxes:
            box.x, box.y = box.x + x, box.y + y
        for label in other.labels:
            label.x, label.y = label.x + x, label.y + y
        for line in other.lines:
            line.points = [(px + x, py + y) for px, py in line.points]
        self.boxes += other.boxes
        self.lines += other.lines
        self.labels += other.labels


def picture_of(graph: Graph) -> Picture:
    """Lay a graph out."""
    inner = _cluster(clusters_of(graph))
    picture = Picture(inner.width + 2 * MARGIN, inner.height + 2 * MARGIN)
    picture.take(inner, MARGIN, MARGIN)
    return picture


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is, in pixels; a little more rather than less (measured on common sans-serifs)."""
    return size * sum(_advance(c) for c in text)


def _advance(c: str) -> float:
    if combining(c):
        return 0
    if east_asian_width(c) in "WF":
        return 1.05
    if c in "iljtfrI.,:;|!'()[] -":
        return 0.36
    if c in "mwMW@%":
        return 0.92
    return 0.72 if c.isupper() else 0.6


def _cluster(cluster: Cluster) -> Picture:
    """Lay one graph out, with the graphs nested in it as boxes."""
    nested = {id: _cluster(child) for id, child in cluster.children.items()}
    boxes = {id: _box(node) for id, node in cluster.nodes.items()}
    for id, inner in nested.items():
        name = cluster.children[id].name
        width = max(inner.width, text_width(name, SMALL)) + 2 * PAD_X
        boxes[id] = Box(0, 0, width, inner.height + TITLE + PAD_X, "cluster", name)
    sizes = {id: (round(box.width), round(box.height)) for id, box in boxes.items()}
    layout = arrange_cluster(cluster, sizes, Style(gap=36, lane=18, channel=_channel, label=_label_size, loop=LOOP))
    picture = Picture(layout.width, layout.height)
    for id, (x, y, box_width) in layout.places.items():
        box = boxes[id]
        box.x, box.y, box.width = x - box_width / 2, y - box.height / 2, box_width
        picture.boxes.append(box)
        if id in nested:
            picture.take(nested[id], box.x + (box.width - nested[id].width) / 2, box.y + TITLE)
    for (source, _, edge), route in zip(cluster.links(), layout.routes, strict=True):
        if route is None:
            _draw_loop(picture, boxes[source], edge)
        else:
            _draw_route(picture, route, edge)
    return picture


def _box(node: Node) -> Box:
    below = caption(node)
    kind: Kind = "node" if not is_terminal(node) else "start" if is_start(node) else "end"
    width = max([text_width(node.name, FONT), *(text_width(line, SMALL) for line in below)]) + 2 * PAD_X
    height = 2 * PAD_Y + LINE + len(below) * SMALL_LINE
    return Box(0, 0, width, height, kind, node.name, below)


def _label_size(text: str) -> tuple[int, int]:
    return round(text_width(text, SMALL)) + 8, SMALL_LINE


def _channel(jumps: Sequence[tuple[int, int]], arrives: bool) -> int:
    """Return the height between two layers, which grows with the widest jump so that no edge lies too flat."""
    widest = max((abs(a - b) for a, b in jumps), default=0)
    return (SHORTEST if arrives else SHORTEST // 2) + min(widest // STEEPEST, 3 * SHORTEST)


def _draw_route(picture: Picture, route: Route, edge: Edge) -> None:
    points: list[Point] = []
    for n, leg in enumerate(route.legs):
        if points:
            x, y = points[-1]
            bend = (leg.top - y) / 2
            points += [(x, y + bend), (leg.x, leg.top - bend), (leg.x, leg.top)]
        else:
            points.append((leg.x, leg.top))
        if leg.bottom > leg.top:
            points += [(leg.x, leg.top), (leg.x, leg.bottom), (leg.x, leg.bottom)]
        if n == route.label and edge.data:
            picture.labels.append(Label(leg.x, (leg.top + leg.bottom) / 2, edge.data))
    picture.lines.append(Line(points[::-1] if route.reversed else points, edge.conditional))


def _draw_loop(picture: Picture, box: Box, edge: Edge) -> None:
    right, middle = box.x + box.width, box.y + box.height / 2
    reach, spread = LOOP * 1.1, box.height / 4
    start, tip = (right, middle - spread), (right, middle + spread)
    curve = [start, (right + reach, start[1] - spread), (right + reach, tip[1] + spread), tip]
    picture.lines.append(Line(curve, edge.conditional))
    if edge.data:
        picture.labels.append(Label(right + LOOP + text_width(edge.data, SMALL) / 2, middle, edge.data))
