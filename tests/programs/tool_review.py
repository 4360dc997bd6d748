"""A human looks at each tool call before it runs: lets it pass, changes it, or refuses it with a reason."""

import operator
from typing import Annotated, Any, Literal, TypedDict

from twinstep.graph import END, START, StateGraph
from twinstep.types import Command, interrupt


class State(TypedDict):
    messages: Annotated[list[dict[str, Any]], operator.add]


def call_llm(state: State) -> dict[str, Any]:
    last = state["messages"][-1]
    if last["role"] == "tool":
        return {"messages": [{"role": "ai", "content": f"Weather: {last['content']}"}]}
    return {"messages": [{"role": "ai", "content": "", "call": {"city": "sf"}}]}


def review(state: State) -> Command[Literal["call_llm", "run_tool"]]:
    call = state["messages"][-1]["call"]
    decision = interrupt({"question": "Is this correct?", "call": call})
    match decision["action"]:
        case "continue":
            return Command(goto="run_tool")
        case "update":
            changed = {"role": "ai", "content": "", "call": decision["data"]}
            return Command(goto="run_tool", update={"messages": [changed]})
        case _:
            refused = {"role": "tool", "content": f"refused, {decision['data']}"}
            return Command(goto="call_llm", update={"messages": [refused]})


def run_tool(state: State) -> dict[str, Any]:
    return {"messages": [{"role": "tool", "content": f"sunny in {state['messages'][-1]['call']['city']}"}]}


def route(state: State) -> Literal["review", "__end__"]:
    return "review" if "call" in state["messages"][-1] else END


def run(lane: Any, saver: Any) -> list[Any]:
    builder = StateGraph(State)
    builder.add_node("call_llm", call_llm)
    builder.add_node("run_tool", run_tool)
    builder.add_node("review", review)
    builder.add_edge(START, "call_llm")
    builder.add_conditional_edges("call_llm", route)
    builder.add_edge("run_tool", "call_llm")
    graph = builder.compile(checkpointer=saver)

    def converse(thread: str, decision: dict[str, Any]) -> list[Any]:
        config = {"configurable": {"thread_id": thread}}
        stopped = lane.invoke(graph, {"messages": [{"role": "user", "content": "weather?"}]}, config)
        asked = stopped["__interrupt__"][0].value
        waiting = lane.state(graph, config).next
        done = lane.invoke(graph, Command(resume=decision), config)
        return [asked["call"], waiting, done["messages"][-1]["content"]]

    return [
        converse("1", {"action": "continue"}),
        converse("2", {"action": "update", "data": {"city": "nyc"}}),
        converse("3", {"action": "feedback", "data": "ask for a city in Europe"}),
    ]


EXPECTED = [
    [{"city": "sf"}, ("review",), "Weather: sunny in sf"],
    [{"city": "sf"}, ("review",), "Weather: sunny in nyc"],
    [{"city": "sf"}, ("review",), "Weather: refused, ask for a city in Europe"],
]
