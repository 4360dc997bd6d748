"""Pictures of graphs: mermaid text, ASCII, SVG and PNG, all made here, without a web service."""

from twinstep.drawing.graph import Edge, Graph, Node

__all__ = ["Edge", "Graph", "Node"]
