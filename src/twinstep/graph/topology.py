"""The shape of a graph, checked before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twinstep.constants import END, PARENT, START
from twinstep.errors import GraphValidationError, did_you_mean
from twinstep.graph.meetings import disputed_keys
from twinstep.graph.nodes import nearest
from twinstep.graph.shape import Shape, walk
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
    shape = Shape(builder)
    if not shape.ways[START]:
        raise GraphValidationError("Graph must have an entrypoint: add at least one edge from START to another node")
    yield from _misspelt(builder)
    reached, circle = shape.after(START)
    for name in builder.nodes:
        if name not in reached:
            yield (
                f"Node '{name}' cannot be reached by any edge; only a Command(goto='{name}') or a Send could run it. "
                "Add an edge, or name it in destinations= of the node that goes there."
            )
    yield from _idle_joins(builder, shape)
    if circle:
        yield from _endless(builder, shape, interrupt)
    for first, second, key in disputed_keys(builder, shape):
        yield (
            f"Nodes '{first}' and '{second}' can run in one superstep and both write '{key}', which takes one value "
            "per superstep. Give it a reducer, e.g. Annotated[list, operator.add], or run one after the other."
        )


# ---------------------------------------------------------------------- names


def _check_names(builder: Builder, interrupt: Sequence[str]) -> None:
    nodes = builder.nodes
    sources = {START, *nodes}
    for source, target in (*builder.edges, *((s, end) for starts, end in builder.waiting_edges for s in starts)):
        if source not in sources:
            raise _unknown_source(source, nodes)
        if target not in nodes and target != END:
            raise GraphValidationError(f"Found edge ending at unknown node `{target}`." + nearest(target, nodes))
    for source, branches in builder.branches.items():
        if source not in sources:
            raise _unknown_source(source, nodes)
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


def _unknown_source(source: str, nodes: Iterable[str]) -> GraphValidationError:
    return GraphValidationError(f"Found edge starting at unknown node '{source}'." + did_you_mean(source, nodes))


def _misspelt(builder: Builder) -> Iterator[str]:
    """Yield destinations of commands that look like misspelt nodes; others may belong to the graph around this one."""
    for name, node in builder.nodes.items():
        for target in node.ends or ():
            near = did_you_mean(target, builder.nodes)
            if near and target not in (*builder.nodes, END, PARENT):
                yield f"Node '{name}' says that its commands may go to '{target}', which is no node here.{near}"


# ---------------------------------------------------------------------- joins that cannot fire


def _idle_joins(builder: Builder, shape: Shape) -> Iterator[str]:
    """Yield the joins that wait for nodes which nothing can start, or which only they themselves could start."""
    if not builder.waiting_edges:
        return
    started = _startable(builder, shape)
    for starts, end in sorted(builder.waiting_edges):
        missing = [start for start in starts if start not in started]
        if len(starts) - len(missing) < builder.quorums[starts, end]:
            names = ", ".join(f"'{name}'" for name in missing)
            yield (
                f"The join before '{end}' can never fire: it waits for {names}, which no edge starts unless '{end}' "
                "has run before. Add an edge, or ask for fewer nodes with add_edge(..., join=n)."
            )


def _startable(builder: Builder, shape: Shape) -> set[str]:
    """Return the nodes that can run: a node that can leads there by itself, or enough of a join's nodes can run."""
    found = {*walk(shape.direct, START)[0]}
    while True:
        fired = {
            end
            for starts, end in builder.waiting_edges
            if end not in found and len(found.intersection(starts)) >= builder.quorums[starts, end]
        }
        if not fired:
            return found
        found.update(walk(shape.direct, *fired)[0])


# ---------------------------------------------------------------------- nodes that never come to an end


def _endless(builder: Builder, shape: Shape, interrupt: Sequence[str]) -> Iterator[str]:
    """Yield the circles that are never left: every way on from their nodes leads back into them."""
    never = _never_ending(builder, shape, interrupt)
    if not never:
        return
    import networkx as nx  # most graphs do without it

    ways = nx.DiGraph((name, end) for name in never for end in shape.ways[name] if end in never)
    for circle in nx.strongly_connected_components(ways):
        if len(circle) > 1 or any(ways.has_edge(name, name) for name in circle):
            names = ", ".join(f"'{name}'" for name in sorted(circle))
            yield (
                f"The run never ends once it has come to {names}: every way on leads back there. Add a conditional "
                "edge that may lead to END."
            )


def _never_ending(builder: Builder, shape: Shape, interrupt: Sequence[str]) -> Sequence[str]:
    """Return the nodes after which the run cannot end any more.

    It can after a node that may stop it, and after one whose edges all lead to nodes after which it can, when each
    branch has such a choice. What follows a node is looked at before it, so that only circles need further rounds.
    """
    edges, ending = shape.edges, {END, *interrupt}
    never = [] if "*" in ending else [*shape.after(START)[0]]

    def may_end(name: str) -> bool:
        branches = builder.branches.get(name)
        return ending.issuperset(edges.get(name, ())) and (
            branches is None
            or all(branch.ends is None or not ending.isdisjoint(branch.ends.values()) for branch in branches.values())
        )

    while True:
        known = len(ending)
        for name in never:
            if may_end(name) or _may_stop(builder, name):
                ending.add(name)
        never = [name for name in never if name not in ending]
        if len(ending) == known or not never:
            return never


STOPS = frozenset({"interrupt", "PARENT"})
"""Names in the code of a node that may stop the run, or leave the graph."""


def _may_stop(builder: Builder, name: str) -> bool:
    """Tell whether a node may stop the run: it may ask a question, or hand over to the graph around this one."""
    if name not in builder.nodes:
        return False
    action = builder.nodes[name].action
    names: Iterable[str] = getattr(getattr(unwrap(action.fn), "__code__", None), "co_names", ())
    return action.is_runnable or not STOPS.isdisjoint(names)
