"""The shape of a graph, checked with networkx before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx

from twinstep.constants import END, PARENT, START
from twinstep.errors import GraphValidationError, did_you_mean
from twinstep.graph.meetings import disputed_keys
from twinstep.graph.nodes import nearest, targets
from twinstep.graph.transitions import transitions
from twinstep.pregel.action import unwrap

if TYPE_CHECKING:
    from twinstep.graph.state import StateGraph

    Builder = StateGraph[Any, Any, Any, Any]


def check(builder: Builder, interrupt: Sequence[str]) -> Iterator[str]:
    """Check a graph; yield what is suspicious.

    A warning is all that can be said of the following, because a node may return any command, and the keys that a node
    writes are known from its code only: a node that nothing leads to, a join that cannot fire, nodes that never come to
    an end, two nodes that write one plain key in one superstep, a destination that looks like a misspelt one.

    Raises:
        GraphValidationError: it cannot work: an edge, branch or breakpoint names what is no node, or nothing starts.
    """
    _check_names(builder, interrupt)
    graph = shape(builder)
    if not graph.out_degree(START):
        raise GraphValidationError("Graph must have an entrypoint: add at least one edge from START to another node")
    yield from _misspelt(builder)
    reached = nx.descendants(graph, START)
    for name in builder.nodes:
        if name not in reached:
            yield (
                f"Node '{name}' cannot be reached by any edge; only a Command(goto='{name}') or a Send could run it. "
                "Add an edge, or name it in destinations= of the node that goes there."
            )
    yield from _idle_joins(builder, graph)
    if not nx.is_directed_acyclic_graph(graph):
        yield from _endless(builder, graph, reached, interrupt)
    for first, second, key in disputed_keys(builder, graph):
        yield (
            f"Nodes '{first}' and '{second}' can run in one superstep and both write '{key}', which takes one value "
            "per superstep. Give it a reducer, e.g. Annotated[list, operator.add], or run one after the other."
        )


def shape(builder: Builder) -> nx.DiGraph[str]:
    """Return the graph of all declared transitions."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from((START, *builder.nodes, END))
    graph.add_edges_from((edge.source, edge.target) for edge in transitions(builder))
    return graph


# ---------------------------------------------------------------------- names


def _check_names(builder: Builder, interrupt: Sequence[str]) -> None:
    nodes = builder.nodes
    for source, target in (*builder.edges, *((s, end) for starts, end in builder.waiting_edges for s in starts)):
        _check_source(builder, source)
        if target != END and target not in nodes:
            raise GraphValidationError(f"Found edge ending at unknown node `{target}`." + nearest(target, nodes))
    for source, branches in builder.branches.items():
        _check_source(builder, source)
        for branch in branches.values():
            for target in (branch.ends or {}).values():
                if target not in nodes and target != END:
                    raise GraphValidationError(
                        f"At '{source}' node, '{branch.name}' branch found unknown target '{target}'."
                        + nearest(target, nodes)
                    )
    for name in interrupt:
        if name not in nodes and name != "*":
            raise GraphValidationError(f"Interrupt node `{name}` not found." + did_you_mean(name, nodes))


def _check_source(builder: Builder, source: str) -> None:
    if source != START and source not in builder.nodes:
        raise GraphValidationError(
            f"Found edge starting at unknown node '{source}'." + did_you_mean(source, builder.nodes)
        )


def _misspelt(builder: Builder) -> Iterator[str]:
    """Yield destinations of commands that look like misspelt nodes; others may belong to the graph around this one."""
    for name, node in builder.nodes.items():
        for target in node.ends or ():
            near = did_you_mean(target, builder.nodes)
            if near and target not in (*builder.nodes, END, PARENT):
                yield f"Node '{name}' says that its commands may go to '{target}', which is no node here.{near}"


# ---------------------------------------------------------------------- joins that cannot fire


def _idle_joins(builder: Builder, graph: nx.DiGraph[str]) -> Iterator[str]:
    """Yield the joins that wait for nodes which nothing can start, or which only they themselves could start."""
    if not builder.waiting_edges:
        return
    started = _startable(builder, graph)
    for starts, end in sorted(builder.waiting_edges):
        missing = [start for start in starts if start not in started]
        if len(starts) - len(missing) < builder.quorums[starts, end]:
            names = ", ".join(f"'{name}'" for name in missing)
            yield (
                f"The join before '{end}' can never fire: it waits for {names}, which no edge starts unless '{end}' "
                "has run before. Add an edge, or ask for fewer nodes with add_edge(..., join=n)."
            )


def _startable(builder: Builder, graph: nx.DiGraph[str]) -> set[str]:
    """Return the nodes that can run: an edge leads there from one that can, or enough of a join's nodes can run."""
    plain = graph.copy()
    for starts, end in builder.waiting_edges:
        plain.remove_edges_from((start, end) for start in starts if not _leads(builder, start, end))
    found: set[str] = {START, *nx.descendants(plain, START)}
    while True:
        fired = {
            end
            for starts, end in builder.waiting_edges
            if end not in found and len(found.intersection(starts)) >= builder.quorums[starts, end]
        }
        if not fired:
            return found
        found = found.union(fired, *(nx.descendants(plain, end) for end in fired))


def _leads(builder: Builder, start: str, end: str) -> bool:
    """Tell whether anything but a join leads from one node to another."""
    branches = builder.branches.get(start, {}).values()
    return (
        (start, end) in builder.edges
        or any(branch.ends is None or end in branch.ends.values() for branch in branches)
        or end in (builder.nodes[start].ends or ())
    )


# ---------------------------------------------------------------------- nodes that never come to an end


def _endless(builder: Builder, graph: nx.DiGraph[str], reached: set[str], interrupt: Sequence[str]) -> Iterator[str]:
    """Yield the circles that are never left: every way on from their nodes leads back into them."""
    never = reached - _ending(builder, graph, reached, interrupt)
    for circle in nx.strongly_connected_components(graph.subgraph(never)):
        if len(circle) > 1 or any(graph.has_edge(name, name) for name in circle):
            names = ", ".join(f"'{name}'" for name in sorted(circle))
            yield (
                f"The run never ends once it has come to {names}: every way on leads back there. Add a conditional "
                "edge that may lead to END."
            )


def _ending(builder: Builder, graph: nx.DiGraph[str], reached: set[str], interrupt: Sequence[str]) -> set[str]:
    """Return the nodes after which a run can end: their edges all lead to such, and each branch has such a choice."""
    edges, ending = targets(builder.edges), set[str]()

    def may_end(name: str) -> bool:
        branches = builder.branches.get(name, {}).values()
        return ending.issuperset(edges.get(name, ())) and all(
            branch.ends is None or not ending.isdisjoint(branch.ends.values()) for branch in branches
        )

    stopping = [n for n in builder.nodes if n in interrupt or "*" in interrupt or _may_stop(builder, n)]
    waiting = [*stopping, *filter(may_end, reached - {END}), END]
    while waiting:
        name = waiting.pop()
        if name not in ending:
            ending.add(name)
            waiting += [before for before in graph.predecessors(name) if before in reached and may_end(before)]
    return ending


STOPS = frozenset({"interrupt", "PARENT"})
"""Names in the code of a node that may stop the run, or leave the graph."""


def _may_stop(builder: Builder, name: str) -> bool:
    """Tell whether a node may stop the run: it may ask a question, or hand over to the graph around this one."""
    action = builder.nodes[name].action
    names: Iterable[str] = getattr(getattr(unwrap(action.fn), "__code__", None), "co_names", ())
    return action.is_runnable or not STOPS.isdisjoint(names)
