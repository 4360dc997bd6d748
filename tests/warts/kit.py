"""Small programs for the tests of this folder: one surprise of the reference each, mended."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from twinstep.graph import START, StateGraph


class State(TypedDict, total=False):
    """One plain key and one with a reducer."""

    x: int
    log: Annotated[list[Any], operator.add]


def one_node(node: Any, schema: Any = State, **options: Any) -> Any:
    """Return a compiled graph of one node, named `a`."""
    return StateGraph(schema).add_node("a", node).add_edge(START, "a").compile(**options)


def parallel(nodes: dict[str, Callable[..., Any]], schema: Any = State, **options: Any) -> Any:
    """Return a compiled graph whose nodes run in one superstep."""
    builder = StateGraph(schema)
    for name, node in nodes.items():
        builder.add_node(name, node).add_edge(START, name)
    return builder.compile(**options)
