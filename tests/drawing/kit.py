"""Graphs to draw."""

from typing import Any, Literal

from tests.graph.kit import S, build
from twinstep.drawing import Edge, Graph, Node
from twinstep.graph import END, START, StateGraph

Builder = StateGraph[Any, Any, Any, Any]


def idle(state: Any) -> None:
    """Do nothing."""


def nodes(names: str) -> dict[str, Any]:
    """Return a node for each word."""
    return dict.fromkeys(names.split(), idle)


def loop() -> Builder:
    """Return an agent that calls tools until it ends."""
    graph = build(nodes("agent tools"), [(START, "agent"), ("tools", "agent")])
    return graph.add_conditional_edges("agent", lambda s: "answer", {"call": "tools", "answer": END})


def wide() -> Builder:
    """Return a graph of two nodes side by side."""
    return build(nodes("s1 s2"), [(START, "s1"), (START, "s2")])


def choose(state: S) -> Literal["b", "__end__"]:
    return "b"


def sketch(names: str, edges: str) -> Graph:
    """Return a drawing of words and of edges `a>b`, `a>b:label`, and `a?b` for conditional ones."""
    graph = Graph({id: Node(id, id.rpartition(":")[2], None) for id in names.split()})
    for edge in edges.split():
        arrow = "?" if "?" in edge else ">"
        source, _, rest = edge.partition(arrow)
        target, _, label = rest.partition("=")
        graph.edges.append(Edge(source, target, label or None, arrow == "?"))
    return graph


def arrows(graph: Graph) -> list[str]:
    """Return the edges of a drawing as short texts."""
    return [f"{e.source}{'?' if e.conditional else '>'}{e.target}{f'={e.data}' if e.data else ''}" for e in graph.edges]
