"""Branches of different lengths, and a node that waits for all of them."""

import operator
from typing import Annotated, Any, TypedDict

from twinstep.graph import END, START, StateGraph


class State(TypedDict):
    log: Annotated[list[str], operator.add]


def says(word: str) -> Any:
    def node(state: State) -> State:
        return {"log": [word]}

    return node


def build(*, defer: bool) -> Any:
    builder = StateGraph(State)
    for name in ("a", "b", "b2", "c"):
        builder.add_node(name, says(name))
    builder.add_node("d", says("d"), defer=defer)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "c")
    builder.add_edge("b", "b2")
    builder.add_edge("b2", "d")
    builder.add_edge("c", "d")
    builder.add_edge("d", END)
    return builder.compile()


def run(lane: Any, saver: Any) -> list[Any]:
    return [lane.invoke(build(defer=defer), {"log": []})["log"] for defer in (True, False)]


EXPECTED = [["a", "b", "c", "b2", "d"], ["a", "b", "c", "b2", "d", "d"]]
