"""The shape of a graph, checked with networkx before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx

from twinstep.constants import END, START
from twinstep.errors import GraphValidationError, did_you_mean

if TYPE_CHECKING:
    from twinstep.graph.state import StateGraph


def shape(builder: StateGraph[Any, Any, Any, Any]) -> nx.DiGraph[str]:
    """Return the graph of all possible transitions; `open` nodes may go anywhere."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from((START, *builder.nodes, END))
    graph.add_edges_from(builder.edges)
    for starts, end in builder.waiting_edges:
        graph.add_edges_from((start, end) for start in starts)
    for source, branches in builder.branches.items():
        for branch in branches.values():
            targets = branch.ends.values() if branch.ends is not None else (*builder.nodes, END)
            graph.add_edges_from((source, target) for target in targets)
    for name, node in builder.nodes.items():
        graph.add_edges_from((name, target) for target in node.ends or ())
    return graph


def check(builder: StateGraph[Any, Any, Any, Any], interrupt: Sequence[str]) -> Iterator[str]:
    """Check a graph; yield what is suspicious.

    Raises:
        GraphValidationError: it cannot work.
    """
    nodes = builder.nodes
    for source, target in (*builder.edges, *((s, end) for starts, end in builder.waiting_edges for s in starts)):
        if source != START and source not in nodes:
            raise GraphValidationError(f"Found edge starting at unknown node '{source}'." + did_you_mean(source, nodes))
        if target != END and target not in nodes:
            raise GraphValidationError(f"Found edge ending at unknown node `{target}`." + did_you_mean(target, nodes))
    for source, branches in builder.branches.items():
        if source != START and source not in nodes:
            raise GraphValidationError(f"Found edge starting at unknown node '{source}'." + did_you_mean(source, nodes))
        for branch in branches.values():
            for target in (branch.ends or {}).values():
                _check_target(builder, f"At '{source}' node, '{branch.name}' branch", target)
    for name, node in nodes.items():
        for target in node.ends or ():
            if target != "__parent__":
                _check_target(builder, f"Node '{name}': its command's destination", target, strict=False)
    for name in interrupt:
        if name not in nodes:
            raise GraphValidationError(f"Interrupt node `{name}` not found." + did_you_mean(name, nodes))
    graph = shape(builder)
    if not graph.out_degree(START):
        raise GraphValidationError("Graph must have an entrypoint: add at least one edge from START to another node")
    yield from _unreachable(builder, graph)


def _check_target(builder: StateGraph[Any, Any, Any, Any], where: str, target: str, *, strict: bool = True) -> None:
    if target in builder.nodes or target == END or not strict:
        return
    raise GraphValidationError(f"{where} found unknown target '{target}'." + did_you_mean(target, builder.nodes))


def _unreachable(builder: StateGraph[Any, Any, Any, Any], graph: nx.DiGraph[str]) -> Iterator[str]:
    reached = nx.descendants(graph, START)
    for name in builder.nodes:
        if name not in reached:
            yield (
                f"Node '{name}' cannot be reached by any edge; only a Command(goto='{name}') or a Send could run it. "
                "Add an edge, or name it in destinations= of the node that goes there."
            )
