"""What a chatbot learns about a user in one thread, it knows in another."""

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from twinstep.graph import START, StateGraph
from twinstep.runtime import Runtime
from twinstep.store.base import BaseStore
from twinstep.store.memory import InMemoryStore


class State(TypedDict):
    messages: Annotated[list[str], operator.add]


@dataclass
class Context:
    user_id: str


def remember(state: State, runtime: Runtime[Context], *, store: BaseStore) -> None:
    said = state["messages"][-1]
    if said.startswith("Remember: "):
        key = f"memory-{len(store.search(('memories', runtime.context.user_id)))}"
        store.put(("memories", runtime.context.user_id), key, {"data": said.removeprefix("Remember: ")})


def answer(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    assert runtime.store is not None
    items = runtime.store.search(("memories", runtime.context.user_id))
    known = sorted(str(item.value["data"]) for item in items)
    return {"messages": [f"I know: {', '.join(known) or 'nothing'}"]}


def run(lane: Any, saver: Any) -> list[Any]:
    store = InMemoryStore()
    builder = StateGraph(State, context_schema=Context)
    builder.add_node("remember", remember)
    builder.add_node("answer", answer)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", "answer")
    graph = builder.compile(checkpointer=saver, store=store)

    def say(text: str, thread: str, user: str) -> str:
        config = {"configurable": {"thread_id": thread}}
        return str(lane.invoke(graph, {"messages": [text]}, config, context=Context(user))["messages"][-1])

    return [
        say("Remember: my name is Bob", "1", "bob"),
        say("Remember: I like tea", "2", "bob"),
        say("What do you know?", "3", "bob"),
        say("What do you know?", "4", "ada"),
        sorted(store.list_namespaces()),
    ]


EXPECTED = [
    "I know: my name is Bob",
    "I know: I like tea, my name is Bob",
    "I know: I like tea, my name is Bob",
    "I know: nothing",
    [("memories", "bob")],
]
