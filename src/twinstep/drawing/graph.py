"""`Graph`: what a compiled object looks like from outside, as plain data that can be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from twinstep.constants import END, START


class Node(NamedTuple):
    """A node of a drawing.

    Attributes:
        id: unique; for a node of a nested graph the ids of the nodes around it and its name, joined by colons.
        name: its name in its own graph.
        data: what it runs: the function, or the compiled graph; None for `__start__` and `__end__`.
        metadata: what is shown below its name.
    """

    id: str
    name: str
    data: Any = None
    metadata: dict[str, Any] | None = None


class Edge(NamedTuple):
    """A possible transition; `data` is its label, `conditional` tells that a choice leads there."""

    source: str
    target: str
    data: str | None = None
    conditional: bool = False


@dataclass
class Graph:
    """Nodes by id, and the edges between them.

    Example:
        >>> from twinstep.drawing import Edge, Graph, Node
        >>> graph = Graph({name: Node(name, name) for name in ("tea", "cup")}, [Edge("tea", "cup", "pour")])
        >>> print(graph.draw_ascii())
        +-----+
        | tea |
        +-----+
           |
         pour
           v
        +-----+
        | cup |
        +-----+
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def first_node(self) -> Node | None:
        """Return the one node that no edge leads to, or None when there is not exactly one."""
        return self._only(self.nodes.keys() - {edge.target for edge in self.edges})

    def last_node(self) -> Node | None:
        """Return the one node that no edge leaves, or None when there is not exactly one."""
        return self._only(self.nodes.keys() - {edge.source for edge in self.edges})

    def _only(self, ids: set[str]) -> Node | None:
        return self.nodes[next(iter(ids))] if len(ids) == 1 else None

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return nodes and edges as data that can be written as JSON."""
        return {
            "nodes": [_node_json(node) for node in self.nodes.values()],
            "edges": [_edge_json(e) for e in self.edges],
        }

    def draw_mermaid(
        self,
        *,
        with_styles: bool = True,
        curve_style: str = "linear",
        frontmatter_config: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text that mermaid draws the graph from.

        Args:
            with_styles: colours, and the front matter.
            curve_style: mermaid's name of the shape of edges: `linear`, `basis`, `stepBefore` and others.
            frontmatter_config: other settings for mermaid, such as `{"theme": "neutral"}`.
        """
        from twinstep.drawing.mermaid import draw

        return draw(self, with_styles, str(getattr(curve_style, "value", curve_style)), frontmatter_config)

    def draw_ascii(self) -> str:
        """Return a picture in plain characters; conditional edges are dotted."""
        from twinstep.drawing.ascii import draw

        return draw(self)

    def print_ascii(self) -> None:
        """Print the picture that `draw_ascii` returns."""
        print(self.draw_ascii())  # noqa: T201  (its purpose)

    def draw_svg(self, output_file_path: str | Path | None = None) -> str:
        """Return a picture as SVG text, and write it to a file when one is named."""
        from twinstep.drawing.picture import picture_of
        from twinstep.drawing.svg import draw

        text = draw(picture_of(self))
        if output_file_path is not None:
            Path(output_file_path).write_text(text, encoding="utf-8")
        return text

    def draw_png(self, output_file_path: str | Path | None = None, *, scale: float = 2.0) -> bytes:
        """Return a picture as PNG, and write it to a file when one is named.

        Args:
            output_file_path: the file.
            scale: pixels of the PNG for each pixel of the SVG.

        Raises:
            ImportError: Pillow is not installed; the extra `twinstep[drawing]` brings it.
        """
        from twinstep.drawing.picture import picture_of
        from twinstep.drawing.png import draw

        data = draw(picture_of(self), scale)
        if output_file_path is not None:
            Path(output_file_path).write_bytes(data)
        return data

    def draw_mermaid_png(
        self, *, output_file_path: str | Path | None = None, scale: float = 2.0, draw_method: Any = None
    ) -> bytes:
        """Return a picture as PNG: the same as `draw_png`, whose layout is our own; no service is asked.

        `draw_method` is accepted for programs that choose one; there is only this one.
        """
        return self.draw_png(output_file_path, scale=scale)

    def _repr_svg_(self) -> str:
        """Show the picture in a notebook."""
        return self.draw_svg()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Show the picture in a notebook, in the best form it can display."""
        return {
            "text/plain": self.draw_ascii(),
            "text/vnd.mermaid": self.draw_mermaid(),
            "image/svg+xml": self.draw_svg(),
        }


def _node_json(node: Node) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": node.id}
    if node.data is not None:
        code = node.data if hasattr(node.data, "__qualname__") else type(node.data)
        place = [*str(code.__module__).split("."), code.__qualname__]
        shown |= {"type": "runnable", "data": {"id": place, "name": node.name}}
    return shown | ({"metadata": node.metadata} if node.metadata else {})


def _edge_json(edge: Edge) -> dict[str, Any]:
    shown: dict[str, Any] = {"source": edge.source, "target": edge.target}
    if edge.data is not None:
        shown["data"] = edge.data
    if edge.conditional:
        shown["conditional"] = True
    return shown


def caption(node: Node) -> list[str]:
    """Return the lines below a node's name."""
    return [f"{key} = {value}" for key, value in (node.metadata or {}).items()]


def is_terminal(node: Node) -> bool:
    """Tell whether a node is a start or an end, and no code."""
    return node.data is None and node.name in (START, END)


def is_start(node: Node) -> bool:
    """Tell whether a node is a start."""
    return is_terminal(node) and node.name == START


@dataclass
class Cluster:
    """The nodes of one (nested) graph, and the clusters of the graphs nested in it, by id."""

    id: str = ""
    nodes: dict[str, Node] = field(default_factory=dict)
    children: dict[str, Cluster] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the node that the graph is nested in."""
        return self.id.rpartition(":")[2]

    def member(self, id: str) -> str:
        """Return which of its own nodes or children is the node `id`, or holds it."""
        if id in self.nodes:
            return id
        depth = len(self.id.split(":")) if self.id else 0
        return ":".join(id.split(":")[: depth + 1])

    def links(self) -> list[tuple[str, str, Edge]]:
        """Return its edges, each after the two of its nodes or children that it joins."""
        return [(self.member(edge.source), self.member(edge.target), edge) for edge in self.edges]


def clusters_of(graph: Graph) -> Cluster:
    """Sort nodes by the graph they belong to, and edges by the innermost one that holds both ends."""
    root = Cluster()
    for id, node in graph.nodes.items():
        _cluster(root, id.split(":")[:-1]).nodes[id] = node
    for edge in graph.edges:
        common = []
        for a, b in zip(edge.source.split(":")[:-1], edge.target.split(":")[:-1], strict=False):
            if a != b:
                break
            common.append(a)
        _cluster(root, common).edges.append(edge)
    return root


def _cluster(root: Cluster, path: list[str]) -> Cluster:
    for name in path:
        id = f"{root.id}:{name}" if root.id else name
        root = root.children.setdefault(id, Cluster(id))
    return root
