"""Which layer a node is drawn in, and in what order the nodes of a layer stand.

The method of Sugiyama, Tagawa and Toda (1981): cycles are opened, nodes ranked so that edges run downwards, long edges
cut into pieces of one layer each, and the layers ordered by barycentres so that few edges cross.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 12


@dataclass(eq=False, slots=True)
class Cell:
    """One place in a layer: a node, or the point where an edge passes (`name` is None).

    Attributes:
        width, height: its size, in the unit of the drawing.
        ups, downs: the cells it is joined to in the layers above and below, in the order of the edges.
        layer, index: its layer, and its place there from the left.
        x: its centre, once it is placed.
    """

    name: str | None
    width: int = 0
    height: int = 0
    ups: list[Cell] = field(default_factory=list)
    downs: list[Cell] = field(default_factory=list)
    layer: int = 0
    index: int = 0
    x: int = 0


@dataclass(eq=False, slots=True)
class Chain:
    """The cells an edge runs through, from the upper to the lower end; `reversed`: it points upwards."""

    cells: list[Cell]
    reversed: bool


def open_cycles(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[bool]:
    """Return for each edge whether it is turned around, so that no cycle is left: it closes one, seen from above."""
    after: dict[str, list[int]] = {name: [] for name in names}
    for n, (source, _) in enumerate(edges):
        after[source].append(n)
    turned = [False] * len(edges)
    done: set[str] = set()
    for root in names:
        open_: set[str] = {root} - done
        stack = [(root, iter(after[root]))] if open_ else []
        while stack:
            name, rest = stack[-1]
            for n in rest:
                target = edges[n][1]
                turned[n] = target in open_
                if target not in open_ and target not in done:
                    open_.add(target)
                    stack.append((target, iter(after[target])))
                    break
            else:
                stack.pop()
                open_.discard(name)
                done.add(name)
    return turned


def rank(names: Sequence[str], edges: Iterable[tuple[str, str]], last: Iterable[str]) -> dict[str, int]:
    """Return the length of the longest way to each node; those in `last` stand below all others."""
    after: dict[str, list[str]] = {name: [] for name in names}
    waits = dict.fromkeys(names, 0)
    for source, target in edges:
        after[source].append(target)
        waits[target] += 1
    ranks = dict.fromkeys(names, 0)
    ready = [name for name in names if not waits[name]]
    for name in ready:
        for target in after[name]:
            ranks[target] = max(ranks[target], ranks[name] + 1)
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    bottom = max(ranks.values(), default=0)
    for name in last:
        if not after[name]:
            ranks[name] = bottom
    return ranks


def connect(upper: Cell, lower: Cell, between: Sequence[Cell]) -> list[Cell]:
    """Join two cells by a chain of others, one for each layer between them; return the whole chain."""
    cells = [upper, *between, lower]
    for n, (above, below) in enumerate(pairwise(cells)):
        above.downs.append(below)
        below.ups.append(above)
        below.layer = upper.layer + n + 1
    return cells


def order(layers: list[list[Cell]]) -> None:
    """Order the cells of each layer so that few edges cross."""
    best, fewest = [list(layer) for layer in layers], _settle(layers)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            layer.sort(key=lambda cell: _barycentre(cell, cell.ups if down else cell.downs))
            _number(layer)
        crossings = _settle(layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    for layer, cells in zip(layers, best, strict=True):
        layer[:] = cells
    _settle(layers)


def _barycentre(cell: Cell, neighbours: Sequence[Cell]) -> float:
    return sum(n.index for n in neighbours) / len(neighbours) if neighbours else cell.index


def _number(layer: Sequence[Cell]) -> None:
    for index, cell in enumerate(layer):
        cell.index = index


def _settle(layers: Sequence[Sequence[Cell]]) -> int:
    """Number the cells, sort the edges at each of them, and return how many edges cross."""
    for layer in layers:
        _number(layer)
    for layer in layers:
        for cell in layer:
            cell.ups.sort(key=lambda other: other.index)
            cell.downs.sort(key=lambda other: other.index)
    return sum(_crossings(layer) for layer in layers)


def _crossings(layer: Sequence[Cell]) -> int:
    """Count the pairs of edges below a layer that cross."""
    seen: list[int] = []
    total = 0
    for cell in layer:
        for below in cell.downs:
            total += len(seen) - bisect_right(seen, below.index)
        for below in cell.downs:
            insort(seen, below.index)
    return total
