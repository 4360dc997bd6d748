"""Jokes about subjects, written in parallel, and the best of them."""

import operator
from typing import Annotated, Any, TypedDict

from twinstep.graph import END, START, StateGraph
from twinstep.types import Send


class Overall(TypedDict, total=False):
    topic: str
    subjects: list[str]
    jokes: Annotated[list[str], operator.add]
    best: str


class Joke(TypedDict):
    subject: str


def find_subjects(state: Overall) -> dict[str, Any]:
    return {"subjects": [f"{state['topic']} {n}" for n in range(3)]}


def hand_out(state: Overall) -> list[Send]:
    return [Send("write_joke", {"subject": subject}) for subject in state["subjects"]]


def write_joke(state: Joke) -> dict[str, Any]:
    return {"jokes": [f"a joke about {state['subject']}"]}


def choose(state: Overall) -> dict[str, Any]:
    return {"best": state["jokes"][-1]}


def run(lane: Any, saver: Any) -> list[Any]:
    builder = StateGraph(Overall)
    builder.add_node("find_subjects", find_subjects)
    builder.add_node("write_joke", write_joke)
    builder.add_node("choose", choose)
    builder.add_edge(START, "find_subjects")
    builder.add_conditional_edges("find_subjects", hand_out, ["write_joke"])
    builder.add_edge("write_joke", "choose")
    builder.add_edge("choose", END)
    graph = builder.compile()
    result = lane.invoke(graph, {"topic": "cats"})
    updates = lane.stream(graph, {"topic": "dogs"})
    return [result["jokes"], result["best"], [name for chunk in updates for name in chunk]]


EXPECTED = [
    ["a joke about cats 0", "a joke about cats 1", "a joke about cats 2"],
    "a joke about cats 2",
    ["find_subjects", "write_joke", "write_joke", "write_joke", "choose"],
]
