"""A node that is tried again when its service is down, and one whose result is kept."""

from typing import Any, TypedDict

from twinstep.cache.memory import InMemoryCache
from twinstep.graph import START, StateGraph
from twinstep.types import CachePolicy, RetryPolicy


class State(TypedDict, total=False):
    query: str
    rows: list[str]
    summary: str


def run(lane: Any, saver: Any) -> list[Any]:
    asked: list[str] = []
    computed: list[str] = []

    def ask_database(state: State) -> State:
        asked.append(state["query"])
        if len(asked) < 3:
            raise ConnectionError("the line is dead")
        return {"rows": [state["query"], "two"]}

    def summarise(state: State) -> State:
        computed.append(state["query"])
        return {"summary": f"{len(state['rows'])} rows"}

    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.001, max_attempts=3, jitter=False)
    builder.add_node("ask_database", ask_database, retry_policy=policy)
    builder.add_node("summarise", summarise, cache_policy=CachePolicy(ttl=60))
    builder.add_edge(START, "ask_database")
    builder.add_edge("ask_database", "summarise")
    graph = builder.compile(cache=InMemoryCache())
    first = lane.invoke(graph, {"query": "q"})
    second = lane.stream(graph, {"query": "q"}, stream_mode="updates")
    return [first, asked, computed, second]


EXPECTED = [
    {"query": "q", "rows": ["q", "two"], "summary": "2 rows"},
    ["q", "q", "q", "q"],
    ["q"],
    [
        {"ask_database": {"rows": ["q", "two"]}},
        {"summarise": {"summary": "2 rows"}, "__metadata__": {"cached": True}},
    ],
]
