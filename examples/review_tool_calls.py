"""Learn to let a person review what an agent is about to do: approve, change, answer or refuse each tool call.

The review wraps the running of tools (`wrap_tool_call`), so it serves every tool, and tools know nothing of it. Calls
of one message are asked about together; each answer goes to its call, and what is done is not done again. With
OPENAI_API_KEY in the environment a real model answers; without, a function stands in for it.

Output:
    transfer {'to': 'Ada', 'euros': 50}?
    transfer {'to': 'Ben', 'euros': 900}?
    transfer {'to': 'Eve', 'euros': 70}?
    done: 50 euros to Ada
    done: 90 euros to Ben
    not done: Eve has moved; ask for her new account.
    booked: ['Ada', 'Ben']
"""

import os
from collections.abc import Callable
from typing import Any

from twinstep import Command, interrupt
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.prebuilt import ToolNode, create_react_agent, tool
from twinstep.prebuilt.interrupt import HumanResponse
from twinstep.prebuilt.tool_node import ToolCallRequest
from twinstep.types import RunnableConfig

booked: list[str] = []


@tool
def transfer(to: str, euros: int) -> str:
    """Transfer money."""
    booked.append(to)
    return f"done: {euros} euros to {to}"


@tool
def balance() -> str:
    """Tell the balance."""
    return "1000 euros"


def review(request: ToolCallRequest, run: Callable[[ToolCallRequest], Any]) -> Any:
    """Ask a person before money moves."""
    call = request.tool_call
    if call["name"] != "transfer":
        return run(request)
    question = {"action_request": {"action": call["name"], "args": call["args"]}}
    answer = interrupt(question, response_schema=HumanResponse)
    match answer:
        case {"type": "accept"}:
            return run(request)
        case {"type": "edit", "args": {"args": changed}}:
            return run(request.override(tool_call={**call, "args": changed}))
        case _:
            return ToolMessage(f"not done: {answer['args']}", tool_call_id=call["id"], name=call["name"])


def stand_in(messages: list[AnyMessage]) -> AIMessage:
    """Answer as a model would."""
    if isinstance(messages[-1], ToolMessage):
        return AIMessage("That is all.")
    wanted = [("Ada", 50), ("Ben", 900), ("Eve", 70)]
    calls: list[ToolCall] = [
        {"name": "transfer", "args": {"to": to, "euros": euros}, "id": f"call {to}"} for to, euros in wanted
    ]
    return AIMessage(tool_calls=calls)


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(stand_in)
tools = ToolNode([transfer, balance], wrap_tool_call=review)
agent = create_react_agent(model, tools, checkpointer=InMemorySaver())
thread: RunnableConfig = {"configurable": {"thread_id": "1"}}

text = "Transfer 50 euros to Ada, 900 euros to Ben and 70 euros to Eve."
questions = agent.invoke({"messages": [("user", text)]}, thread)["__interrupt__"]
for question in questions:
    print(f"{question.value['action_request']['action']} {question.value['action_request']['args']}?")
less: HumanResponse = {"type": "edit", "args": {"action": "transfer", "args": {"to": "Ben", "euros": 90}}}
answers: list[HumanResponse] = [
    {"type": "accept", "args": None},
    less,
    {"type": "response", "args": "Eve has moved; ask for her new account."},
]
answered = {question.id: answer for question, answer in zip(questions, answers, strict=False)}
for message in agent.invoke(Command(resume=answered), thread)["messages"]:
    if isinstance(message, ToolMessage):
        print(message.text)
print("booked:", sorted(booked))
