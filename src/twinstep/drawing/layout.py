"""Where everything stands: a layered drawing in whole units, of characters or of pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twinstep.drawing.graph import Cluster, is_terminal
from twinstep.drawing.layers import Cell, Chain, connect, open_cycles, order, rank

ROUNDS = 10
FIRM = 1000  # weight of nodes that are to stay where they are


@dataclass(frozen=True, slots=True)
class Link:
    """An edge to lay out; `width` and `height` are the size of its label."""

    source: str
    target: str
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Style:
    """The distances of a drawing.

    Args:
        gap: between neighbours in a layer.
        lane: between two edges that run side by side; an even number.
        channel: height between two layers, from the jumps (from x, to x) of the edges that cross it, and whether one of
            them ends at a node below.
        label: width and height of the label of an edge.
        loop: width of an edge from a node to itself.
    """

    gap: int
    lane: int
    channel: Callable[[Sequence[tuple[int, int]], bool], int]
    label: Callable[[str], tuple[int, int]] = lambda text: (0, 0)
    loop: int = 0


@dataclass(slots=True)
class Leg:
    """The piece of an edge inside one layer: a vertical line."""

    x: int
    top: int
    bottom: int


@dataclass(slots=True)
class Route:
    """The way of an edge, from its upper to its lower end.

    Attributes:
        legs: its pieces, layer by layer; between them it crosses a channel. The first leg starts at the upper node,
            the last one ends at the lower node.
        label: index of the leg that holds the label.
        reversed: whether the arrow is at the upper end.
    """

    legs: list[Leg]
    label: int
    reversed: bool


@dataclass(slots=True)
class Layout:
    """What `arrange` returns.

    Attributes:
        places: x and y of the centre of each node, and its width, which its edges may have made larger.
        routes: the edges, in the order they were given; None for one from a node to itself.
        width, height: the size of it all.
    """

    places: dict[str, tuple[int, int, int]]
    routes: list[Route | None]
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class _Plan:
    layers: list[list[Cell]]
    cells: dict[str, Cell]
    chains: list[Chain | None]
    ports: dict[tuple[int, int], int] = field(default_factory=dict)


def arrange_cluster(cluster: Cluster, sizes: Mapping[str, tuple[int, int]], style: Style) -> Layout:
    """Lay out the nodes of one graph, and the graphs nested in it as nodes; its end stands at the bottom."""
    links = [Link(a, b, *(style.label(edge.data) if edge.data else (0, 0))) for a, b, edge in cluster.links()]
    beside = dict.fromkeys(sizes, 0)
    for link in links:
        if link.source == link.target:  # room on both sides, so that the middle stays the middle
            beside[link.source] = max(beside[link.source], style.loop + link.width)
    wide = {id: (width + 2 * beside[id], height) for id, (width, height) in sizes.items()}
    layout = arrange(wide, links, [id for id, node in cluster.nodes.items() if is_terminal(node)], style)
    layout.places = {id: (x, y, width - 2 * beside[id]) for id, (x, y, width) in layout.places.items()}
    return layout


def arrange(sizes: dict[str, tuple[int, int]], links: Sequence[Link], last: Sequence[str], style: Style) -> Layout:
    """Lay out nodes of given sizes, each edge running downwards where it can.

    Args:
        sizes: width and height of each node, in the order in which they are to be read.
        links: the edges; several may join the same nodes.
        last: nodes to be put at the bottom.
        style: the distances.
    """
    plan = _plan(sizes, links, last)
    order(plan.layers)
    _spread_ports(plan, style.lane)
    _place(plan, style)
    return _measure(plan, style)


def _plan(sizes: dict[str, tuple[int, int]], links: Sequence[Link], last: Sequence[str]) -> _Plan:
    """Make the layers: nodes in the even ones, labels in the odd ones, and what passes them in both."""
    names = list(sizes)
    pairs = [(link.source, link.target) for link in links]
    turned = open_cycles(names, pairs)
    down = [(t, s) if back else (s, t) for (s, t), back in zip(pairs, turned, strict=True) if s != t]
    ranks = rank(names, down, last)
    cells = {name: Cell(name, *sizes[name], layer=2 * ranks[name]) for name in names}
    chains: list[Chain | None] = []
    passing: list[Cell] = []
    for link, back in zip(links, turned, strict=True):
        if link.source == link.target:
            chains.append(None)
            continue
        upper, lower = cells[link.source], cells[link.target]
        if back:
            upper, lower = lower, upper
        between = [Cell(None) for _ in range(lower.layer - upper.layer - 1)]
        labelled = between[-1 if back else 0]
        labelled.width, labelled.height = link.width, link.height
        passing += between
        chains.append(Chain(connect(upper, lower, between), back))
    layers: list[list[Cell]] = [[] for _ in range(2 * max(ranks.values(), default=0) + 1)]
    for cell in (*cells.values(), *passing):
        layers[cell.layer].append(cell)
    return _Plan(layers, cells, chains)


def _spread_ports(plan: _Plan, lane: int) -> None:
    """Give the edges at each side of a node places of their own, as distances from its centre."""
    for layer in plan.layers:
        for cell in layer:
            for side in (cell.ups, cell.downs):
                for n, other in enumerate(side):
                    plan.ports[id(cell), id(other)] = (2 * n - len(side) + 1) * lane // 2
            cell.width = max(cell.width, (max(len(cell.ups), len(cell.downs)) + 1) * lane * bool(cell.name))


def _place(plan: _Plan, style: Style) -> None:
    """Set the centres: as near as possible to straight edges, without overlaps."""
    for layer in plan.layers:
        _set_row(layer, [float(cell.index) for cell in layer], style)
    for n in range(ROUNDS):
        down = n % 2 == 0
        for layer in plan.layers if down else reversed(plan.layers):
            _set_row(layer, [_wish(plan, cell, cell.ups if down else cell.downs) for cell in layer], style)
    for layer in plan.layers:  # what only passes is aligned once more around the nodes, so that long edges are straight
        _set_row(layer, [cell.x if cell.name else _wish(plan, cell, cell.ups) for cell in layer], style, FIRM)


def _wish(plan: _Plan, cell: Cell, others: Sequence[Cell]) -> float:
    """Return where a cell would stand if its edges to the layer beside it were straight."""
    if not others:
        return cell.x
    ports = plan.ports
    return sum(o.x + ports[id(o), id(cell)] - ports[id(cell), id(o)] for o in others) / len(others)


def _set_row(layer: Sequence[Cell], wishes: Sequence[float], style: Style, firm: int = 1) -> None:
    """Place the cells of a layer in order and without overlap, at the least square distance from their wishes.

    That is isotonic regression of the wishes less the least distances, by pooling adjacent violators. The wishes of
    nodes count `firm` times as much as those of what passes between them.
    """
    offset, offsets = 0, []
    for n, cell in enumerate(layer):
        if n:
            before = layer[n - 1]
            between = style.gap if cell.name or before.name else style.lane
            offset += (before.width + 1) // 2 + (cell.width + 1) // 2 + between
        offsets.append(offset)
    pools: list[tuple[float, int, int]] = []  # mean, weight, number of cells
    for cell, wish, shift in zip(layer, wishes, offsets, strict=True):
        mean, weight, number = wish - shift, firm if cell.name else 1, 1
        while pools and pools[-1][0] > mean:
            earlier, heavy, count = pools.pop()
            mean = (mean * weight + earlier * heavy) / (weight + heavy)
            weight, number = weight + heavy, number + count
        pools.append((mean, weight, number))
    means = [round(mean) for mean, _, number in pools for _ in range(number)]
    for cell, mean, shift in zip(layer, means, offsets, strict=True):
        cell.x = mean + shift


def _measure(plan: _Plan, style: Style) -> Layout:
    """Move everything to the corner, set heights, and read off the routes."""
    every = [cell for layer in plan.layers for cell in layer]
    left = min((cell.x - cell.width // 2 for cell in every), default=0)
    for cell in every:
        cell.x -= left
    heights = [max((cell.height for cell in layer), default=0) for layer in plan.layers]
    tops, y = [], 0
    for n, (layer, height) in enumerate(zip(plan.layers, heights, strict=True)):
        tops.append(y)
        y += height
        if n + 1 < len(heights):
            jumps = [(_port(plan, cell, below), _port(plan, below, cell)) for cell in layer for below in cell.downs]
            y += style.channel(jumps, any(cell.name for cell in plan.layers[n + 1]))
    places = {
        name: (cell.x, tops[cell.layer] + heights[cell.layer] // 2, cell.width) for name, cell in plan.cells.items()
    }
    routes = [None if chain is None else _route(plan, chain, tops, heights) for chain in plan.chains]
    width = max((cell.x + (cell.width + 1) // 2 for cell in every), default=0)
    return Layout(places, routes, width, y)


def _port(plan: _Plan, cell: Cell, other: Cell) -> int:
    """Return where the edge between two cells meets the first of them."""
    return cell.x + plan.ports[id(cell), id(other)]


def _route(plan: _Plan, chain: Chain, tops: Sequence[int], heights: Sequence[int]) -> Route:
    first, *between, last = chain.cells
    legs = []
    for cell, other in ((first, chain.cells[1]), *((c, c) for c in between), (last, chain.cells[-2])):
        top, height = tops[cell.layer], heights[cell.layer]
        x = cell.x if cell is other else _port(plan, cell, other)
        middle = top + height // 2
        if cell is first:
            legs.append(Leg(x, middle - cell.height // 2 + cell.height, top + height))
        elif cell is last:
            legs.append(Leg(x, top, middle - cell.height // 2))
        else:
            legs.append(Leg(x, top, top + height))
    return Route(legs, len(legs) - 2 if chain.reversed else 1, chain.reversed)
