"""Learn the stream modes: they are views of one log of events, so they can be mixed, nested and followed live.

`updates` shows what each node or task brought, `values` the state after each superstep, `custom` whatever the code
sends, at once. Several modes give pairs; `subgraphs=True` adds the namespace; `version="v2"` gives mappings.

Output:
    updates: {'draft': {'text': 'a plan', 'log': ['draft']}}
    updates: {'check': {'log': ['check']}}
    values: {'text': '', 'log': []}
    values: {'text': 'a plan', 'log': ['draft']}
    values: {'text': 'a plan', 'log': ['draft', 'check']}
    custom: a
    custom: plan
    updates: draft
    updates: check
    v2: values () a plan
    async: ['a', 'plan']
"""

import asyncio
import operator
from typing import Annotated, TypedDict

from twinstep import START, StateGraph
from twinstep.config import get_stream_writer


class State(TypedDict, total=False):
    """A text and who worked on it."""

    text: str
    log: Annotated[list[str], operator.add]


def draft(state: State) -> State:
    """Write, and tell every word as it comes."""
    write = get_stream_writer()
    for word in ("a", "plan"):
        write(word)
    return {"text": "a plan", "log": ["draft"]}


graph = (
    StateGraph(State)
    .add_sequence([draft, ("check", lambda state: {"log": ["check"]})])
    .add_edge(START, "draft")
    .compile()
)

for update in graph.stream({"text": ""}):
    print("updates:", update)
for values in graph.stream({"text": ""}, stream_mode="values"):
    print("values:", values)
for mode, chunk in graph.stream({"text": ""}, stream_mode=["custom", "updates"]):
    print(f"{mode}:", chunk if mode == "custom" else next(iter(chunk)))
*_, last = graph.stream({"text": ""}, stream_mode="values", version="v2")
print("v2:", last["type"], last["ns"], last["data"]["text"])


async def words() -> list[str]:
    """Collect what the nodes send, on an event loop."""
    return [word async for word in graph.astream({"text": ""}, stream_mode="custom")]


print("async:", asyncio.run(words()))
