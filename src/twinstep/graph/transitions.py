"""The transitions that a graph declares: what drawings show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from twinstep.constants import END
from twinstep.graph.annotations import destinations_of, hints_of_code
from twinstep.graph.nodes import NodeDefaults
from twinstep.pregel.action import Action
from twinstep.pregel.spec import Transition

if TYPE_CHECKING:
    from twinstep.graph.state import StateGraph


def snapshot(builder: StateGraph[Any, Any, Any, Any]) -> StateGraph[Any, Any, Any, Any]:
    """Return a copy that keeps the nodes and edges as they are now."""
    kept = object.__new__(type(builder))
    vars(kept).update(vars(builder))
    kept.nodes, kept.edges, kept.waiting_edges = dict(builder.nodes), set(builder.edges), set(builder.waiting_edges)
    kept.defaults = NodeDefaults(error_handler=builder.defaults.error_handler)
    kept.quorums = dict(builder.quorums)
    kept.branches = {source: dict(branches) for source, branches in builder.branches.items()}
    return kept


def transitions(builder: StateGraph[Any, Any, Any, Any]) -> Iterator[Transition]:
    """Yield edges, joins and choices."""
    for start, end in builder.edges:
        yield start, end, None, False
    for starts, end in builder.waiting_edges:
        needed = builder.quorums[starts, end]
        label = None if needed == len(starts) else f"{needed} of {len(starts)}"
        yield from ((start, end, label, False) for start in starts)
    yield from choices(builder)


def choices(builder: StateGraph[Any, Any, Any, Any]) -> Iterator[Transition]:
    """Yield where branches, and the commands of nodes and of error handlers, may lead.

    A path function that does not say where it leads may lead to every other node.
    """
    for source, branches in builder.branches.items():
        for branch in branches.values():
            ends = branch.ends
            if ends is None:
                ends = {name: name for name in (*builder.nodes, END) if name != source}
            for result, end in ends.items():
                yield source, end, None if result == end else str(result), True
    everywhere = _handled(builder.defaults.error_handler)
    for name, node in builder.nodes.items():
        for end, label in (node.ends or {}).items():
            yield _jump(builder, name, end, label or None)
        for end in everywhere if node.error_handler is None else _handled(node.error_handler):
            yield _jump(builder, name, end, "error")


def _handled(handler: Action | None) -> Iterable[str]:
    """Return where the commands of an error handler may lead."""
    return () if handler is None else destinations_of("", None, hints_of_code(handler.fn)) or ()


def _jump(builder: StateGraph[Any, Any, Any, Any], source: str, end: str, label: str | None) -> Transition:
    """Return the edge of a command; one that goes on in the graph around this one leaves this one."""
    if end in builder.nodes or end == END:
        return source, end, label, True
    return source, END, label or end.strip("_"), True
