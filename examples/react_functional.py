"""Learn what an agent is, from scratch, as a function: a loop of asking a model and running the tools it calls.

Model calls and tool calls are tasks: the calls of one answer run in parallel, and what is done is on record.
`previous` is the conversation so far. examples/react_graph.py is the same agent as a graph. With OPENAI_API_KEY in the
environment a real model answers; without, a function stands in for it.

Output:
    user: How warm is it in Rome and in Oslo?
    calls: weather(city=Rome) weather(city=Oslo)
    tool: Rome: 31 degrees
    tool: Oslo: 12 degrees
    ai: Rome: 31 degrees; Oslo: 12 degrees.
    user: Thanks!
    ai: You are welcome.
"""

import os
from typing import Any

from twinstep import entrypoint, task
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.graph import add_messages
from twinstep.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.prebuilt import tool
from twinstep.types import RunnableConfig


@tool
def weather(city: str) -> str:
    """Tell how warm it is in a city."""
    return f"{city}: {({'Rome': 31, 'Oslo': 12}).get(city, 20)} degrees"


def stand_in(messages: list[AnyMessage]) -> AIMessage:
    """Answer as a model would."""
    last = messages[-1]
    if isinstance(last, ToolMessage):
        found = [message.text for message in messages if isinstance(message, ToolMessage)]
        return AIMessage("; ".join(found) + ".")
    cities = [city for city in ("Rome", "Oslo") if city in last.text]
    if not cities:
        return AIMessage("You are welcome.")
    return AIMessage(tool_calls=[{"name": "weather", "args": {"city": city}, "id": f"call {city}"} for city in cities])


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(stand_in)


@task
def call_model(messages: list[AnyMessage]) -> AIMessage:
    """Ask the model."""
    return model.bind_tools([weather]).invoke(messages)


@task
def call_tool(call: ToolCall) -> ToolMessage:
    """Run one tool."""
    message: ToolMessage = weather.invoke(call)
    return message


@entrypoint(checkpointer=InMemorySaver())
def agent(text: str, *, previous: list[AnyMessage] | None) -> Any:
    """Ask and run tools until there is an answer."""
    messages = add_messages(previous or [], ("user", text))
    while True:
        answer = call_model(messages).result()
        messages = add_messages(messages, answer)
        if not answer.tool_calls:
            return entrypoint.final(value=messages[len(previous or []) :], save=messages)
        results = [call_tool(call) for call in answer.tool_calls]
        messages = add_messages(messages, [result.result() for result in results])


thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
for question in ("How warm is it in Rome and in Oslo?", "Thanks!"):
    for message in agent.invoke(question, thread):
        calls = [f"{call['name']}(city={call['args']['city']})" for call in getattr(message, "tool_calls", ())]
        role = {"human": "user"}.get(message.type, message.type)
        print("calls:" if calls else f"{role}:", *(calls or [message.text]))
