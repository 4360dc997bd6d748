"""The transitions that a graph declares: what drawings show."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import TYPE_CHECKING, Any

from twinstep.constants import END
from twinstep.drawing import Edge
from twinstep.graph.annotations import destinations_of

if TYPE_CHECKING:
    from twinstep.graph.state import StateGraph


def snapshot(builder: StateGraph[Any, Any, Any, Any]) -> StateGraph[Any, Any, Any, Any]:
    """Return a copy that keeps the nodes and edges as they are now."""
    kept = copy(builder)
    kept.nodes, kept.edges, kept.waiting_edges = dict(builder.nodes), set(builder.edges), set(builder.waiting_edges)
    kept.defaults = copy(builder.defaults)
    kept.quorums = dict(builder.quorums)
    kept.branches = {source: dict(branches) for source, branches in builder.branches.items()}
    return kept


def transitions(builder: StateGraph[Any, Any, Any, Any]) -> Iterator[Edge]:
    """Yield edges, joins, branches, and what the nodes' commands may lead to.

    A path function that does not say where it leads may lead to every other node.
    """
    for start, end in builder.edges:
        yield Edge(start, end)
    for starts, end in builder.waiting_edges:
        needed = builder.quorums[starts, end]
        label = None if needed == len(starts) else f"{needed} of {len(starts)}"
        yield from (Edge(start, end, label) for start in starts)
    for source, branches in builder.branches.items():
        for branch in branches.values():
            ends = branch.ends
            if ends is None:
                ends = {name: name for name in (*builder.nodes, END) if name != source}
            yield from (Edge(source, end, _label(result, end), True) for result, end in ends.items())
    for name, node in builder.nodes.items():
        for end, label in (node.ends or {}).items():
            yield _jump(builder, name, end, label or None)
        handler = node.error_handler or builder.defaults.error_handler
        if handler is not None:
            for end in destinations_of("", None, handler.fn) or ():
                yield _jump(builder, name, end, "error")


def _label(result: Any, end: str) -> str | None:
    return None if result == end else str(result)


def _jump(builder: StateGraph[Any, Any, Any, Any], source: str, end: str, label: str | None) -> Edge:
    """Return the edge of a command; one that goes on in the graph around this one leaves this one."""
    if end in builder.nodes or end == END:
        return Edge(source, end, label, True)
    return Edge(source, END, label or end.strip("_"), True)
