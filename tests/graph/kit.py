"""Small graphs for the tests of this folder."""

import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Any, TypedDict

from twinstep.graph import START, StateGraph

Node = Callable[..., Any]
Edge = tuple[str | list[str], str]


class S(TypedDict, total=False):
    """One plain key and one with a reducer."""

    x: int
    log: Annotated[list[Any], operator.add]


def says(*words: Any) -> Node:
    """Return a node that appends words to the log."""

    def node(state: Any) -> dict[str, Any]:
        return {"log": list(words)}

    return node


def letters(names: str) -> dict[str, Node]:
    """Return one node for each letter, which appends that letter to the log."""
    return {name: says(name) for name in names}


def build(
    nodes: Mapping[str, Any], edges: Iterable[Edge], schema: Any = S, **options: Any
) -> StateGraph[Any, Any, Any, Any]:
    """Return the builder of a graph; a node is an action, or an action and the options of `add_node`."""
    graph = StateGraph(schema, **options)
    for name, node in nodes.items():
        action, given = node if isinstance(node, tuple) else (node, {})
        graph.add_node(name, action, **given)
    for start, end in edges:
        graph.add_edge(start, end)
    return graph


def row(nodes: Mapping[str, Any], schema: Any = S, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    """Return the builder of a graph whose nodes run one after the other."""
    names = [START, *nodes]
    return build(nodes, pairwise(names), schema, **options)


def side_by_side(nodes: Mapping[str, Any], schema: Any = S, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    """Return the builder of a graph whose nodes run in one superstep."""
    return build(nodes, [(START, name) for name in nodes], schema, **options)


def one(action: Any, schema: Any = S, **options: Any) -> Any:
    """Return a compiled graph of one node, `n`; options are those of `add_node`."""
    return row({"n": (action, options)}, schema).compile()
