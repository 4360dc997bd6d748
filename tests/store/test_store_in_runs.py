"""Stores and caches that nested graphs and entrypoints see."""

from typing import Any, TypedDict

import pytest

from twinstep.cache.memory import InMemoryCache
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.runtime import Runtime
from twinstep.store.memory import InMemoryStore
from twinstep.types import CachePolicy

RUNS: list[int] = []


class State(TypedDict):
    n: int


def graph_of(node: Any, policy: CachePolicy | None = None, **options: Any) -> Any:
    builder = StateGraph(State).add_node("node", node, cache_policy=policy)
    return builder.add_edge(START, "node").add_edge("node", END).compile(**options)


@pytest.mark.parametrize("of_parent", [True, False])
@pytest.mark.parametrize("of_child", [True, False])
def test_w20_a_child_uses_its_own_store_or_else_its_parents(lane: Any, of_parent: bool, of_child: bool) -> None:
    seen = []
    parents, own = InMemoryStore() if of_parent else None, InMemoryStore() if of_child else None

    def look(state: State, runtime: Runtime) -> None:
        seen.append(runtime.store)

    child = graph_of(look, store=own)

    @entrypoint(store=own)
    def child_entrypoint(n: int, *, store: Any) -> None:
        seen.append(store)

    def call(state: State) -> None:
        child_entrypoint.invoke(0)

    lane.invoke(graph_of(child, store=parents), {"n": 1})
    lane.invoke(graph_of(call, store=parents), {"n": 1})
    assert all(store is (own or parents) for store in seen)
    assert len(seen) == 2


def test_w21_a_child_uses_its_own_cache_or_else_its_parents(lane: Any) -> None:
    def count(state: State) -> State:
        RUNS.append(state["n"])
        return state

    @task(cache_policy=CachePolicy())
    def square(n: int) -> int:
        RUNS.append(n)
        return n * n

    @entrypoint()
    def child_entrypoint(n: int) -> int:
        return square(n).result()

    def call(state: State) -> State:
        return {"n": child_entrypoint.invoke(state["n"])}

    RUNS.clear()
    own = InMemoryCache[Any]()
    for child in [graph_of(count, CachePolicy()), graph_of(count, CachePolicy(), cache=own), call]:
        parent = graph_of(child, cache=InMemoryCache())
        assert lane.invoke(parent, {"n": 3}) == lane.invoke(parent, {"n": 3})
    assert RUNS == [3, 3, 3]
    assert lane.invoke(graph_of(count, CachePolicy(), cache=own), {"n": 3}) == {"n": 3}
    assert RUNS == [3, 3, 3]
