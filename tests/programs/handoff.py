"""Two agents, each a graph of its own, that hand the conversation over to each other with `Command.PARENT`."""

import operator
from typing import Annotated, Any, Literal, TypedDict

from twinstep.graph import END, START, StateGraph
from twinstep.types import Command


class Agent(TypedDict, total=False):
    turns: int
    verdict: str


class Team(Agent, total=False):
    log: Annotated[list[str], operator.add]
    active: str


def agent(name: str, other: str) -> Any:
    def think(state: Agent) -> Command[Literal["hand_over", "__end__"]]:
        if state["turns"] == 3:
            return Command(update={"verdict": f"{name} has booked"}, goto=END)
        return Command(goto="hand_over")

    def hand_over(state: Agent) -> Command[Any]:
        update = {"log": [f"{name} to {other}"], "active": other, "turns": state["turns"] + 1}
        return Command(goto=other, graph=Command.PARENT, update=update)

    builder = StateGraph(Agent)
    builder.add_node("think", think)
    builder.add_node("hand_over", hand_over)
    builder.add_edge(START, "think")
    return builder.compile()


def run(lane: Any, saver: Any) -> list[Any]:
    builder = StateGraph(Team)
    builder.add_node("flights", agent("flights", "hotels"), destinations=("hotels",))
    builder.add_node("hotels", agent("hotels", "flights"), destinations=("flights",))
    builder.add_conditional_edges(START, lambda state: state["active"], ["flights", "hotels"])
    team = builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    first = lane.invoke(team, {"log": ["book a trip"], "active": "flights", "turns": 0}, config)
    chunks = lane.stream(team, {"log": ["and back"], "turns": 2}, config)
    return [first, [name for chunk in chunks for name in chunk], lane.state(team, config).values["log"]]


EXPECTED: list[Any] = [
    {
        "log": ["book a trip", "flights to hotels", "hotels to flights", "flights to hotels"],
        "active": "hotels",
        "turns": 3,
        "verdict": "hotels has booked",
    },
    ["hotels", "flights"],
    [
        *("book a trip", "flights to hotels", "hotels to flights", "flights to hotels"),
        *("and back", "hotels to flights"),
    ],
]
