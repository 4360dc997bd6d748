"""Learn a workflow around a model: one task writes an essay, a person judges it, and nothing is written twice.

What the model said is on record before anybody sees it, so the run that goes on after the review has the same text.
With OPENAI_API_KEY in the environment a real model writes; without, a function stands in for it.

Output:
    written: An essay about cats. Cats sleep. Cats hunt.
    waiting: Is this good enough?
    the essay was approved
    the model was asked once
"""

import os

from twinstep import Command, entrypoint, interrupt, task
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.messages import AnyMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.types import RunnableConfig

asked: list[str] = []


def writer(messages: list[AnyMessage]) -> str:
    """Write as a model would."""
    topic = messages[-1].text.removeprefix("Write an essay about ").rstrip(".")
    return f"An essay about {topic}. {topic.title()} sleep. {topic.title()} hunt."


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(writer)


@task
def write(topic: str) -> str:
    """Have the model write."""
    asked.append(topic)
    return model.invoke(f"Write an essay about {topic}.").text


@entrypoint(checkpointer=InMemorySaver())
def essay(topic: str) -> dict[str, str]:
    """Write, and let a person judge."""
    text = write(topic).result()
    verdict = interrupt({"essay": text, "question": "Is this good enough?"}, response_schema=bool)
    return {"essay": text, "verdict": "approved" if verdict else "rejected"}


thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
for chunk in essay.stream("cats", thread):
    if "write" in chunk:
        print("written:", chunk["write"])
    else:
        print("waiting:", chunk["__interrupt__"][0].value["question"])
print(f"the essay was {essay.invoke(Command(resume=True), thread)['verdict']}")
print("the model was asked", "once" if len(asked) == 1 else f"{len(asked)} times")
