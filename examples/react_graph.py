"""Learn what an agent is, from scratch, as a graph: a node that asks a model, a node that runs tools, and a loop.

`ToolNode` runs all tools that a message calls and answers each call; `tools_condition` goes there when there are calls.
`create_react_agent` makes this graph for you; examples/react_functional.py is the same agent as a function. With
OPENAI_API_KEY in the environment a real model answers; without, a function stands in for it.

Output:
    agent: calls weather, weather
    tools: Rome: 31 degrees
    tools: Oslo: 12 degrees
    agent: Rome: 31 degrees; Oslo: 12 degrees.
    mistake: Error: wether is not a valid tool, try one of [weather]. Did you mean 'weather'?
"""

import os

from twinstep import START, StateGraph
from twinstep.graph import MessagesState
from twinstep.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.prebuilt import ToolNode, tool, tools_condition


@tool
def weather(city: str) -> str:
    """Tell how warm it is in a city."""
    return f"{city}: {({'Rome': 31, 'Oslo': 12}).get(city, 20)} degrees"


def stand_in(messages: list[AnyMessage]) -> AIMessage:
    """Answer as a model would."""
    if isinstance(messages[-1], ToolMessage):
        found = [message.text for message in messages if isinstance(message, ToolMessage)]
        return AIMessage("; ".join(found) + ".")
    cities = [city for city in ("Rome", "Oslo") if city in messages[-1].text]
    return AIMessage(tool_calls=[{"name": "weather", "args": {"city": city}, "id": f"call {city}"} for city in cities])


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(stand_in)


def call_model(state: MessagesState) -> MessagesState:
    """Ask the model."""
    return {"messages": [model.bind_tools([weather]).invoke(state["messages"])]}


agent = (
    StateGraph(MessagesState)
    .add_node("agent", call_model)
    .add_node("tools", ToolNode([weather]))
    .add_edge(START, "agent")
    .add_conditional_edges("agent", tools_condition)
    .add_edge("tools", "agent")
    .compile()
)

for chunk in agent.stream({"messages": [HumanMessage("How warm is it in Rome and in Oslo?")]}):
    for node, update in chunk.items():
        for message in update["messages"]:
            names = [call["name"] for call in getattr(message, "tool_calls", ())]
            print(f"{node}: {'calls ' + ', '.join(names) if names else message.text}")

mistaken = AIMessage(tool_calls=[{"name": "wether", "args": {}, "id": "1"}])
print("mistake:", ToolNode([weather]).invoke([mistaken])[0].text)
