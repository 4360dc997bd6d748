"""Tokens of any model as they come, through the `custom` stream, beside updates and values."""

from collections.abc import Iterator
from typing import Any, TypedDict

from twinstep.config import get_stream_writer
from twinstep.graph import START, StateGraph
from twinstep.types import StreamWriter


class State(TypedDict, total=False):
    topic: str
    joke: str


def tokens(text: str) -> Iterator[str]:
    yield from text.split(" ")


def generate(state: State) -> State:
    writer = get_stream_writer()
    joke = ""
    for token in tokens(f"a joke about {state['topic']}"):
        writer({"token": token})
        joke += token + " "
    return {"joke": joke.strip()}


def polish(state: State, writer: StreamWriter) -> State:
    writer({"status": "polishing"})
    return {"joke": state["joke"] + "!"}


def run(lane: Any, saver: Any) -> list[Any]:
    graph = (
        StateGraph(State)
        .add_node("generate", generate)
        .add_node("polish", polish)
        .add_edge(START, "generate")
        .add_edge("generate", "polish")
        .compile()
    )
    custom = lane.stream(graph, {"topic": "tea"}, stream_mode="custom")
    both = lane.stream(graph, {"topic": "tea"}, stream_mode=["updates", "custom"])
    values = lane.stream(graph, {"topic": "tea"}, stream_mode="values")
    return [custom, both[-3:], values]


EXPECTED = [
    [{"token": "a"}, {"token": "joke"}, {"token": "about"}, {"token": "tea"}, {"status": "polishing"}],
    [
        ("updates", {"generate": {"joke": "a joke about tea"}}),
        ("custom", {"status": "polishing"}),
        ("updates", {"polish": {"joke": "a joke about tea!"}}),
    ],
    [
        {"topic": "tea"},
        {"topic": "tea", "joke": "a joke about tea"},
        {"topic": "tea", "joke": "a joke about tea!"},
    ],
]
