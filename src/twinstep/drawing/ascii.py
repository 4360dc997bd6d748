"""Pictures in plain characters: boxes, `-` and `|` for edges, `.` and `:` for conditional ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from unicodedata import combining, east_asian_width

from twinstep.drawing.graph import Cluster, Edge, Graph, caption, clusters_of
from twinstep.drawing.layout import Layout, Route, Style, arrange_cluster

LOOP = 3  # columns beside a box for an edge from a node to itself
SOLID, DOTTED = "|-+", ":.."
Jump = tuple[int, int]


def draw(graph: Graph) -> str:
    """Return the picture of a graph."""
    return "\n".join(_cluster(clusters_of(graph)))


def columns(text: str) -> int:
    """Return how many columns a text takes in a terminal."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _cluster(cluster: Cluster) -> list[str]:
    """Return the lines of one graph, with the graphs nested in it as boxes."""
    blocks = {id: [node.name, *caption(node)] for id, node in cluster.nodes.items()}
    blocks |= {id: _cluster(child) for id, child in cluster.children.items()}
    titles = {id: child.name for id, child in cluster.children.items()}
    sizes = {}
    for id, lines in blocks.items():
        width = max(*map(columns, lines), columns(titles.get(id, "")) + 2 * (id in titles))
        sizes[id] = (width + 4 | 1, len(lines) + 2)  # odd, so that there is a middle
    layout = arrange_cluster(cluster, sizes, Style(gap=3, lane=2, channel=_channel, label=_label, loop=LOOP + 1))
    canvas = _Canvas()
    _draw_edges(canvas, layout, cluster.edges)
    for id, (x, y, width) in layout.places.items():
        canvas.box(x - width // 2, y - sizes[id][1] // 2, width, blocks[id], titles.get(id, ""))
    for source, target, edge in cluster.links():
        if source == target:
            x, y, width = layout.places[source]
            canvas.loop(x + (width + 1) // 2, y - sizes[source][1] // 2, sizes[source][1], edge)
    return canvas.lines()


def _label(text: str) -> tuple[int, int]:
    return columns(text) | 1, 1


def _channel(jumps: Sequence[Jump], arrives: bool) -> int:
    """Return the rows between two layers: one above the jumps, and below them one for the tips of arrows."""
    rows = len(_tracks(jumps))
    return 1 + rows + (1 if arrives and rows else 0)


def _tracks(jumps: Sequence[Jump]) -> list[list[Jump]]:
    """Return the rows of a channel, each with the jumps drawn in it: none of them touch.

    Of edges that move the same way, the foremost turns first, so that they do not cross. Where one edge leaves
    downwards in the column where another arrives from above, the other is drawn further up.
    """
    wanted = {jump for jump in jumps if jump[0] != jump[1]}
    waiting = sorted(wanted, key=lambda jump: jump if jump[1] > jump[0] else (-jump[0], 0))
    rows: list[list[Jump]] = []
    while waiting:
        starts = {jump[0] for jump in waiting}
        free = [jump for jump in waiting if jump[1] not in starts - {jump[0]}] or waiting[:1]
        row: list[Jump] = []
        for jump in free:
            if all(max(jump) < min(other) - 1 or min(jump) > max(other) + 1 for other in row):
                row.append(jump)
        rows.insert(0, row)  # from the bottom up
        waiting = [jump for jump in waiting if jump not in row]
    return rows


def _draw_edges(canvas: _Canvas, layout: Layout, edges: Sequence[Edge]) -> None:
    channels: dict[int, list[Jump]] = {}
    pairs = [(route, edge) for route, edge in zip(layout.routes, edges, strict=True) if route is not None]
    for route, _ in pairs:
        for above, below in pairwise(route.legs):
            channels.setdefault(above.bottom, []).append((above.x, below.x))
    rows = {
        (bottom, jump): bottom + 1 + n
        for bottom, jumps in channels.items()
        for n, row in enumerate(_tracks(jumps))
        for jump in row
    }
    for route, edge in pairs:
        look = DOTTED if edge.conditional else SOLID
        for above, below in pairwise(route.legs):
            row = rows.get((above.bottom, (above.x, below.x)), below.top)
            canvas.vertical(above.x, above.top, row, look)
            canvas.vertical(below.x, row, below.bottom, look)
            if above.x != below.x:
                canvas.horizontal(above.x, below.x, row, look)
        canvas.put(*_tip(route), "^" if route.reversed else "v")
        if edge.data:
            leg = route.legs[route.label]
            canvas.write(leg.x - columns(edge.data) // 2, leg.top + (leg.bottom - leg.top) // 2, edge.data)


def _tip(route: Route) -> tuple[int, int]:
    first, last = route.legs[0], route.legs[-1]
    return (first.x, first.top) if route.reversed else (last.x, last.bottom - 1)


class _Canvas:
    """Characters by place; what is put later, or has the higher rank, covers what was there."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], tuple[int, str]] = {}

    def put(self, x: int, y: int, char: str, over: int = 9) -> None:
        if self._cells.get((x, y), (0, ""))[0] <= over:
            self._cells[x, y] = (over, char)

    def write(self, x: int, y: int, text: str) -> None:
        for char in text:
            if combining(char):
                self.put(x - 1, y, self._cells.get((x - 1, y), (9, ""))[1] + char)
                continue
            self.put(x, y, char)
            for n in range(1, columns(char)):
                self.put(x + n, y, "")
            x += columns(char)

    def vertical(self, x: int, top: int, bottom: int, look: str) -> None:
        for y in range(top, bottom):
            self.put(x, y, look[0], 2)  # a vertical line bridges horizontal ones

    def horizontal(self, start: int, end: int, y: int, look: str) -> None:
        for x in range(min(start, end) + 1, max(start, end)):
            self.put(x, y, look[1], 1)
        self.put(start, y, look[2], 3)
        self.put(end, y, look[2], 3)

    def box(self, x: int, y: int, width: int, lines: Sequence[str], title: str) -> None:
        edge = "+" + "-" * (width - 2) + "+"
        self.write(x, y, edge)
        if title:
            self.write(x + 2, y, f" {title} ")
        for n, line in enumerate(lines):
            left = (width - 2 - columns(line)) // 2 if not title else 1
            row = " " * left + line
            self.write(x, y + 1 + n, "|" + row + " " * (width - 2 - columns(row)) + "|")
        self.write(x, y + 1 + len(lines), edge)

    def loop(self, x: int, y: int, height: int, edge: Edge) -> None:
        """Draw an edge that leaves a box at its upper right corner and comes back at the lower one."""
        look = DOTTED if edge.conditional else SOLID
        self.write(x, y, look[1] * (LOOP - 1) + look[2])
        for n in range(1, height - 1):
            self.put(x + LOOP - 1, y + n, look[0])
        self.write(x, y + height - 1, "<" + look[1] * (LOOP - 2) + look[2])
        if edge.data:
            self.write(x + LOOP, y + height // 2, f" {edge.data}")

    def lines(self) -> list[str]:
        left = min((x for x, _ in self._cells), default=0)
        rows: dict[int, dict[int, str]] = {}
        for (x, y), (_, char) in self._cells.items():
            rows.setdefault(y, {})[x - left] = char
        last = max(rows, default=-1)
        return ["".join(self._row(rows.get(y, {}))).rstrip() for y in range(min(rows, default=0), last + 1)]

    def _row(self, row: dict[int, str]) -> list[str]:
        return [row.get(x, " ") for x in range(max(row, default=-1) + 1)]
