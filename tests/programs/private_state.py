"""Nodes that hand each other what is not part of the state of the graph."""

from typing import Any, TypedDict

from twinstep.graph import START, StateGraph


class Overall(TypedDict):
    a: str


class FirstOutput(TypedDict):
    private: str


class SecondInput(TypedDict):
    private: str


class Given(TypedDict):
    question: str


class Answered(TypedDict):
    answer: str


class Everything(Given, Answered):
    pass


def first(state: Overall) -> FirstOutput:
    return {"private": "set by first"}


def second(state: SecondInput) -> Overall:
    return {"a": f"second saw {sorted(state)}"}


def third(state: Overall) -> Overall:
    return {"a": f"{state['a']}, third saw {sorted(state)}"}


def respond(state: Given) -> dict[str, Any]:
    return {"answer": "bye", "question": state["question"] + "!"}


def run(lane: Any, saver: Any) -> list[Any]:
    graph = StateGraph(Overall).add_sequence([first, second, third]).add_edge(START, "first").compile()
    narrow = (
        StateGraph(Everything, input_schema=Given, output_schema=Answered)
        .add_node("respond", respond)
        .add_edge(START, "respond")
        .compile()
    )
    return [
        lane.invoke(graph, {"a": "set at start"}),
        lane.invoke(narrow, {"question": "hi"}),
    ]


EXPECTED = [{"a": "second saw ['private'], third saw ['a']"}, {"answer": "bye"}]
