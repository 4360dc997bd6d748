"""Learn an agent that answers from files: here, from the guides of this project.

The files are cut at their headings and put into a store that is searched by meaning; the agent has a tool that looks
there. (The embedding counts words, so that the example runs offline; give it a real one in earnest.) With
OPENAI_API_KEY in the environment a real model answers; without, a function stands in for it and says where to look.

Output:
    looked in the guides for: How can several questions be answered by their ids?
    found: human-in-the-loop.md
    see human-in-the-loop.md, "Several questions"
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

from twinstep.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from twinstep.models import FunctionModel, init_chat_model
from twinstep.prebuilt import InjectedStore, create_react_agent, tool
from twinstep.store import BaseStore, InMemoryStore

GUIDES = Path(__file__).parents[1] / "docs" / "guide"
DIMS = 1024
SHORT = re.compile("a|an|and|are|as|be|by|can|do|for|from|how|i|in|is|it|of|on|or|that|the|to|what|with")


def embed(texts: list[str]) -> list[list[float]]:
    """Turn texts into vectors: which words are in them, without endings."""
    vectors = []
    for text in texts:
        words = [word for word in re.findall(r"[a-z]+", text.lower()) if not SHORT.fullmatch(word)]
        counts = Counter(crc32(re.sub("(ed|s|ing)$", "", word).encode()) % DIMS for word in words)
        weights = {n: 1 + math.log(count) for n, count in counts.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        vectors.append([weights.get(n, 0.0) / length for n in range(DIMS)])
    return vectors


def sections() -> Iterator[dict[str, Any]]:
    """Yield the guides' sections."""
    for page in sorted(GUIDES.glob("*.md")):
        for section in re.split(r"^#+ ", page.read_text(), flags=re.MULTILINE)[1:]:
            heading, _, text = section.partition("\n")
            prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
            yield {"page": page.name, "heading": heading, "text": f"{heading}. {prose.strip()}"}


library = InMemoryStore(index={"dims": DIMS, "embed": embed, "fields": ["text"]})
for number, section in enumerate(sections()):
    library.put(("guides",), str(number), section)


@tool
def look_up(query: str, store: Annotated[BaseStore, InjectedStore()]) -> list[dict[str, Any]]:
    """Find sections of the guides about something."""
    return [item.value for item in store.search(("guides",), query=query, limit=1)]


def stand_in(messages: list[AnyMessage]) -> AIMessage:
    """Answer as a model would."""
    last = messages[-1]
    if not isinstance(last, ToolMessage):
        return AIMessage(tool_calls=[{"name": "look_up", "args": {"query": last.text}, "id": "1"}])
    page, heading = re.findall(r'"page": "(.*?)", "heading": "(.*?)"', last.text)[0]
    return AIMessage(f'see {page}, "{heading}"')


model = init_chat_model("openai:gpt-4o-mini") if "OPENAI_API_KEY" in os.environ else FunctionModel(stand_in)
agent = create_react_agent(model, [look_up], store=library, prompt="Answer from the guides, and say where it stands.")

question = HumanMessage("How can several questions be answered by their ids?")
for message in agent.invoke({"messages": [question]})["messages"]:
    for call in getattr(message, "tool_calls", ()):
        print("looked in the guides for:", call["args"]["query"])
    if isinstance(message, ToolMessage):
        print("found:", *dict.fromkeys(re.findall(r'"page": "(.*?)"', message.text)))
print(message.text)
