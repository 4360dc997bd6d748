"""Going back to an earlier state: to run again from there, and to go on with something else."""

from typing import Any, TypedDict

from twinstep.graph import START, StateGraph


class State(TypedDict, total=False):
    topic: str
    joke: str


def choose_topic(state: State) -> State:
    return {"topic": "socks"}


def write_joke(state: State) -> State:
    return {"joke": f"why do {state['topic']} vanish?"}


def run(lane: Any, saver: Any) -> list[Any]:
    graph = (
        StateGraph(State)
        .add_node("choose_topic", choose_topic)
        .add_node("write_joke", write_joke)
        .add_edge(START, "choose_topic")
        .add_edge("choose_topic", "write_joke")
        .compile(checkpointer=saver)
    )
    config = {"configurable": {"thread_id": "1"}}
    first = lane.invoke(graph, {}, config)
    states = lane.history(graph, config)
    before_joke = states[1]
    again = lane.invoke(graph, None, before_joke.config)
    forked = lane.update(graph, before_joke.config, values={"topic": "chickens"})
    other = lane.invoke(graph, None, forked)
    return [
        first,
        [(state.next, state.values) for state in states],
        again,
        other,
        lane.state(graph, config).values["topic"],
        lane.state(graph, before_joke.config).values,
    ]


EXPECTED = [
    {"topic": "socks", "joke": "why do socks vanish?"},
    [
        ((), {"topic": "socks", "joke": "why do socks vanish?"}),
        (("write_joke",), {"topic": "socks"}),
        (("choose_topic",), {}),
        (("__start__",), {}),
    ],
    {"topic": "socks", "joke": "why do socks vanish?"},
    {"topic": "chickens", "joke": "why do chickens vanish?"},
    "chickens",
    {"topic": "socks"},
]
