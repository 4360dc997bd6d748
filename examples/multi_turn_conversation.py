"""Learn a conversation of many turns in one run: after each answer it waits for the human, and then goes on.

The run lasts as long as the conversation. Every wait is a question (`interrupt`), every turn before it is on record;
the process may end in between. With OPENAI_API_KEY in the environment a real model answers; without, a function stands
in for it.

Output:
    human: I want to go where it is warm.
    agent: How about Rome?
    human: Too far.
    agent: How about Split?
    human: Fine!
    agent: Enjoy Split.
    turns: 3, asked the model 3 times
"""

import os
from typing import Any

from twinstep import Command, entrypoint, interrupt, task
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.messages import AnyMessage, BaseMessage, HumanMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.types import RunnableConfig

asked: list[int] = []


def stand_in(messages: list[AnyMessage]) -> str:
    """Answer as a model would."""
    said = messages[-1].text
    offers = [m.text.removeprefix("How about ").rstrip("?") for m in messages if m.type == "ai"]
    if said == "Fine!":
        return f"Enjoy {offers[-1]}."
    return f"How about {['Rome', 'Split', 'Bolzano'][len(offers)]}?"


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(stand_in)


@task
def answer(messages: list[BaseMessage]) -> BaseMessage:
    """Ask the model."""
    asked.append(len(messages))
    return model.invoke(messages)


@entrypoint(checkpointer=InMemorySaver())
def conversation(text: str) -> dict[str, Any]:
    """Talk until the human is content."""
    messages: list[BaseMessage] = [HumanMessage(text)]
    while True:
        messages.append(answer(messages).result())
        if messages[-2].text == "Fine!":
            return {"last": messages[-1].text, "turns": len(messages) // 2}
        messages.append(HumanMessage(interrupt({"agent": messages[-1].text}, key="reply")))


thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
print("human: I want to go where it is warm.")
result: Any = conversation.invoke("I want to go where it is warm.", thread)
for reply in ("Too far.", "Fine!"):
    print("agent:", result["__interrupt__"][0].value["agent"])
    print("human:", reply)
    result = conversation.invoke(Command(resume=reply), thread)
print("agent:", result["last"])
print(f"turns: {result['turns']}, asked the model {len(asked)} times")
