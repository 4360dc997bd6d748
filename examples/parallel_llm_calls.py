"""Learn to ask a model many things at once: tasks that are called before any is waited for run in parallel.

Each finished task is a chunk of the stream, in the order in which they finish; the results keep the order of the calls.
With OPENAI_API_KEY in the environment a real model answers; without, a function stands in for it, and shows that all
calls are under way at the same time: each waits for the others.

Output:
    3 paragraphs
    # tea
    Tea is worth a paragraph.
    # bread
    Bread is worth a paragraph.
    # salt
    Salt is worth a paragraph.
"""

import os
from threading import Barrier

from twinstep import entrypoint, task
from twinstep.messages import AnyMessage
from twinstep.models import FunctionModel, init_chat_model

TOPICS = ["tea", "bread", "salt"]
together = Barrier(len(TOPICS), timeout=30)


def essayist(messages: list[AnyMessage]) -> str:
    """Answer when all questions have been asked."""
    together.wait()
    return f"{messages[-1].text.split()[-1].title()} is worth a paragraph."


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(essayist)


@task
def paragraph(topic: str) -> str:
    """Have the model write one paragraph."""
    return model.invoke([("system", "Write one paragraph."), ("user", f"The topic is {topic}")]).text


@entrypoint()
def book(topics: list[str]) -> str:
    """Ask for all paragraphs, then put them together."""
    paragraphs = [paragraph(topic) for topic in topics]
    return "\n".join(f"# {topic}\n{each.result()}" for topic, each in zip(topics, paragraphs, strict=True))


chunks = list(book.stream(TOPICS))
print(sum("paragraph" in chunk for chunk in chunks), "paragraphs")
print(chunks[-1]["book"])
