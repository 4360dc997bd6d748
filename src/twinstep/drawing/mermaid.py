"""Mermaid text (https://mermaid.js.org/syntax/flowchart.html)."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from twinstep.drawing.graph import Cluster, Edge, Graph, Node, caption, clusters_of, is_start, is_terminal

STYLES = (
    "\tclassDef default fill:#f2f0ff,line-height:1.2",
    "\tclassDef first fill-opacity:0",
    "\tclassDef last fill:#bfb6fc",
)


def draw(graph: Graph, with_styles: bool, curve: str, config: Mapping[str, Any] | None) -> str:
    """Return the mermaid text of a graph."""
    settings = {**(config or {}), "flowchart": {"curve": curve, **(config or {}).get("flowchart", {})}}
    head = ["---", "config:", *_yaml(settings, "  "), "---"] if with_styles else []
    body = [*_cluster(clusters_of(graph), with_styles), *(STYLES if with_styles else ())]
    return "\n".join([*head, "graph TD;", *body, ""])


def _yaml(settings: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(value, indent + "  ")
        else:
            yield f"{indent}{key}: {value}"


def _cluster(cluster: Cluster, styled: bool) -> Iterator[str]:
    for node in cluster.nodes.values():
        yield f"\t{safe_id(node.id)}{_shape(node, styled and not cluster.id)}"
    for edge in cluster.edges:
        yield f"\t{safe_id(edge.source)} {_arrow(edge)} {safe_id(edge.target)};"
    for child in cluster.children.values():
        # ids are unique in the whole drawing, also when two nested graphs have nodes of one name
        title = f"[{_text(child.name)}]" if cluster.id else ""
        yield f"\tsubgraph {safe_id(child.id)}{title}"
        yield from _cluster(child, styled)
        yield "\tend"


def _shape(node: Node, styled: bool) -> str:
    name = _text(node.name)
    if is_terminal(node):
        shape = f"[<p>{name}</p>]" if styled else f"<p>{name}</p>"
        return f"({shape})" + (f":::{'first' if is_start(node) else 'last'}" if styled else "")
    lines = caption(node)
    below = "<hr/><small><em>" + "\n".join(_text(line) for line in lines) + "</em></small>" if lines else ""
    return f"({name}{below})"


def _arrow(edge: Edge) -> str:
    left, right = ("-.", ".->") if edge.conditional else ("--", "-->")
    if edge.data is not None:
        return f"{left} &nbsp;{_text(edge.data)}&nbsp; {right}"
    return "-.->" if edge.conditional else "-->"


def safe_id(id: str) -> str:
    """Return an id in which every character with a meaning in mermaid is written as its code."""
    if id == "end":  # closes a subgraph
        return "\\65nd"
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else f"\\{ord(c):x}" for c in id)


def _text(text: str) -> str:
    """Return a text that mermaid shows as it is: what would end it, or be read as markup, is escaped."""
    escaped = html.escape(text, quote=False)
    return "".join(f"#{ord(c)};" if c in '()[]{}|"' else c for c in escaped)
