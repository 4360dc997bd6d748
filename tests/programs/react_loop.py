"""An agent from scratch: a model that calls tools until it knows the answer."""

import operator
from typing import Annotated, Any, Literal, TypedDict

from twinstep.graph import END, START, StateGraph


class State(TypedDict):
    messages: Annotated[list[dict[str, Any]], operator.add]


def multiply(a: int, b: int) -> int:
    return a * b


def add(a: int, b: int) -> int:
    return a + b


TOOLS = {"multiply": multiply, "add": add}


def model(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Play a model: multiply, then add to what came of it, then answer."""
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if not results:
        return {"role": "ai", "calls": [{"name": "multiply", "args": {"a": 6, "b": 7}}]}
    if len(results) == 1:
        return {"role": "ai", "calls": [{"name": "add", "args": {"a": results[0], "b": 8}}]}
    return {"role": "ai", "content": f"It is {results[-1]}.", "calls": []}


def llm(state: State) -> dict[str, Any]:
    return {"messages": [model(state["messages"])]}


def tools(state: State) -> dict[str, Any]:
    calls = state["messages"][-1]["calls"]
    return {"messages": [{"role": "tool", "content": TOOLS[call["name"]](**call["args"])} for call in calls]}


def goes_on(state: State) -> Literal["tools", "__end__"]:
    return "tools" if state["messages"][-1]["calls"] else END


def run(lane: Any, saver: Any) -> list[Any]:
    builder = StateGraph(State)
    builder.add_node("llm", llm)
    builder.add_node("tools", tools)
    builder.add_edge(START, "llm")
    builder.add_conditional_edges("llm", goes_on)
    builder.add_edge("tools", "llm")
    agent = builder.compile()
    question = {"messages": [{"role": "user", "content": "6 * 7 + 8?"}]}
    steps = [next(iter(chunk)) for chunk in lane.stream(agent, question, stream_mode="updates")]
    return [steps, lane.invoke(agent, question)["messages"][-1]["content"]]


EXPECTED = [["llm", "tools", "llm", "tools", "llm"], "It is 50."]
