"""Learn a network of agents: each works on its part and hands over to the one that knows better.

Each agent is a graph of its own and a node of the network. A handoff is a tool: it returns a `Command` for the parent
graph, which goes on at the other agent with the whole conversation. With OPENAI_API_KEY in the environment real models
answer; without, functions stand in for them.

Output:
    guide   -> hand over to hotels
    hotels  -> hand over to guide
    guide   -> See the old town, and sleep at the Inn by the river.
    the conversation has 6 messages
"""

import os
from collections.abc import Callable
from typing import Annotated, Any

from twinstep import START, Command, StateGraph
from twinstep.graph import MessagesState
from twinstep.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.prebuilt import InjectedState, InjectedToolCallId, Tool, create_react_agent


def handoff(agent: str) -> Tool:
    """Make the tool that hands over to an agent."""

    def transfer(
        state: Annotated[dict[str, Any], InjectedState], tool_call_id: Annotated[str, InjectedToolCallId]
    ) -> Command[str]:
        done = ToolMessage(f"handed over to {agent}", tool_call_id=tool_call_id)
        return Command(goto=agent, graph=Command.PARENT, update={"messages": [*state["messages"], done]})

    return Tool(transfer, name=f"ask_{agent}", description=f"Hand over to the agent for {agent}.")


def calls(agent: str) -> AIMessage:
    """Say as a model would that another agent should go on."""
    return AIMessage(tool_calls=[{"name": f"ask_{agent}", "args": {}, "id": f"call {agent}"}])


def guide_stand_in(messages: list[AnyMessage]) -> AIMessage:
    """Know about sights only."""
    hotel = next((message.text for message in messages if message.name == "hotels" and message.text), None)
    return AIMessage(f"See the old town, and sleep at {hotel}.") if hotel else calls("hotels")


def hotels_stand_in(messages: list[AnyMessage]) -> AIMessage:
    """Know about hotels only."""
    return AIMessage("the Inn by the river", tool_calls=calls("guide").tool_calls)


def agent(name: str, other: str, stand_in: Callable[[list[AnyMessage]], AIMessage]) -> Any:
    """Make one of the agents."""
    model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(stand_in)
    prompt = f"You know about {name} only. Hand over for the rest; when all is known, answer."
    return create_react_agent(model, [handoff(other)], prompt=prompt, name=name)


network = (
    StateGraph(MessagesState)
    .add_node("guide", agent("guide", "hotels", guide_stand_in), destinations=["hotels"])
    .add_node("hotels", agent("hotels", "guide", hotels_stand_in), destinations=["guide"])
    .add_edge(START, "guide")
    .compile()
)

question = HumanMessage("What should I see in Prague, and where can I sleep?")
messages = network.invoke({"messages": [question]}, {"recursion_limit": 12})["messages"]
for message in messages:
    if isinstance(message, AIMessage):
        said = [f"hand over to {call['name'].removeprefix('ask_')}" for call in message.tool_calls]
        print(f"{message.name:<7} -> {said[0] if said else message.text}")
print(f"the conversation has {len(messages)} messages")
