"""Learn an assistant with both memories: the thread keeps the conversation, the store what is known about a person.

The store is searched by meaning: an embedding function turns texts into vectors, and the nearest memories are found in
every thread. (Here it counts letter groups, so that the example runs offline; give it a real one in earnest.) With
OPENAI_API_KEY in the environment a real model answers; without, a function stands in for it.

Output:
    monday  Ada: I am allergic to peanuts.
            bot: I will remember that.
    monday  Ada: My favourite colour is green.
            bot: I will remember that.
    friday  Ada: Which allergies do I have?
            bot: You told me: I am allergic to peanuts.
    friday  Ben: Which allergies do I have?
            bot: I do not know.
    friday  Ada: What did I ask first?
            bot: Which allergies do I have?
"""

import math
import os
from collections import Counter
from typing import Annotated, Any
from zlib import crc32

from twinstep.checkpoint.memory import InMemorySaver
from twinstep.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.prebuilt import InjectedStore, ToolRuntime, create_react_agent, tool
from twinstep.store import BaseStore, InMemoryStore

DIMS = 256


def embed(texts: list[str]) -> list[list[float]]:
    """Turn texts into vectors: how often each group of four letters is in them."""
    vectors = []
    for text in texts:
        letters = "".join(filter(str.isalpha, text.lower()))
        counts = Counter(crc32(letters[n : n + 4].encode()) % DIMS for n in range(len(letters) - 3))
        length = math.sqrt(sum(count * count for count in counts.values())) or 1.0
        vectors.append([counts[n] / length for n in range(DIMS)])
    return vectors


@tool
def remember(fact: str, run: ToolRuntime, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Remember a fact about the user."""
    store.put(("people", run.context["user"]), fact, {"fact": fact})
    return "remembered"


@tool
def recall(question: str, run: ToolRuntime, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Find what is known about the user."""
    found = store.search(("people", run.context["user"]), query=question, limit=1)
    return "; ".join(item.value["fact"] for item in found) or "nothing"


def stand_in(messages: list[AnyMessage]) -> AIMessage:
    """Answer as a model would."""
    last = messages[-1]
    if isinstance(last, ToolMessage):
        known = "I do not know." if last.text == "nothing" else f"You told me: {last.text}"
        return AIMessage("I will remember that." if last.text == "remembered" else known)
    if "first" in last.text:
        return AIMessage(messages[0].text)
    name, key = ("recall", "question") if last.text.endswith("?") else ("remember", "fact")
    return AIMessage(tool_calls=[{"name": name, "args": {key: last.text}, "id": f"call {len(messages)}"}])


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(stand_in)
bot = create_react_agent(
    model,
    [remember, recall],
    context_schema=dict[str, Any],
    checkpointer=InMemorySaver(),
    store=InMemoryStore(index={"dims": DIMS, "embed": embed, "fields": ["fact"]}),
)

for day, user, text in [
    ("monday", "Ada", "I am allergic to peanuts."),
    ("monday", "Ada", "My favourite colour is green."),
    ("friday", "Ada", "Which allergies do I have?"),
    ("friday", "Ben", "Which allergies do I have?"),
    ("friday", "Ada", "What did I ask first?"),
]:
    state = bot.invoke(
        {"messages": [HumanMessage(text)]},
        {"configurable": {"thread_id": f"{day} {user}"}},
        context={"user": user},
    )
    print(f"{day:<7} {user}: {text}\n{'':<7} bot: {state['messages'][-1].text}")
