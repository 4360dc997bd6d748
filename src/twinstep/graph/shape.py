"""What leads where in a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twinstep.constants import END, START
from twinstep.graph.nodes import targets
from twinstep.graph.transitions import choices

if TYPE_CHECKING:
    from twinstep.graph.state import StateGraph

    Builder = StateGraph[Any, Any, Any, Any]

Ways = Mapping[str, Sequence[str]]
"""Nodes, and what may run after each."""
Walk = tuple[dict[str, None], bool]


class Shape:
    """What leads where in a graph, as it is declared.

    Attributes:
        edges: the ends of the plain edges of those nodes that have any.
        direct: what may run after each node because of it alone.
        ways: the same with the joins, which wait for other nodes too.
    """

    def __init__(self, builder: Builder) -> None:
        self.edges: dict[str, list[str]] = targets(builder.edges)
        direct = {name: [*self.edges.get(name, ())] for name in (START, *builder.nodes, END)}
        for source, target, *_ in choices(builder):
            direct[source].append(target)
        self.direct: Ways = direct
        self.ways: Ways = direct
        if builder.waiting_edges:
            joined = {name: [*ends] for name, ends in direct.items()}
            for starts, end in builder.waiting_edges:
                for start in starts:
                    joined[start].append(end)
            self.ways = joined
        self._walks: dict[str, Walk] = {}

    def after(self, name: str) -> Walk:
        """Return what may run after a node at any time, and the node itself; and whether there is a circle in it."""
        if name not in self._walks:
            self._walks[name] = walk(self.ways, name)
        return self._walks[name]


def walk(ways: Ways, *starts: str) -> Walk:
    """Return what the ways from some nodes lead to, and these nodes; and whether some way leads round in a circle.

    Each stands behind all that follows it, except in a circle.
    """
    circle = False
    done: dict[str, None] = {}
    path = [("", iter(starts))]
    seen = set[str]()
    while path:
        name, ends = path[-1]
        for end in ends:
            if end not in seen:
                seen.add(end)
                path.append((end, iter(ways[end])))
                break
            circle = circle or end not in done
        else:
            done[name] = None
            path.pop()
    del done[""]
    return done, circle
