"""What a run is told besides its input, and how nested runs come by it: config, context, store, cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel

from tests.runtime.programs import Config, State, Switch, at, chain, noted
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.config import RunnableConfig, get_config, get_store, get_stream_writer
from twinstep.errors import GraphRecursionError, InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.runtime import ExecutionInfo, Runtime, get_runtime
from twinstep.store.memory import InMemoryStore
from twinstep.types import CachePolicy, Command, RetryPolicy, interrupt


@pytest.fixture
def saver() -> InMemorySaver:
    """Where a thread is kept does not matter here."""
    return InMemorySaver()


def here() -> ExecutionInfo:
    """Return where the calling node or task is."""
    info = get_runtime().execution_info
    assert info is not None
    return info


def watching(seen: list[Any], look: Any) -> Any:
    """Return a node that notes what `look` returns."""

    def watch(state: State) -> State:
        seen.append(look())
        return {"log": ["watch"]}

    return watch


# ---------------------------------------------------------------------- config


def test_a_node_finds_the_callers_config_and_where_it_is(lane, saver, thread, colour):
    seen: list[Config] = []

    @colour
    def look(state: State, config: RunnableConfig) -> State:
        assert config == get_config()
        seen.append(config)
        return {}

    graph = chain("a", look).compile(saver)
    given = {**at(thread, user="me"), "tags": ["t"], "metadata": {"team": "blue"}, "recursion_limit": 7}
    lane.invoke(graph, {"x": 1}, given)
    (config,) = seen
    assert (config["tags"], config["recursion_limit"]) == (["t"], 7)
    assert (config["configurable"]["user"], config["configurable"]["thread_id"]) == ("me", "1")
    metadata = config["metadata"]
    assert (metadata["team"], metadata["thread_id"]) == ("blue", "1")
    assert (metadata["langgraph_step"], metadata["langgraph_node"]) == (2, "look")
    assert metadata["langgraph_triggers"] == ("branch:to:look",)
    assert metadata["langgraph_path"] == ("__pregel_pull", "look")
    assert metadata["langgraph_checkpoint_ns"].startswith("look:")
    assert given == {**at(thread, user="me"), "tags": ["t"], "metadata": {"team": "blue"}, "recursion_limit": 7}


def test_what_a_node_does_to_its_config_stays_its_own(lane, saver, thread):
    seen: list[Config] = []

    def spoil(state: State, config: RunnableConfig) -> State:
        config["configurable"]["user"] = "changed"
        config["metadata"]["team"] = "changed"
        config["tags"].append("changed")
        return {}

    def look(state: State, config: RunnableConfig) -> State:
        seen.append(config)
        return {}

    given = {**at(thread, user="me"), "tags": ["t"], "metadata": {"team": "blue"}}
    lane.invoke(chain(spoil, look).compile(saver), {"x": 1}, given)
    assert (seen[0]["configurable"]["user"], seen[0]["metadata"]["team"], seen[0]["tags"]) == ("me", "blue", ["t"])
    assert (given["tags"], given["metadata"], given["configurable"]["user"]) == (["t"], {"team": "blue"}, "me")


def test_defaults_of_a_graph_are_merged_with_the_callers_config(lane, saver, thread):
    seen: list[Config] = []
    graph = chain(watching(seen, get_config)).compile(saver)
    ready = graph.with_config(
        {"tags": ["a"], "metadata": {"k": 1, "d": 1}, "configurable": {"user": "default"}, "recursion_limit": 9}
    )
    lane.invoke(ready, {"x": 1}, {**at(thread, other=1), "tags": ["b"], "metadata": {"k": 2}})
    (config,) = seen
    assert (config["tags"], config["recursion_limit"]) == (["a", "b"], 9)
    assert {k: config["metadata"][k] for k in "kd"} == {"k": 2, "d": 1}
    assert {k: config["configurable"][k] for k in ("user", "other")} == {"user": "default", "other": 1}
    lane.invoke(graph, {"x": 1}, thread)
    assert "user" not in seen[1]["configurable"]  # the original is as it was


@pytest.mark.parametrize("way", ["node", "called in a node", "called in a task", "entrypoint"])
def test_nested_runs_inherit_the_config(lane, saver, thread, way):
    seen: list[Config] = []
    child = chain(watching(seen, get_config)).compile()

    @entrypoint()
    def flow(n: int) -> None:
        seen.append(get_config())

    @task
    def work() -> None:
        child.invoke({"x": 1}, {"tags": ["own"], "metadata": {"own": 1}})

    def call(state: State) -> State:
        if way == "called in a node":
            child.invoke({"x": 1}, {"tags": ["own"], "metadata": {"own": 1}})
        elif way == "called in a task":
            work().result()
        else:
            flow.invoke(1, {"tags": ["own"], "metadata": {"own": 1}})
        return {}

    build = StateGraph(State).add_node("child", child if way == "node" else call).add_edge(START, "child")
    given = {**at(thread, user="me"), "tags": ["t"], "metadata": {"team": "blue"}, "recursion_limit": 7}
    lane.invoke(build.compile(saver), {"x": 1}, given)
    (config,) = seen
    assert config["tags"] == (["t"] if way == "node" else ["t", "own"])
    assert (config["metadata"]["team"], config["configurable"]["user"]) == ("blue", "me")
    assert config["metadata"].get("own") == (None if way == "node" else 1)
    assert (config["configurable"]["thread_id"], config["recursion_limit"]) == ("1", 7)


def test_metadata_is_kept_with_every_checkpoint_and_configurable_is_not(lane, saver, thread):  # W11
    graph = chain("a").compile(saver)
    lane.invoke(graph, {"x": 1}, {**at(thread, user="me"), "metadata": {"team": "blue"}})
    for snapshot in lane.history(graph, thread):
        assert snapshot.metadata["team"] == "blue"
        assert "user" not in snapshot.metadata


def test_a_nested_run_counts_its_own_supersteps(lane, saver, thread):
    child = chain("c1", "c2", "c3").compile()
    build = chain("a")
    build.add_node("child", child).add_edge("a", "child")
    graph = build.compile(saver)
    assert lane.invoke(graph, {"x": 1}, {**thread, "recursion_limit": 3})["log"] == ["a", "c1", "c2", "c3"]
    with pytest.raises(GraphRecursionError):
        lane.invoke(graph, {"x": 1}, {**thread, "recursion_limit": 2})


def test_the_run_id_of_the_config_is_that_of_the_run(lane, saver, thread):
    seen: list[Any] = []
    graph = chain(watching(seen, lambda: here().run_id)).compile(saver)
    wanted = UUID(int=5)
    lane.invoke(graph, {"x": 1}, {**thread, "run_id": wanted})
    assert seen == [str(wanted)]
    assert lane.state(graph, thread).metadata["run_id"] == str(wanted)


@pytest.mark.parametrize("id", [object(), 1.5, "r" * 1025, "a\0b", "\ud800"], ids=lambda id: ascii(id)[:8])
def test_a_run_id_that_no_saver_could_keep_is_refused_before_anything_runs(lane, saver, thread, id):
    seen: list[Any] = []
    graph = chain(watching(seen, here)).compile(saver)
    with pytest.raises(InvalidConfigError, match="run_id"):
        lane.invoke(graph, {"x": 1}, {**thread, "run_id": id})
    assert (seen, saver.threads()) == ([], [])
    lane.invoke(graph, {"x": 1}, {**thread, "run_id": "r" * 1024})
    saver.delete_for_runs(["r" * 1024])
    assert lane.state(graph, thread).values == {}


@pytest.mark.parametrize("id", [7, UUID(int=7), "ä/☃ 'quoted' |:", "x" * 500], ids=str)
def test_a_thread_may_have_any_id_and_is_found_by_its_text(lane, id, tmp_path):
    for saver in (InMemorySaver(), SqliteSaver(tmp_path / "t.sqlite")):
        graph = chain("a").compile(saver)
        lane.invoke(graph, {"x": 1}, {"configurable": {"thread_id": id}})
        again = lane.invoke(graph, {"x": 2}, {"configurable": {"thread_id": str(id)}})
        assert again["log"] == ["a", "a"]
        assert lane.state(graph, {"configurable": {"thread_id": id}}).config["configurable"]["thread_id"] == str(id)


# ---------------------------------------------------------------------- runtime and context


def test_a_node_finds_what_its_run_offers(lane, saver, thread):
    seen: list[Runtime] = []
    store = InMemoryStore()

    def look(state: State, runtime: Runtime) -> State:
        assert runtime.execution_info == get_runtime().execution_info
        seen.append(runtime)
        runtime.stream_writer("hello")
        get_stream_writer()("again")
        assert get_store() is runtime.store
        return {}

    graph = chain("a", look).compile(saver, store=store)
    chunks = lane.stream(graph, {"x": 1}, thread, stream_mode="custom", context={"k": 1})
    assert chunks == ["hello", "again"]
    (runtime,) = seen
    info = runtime.execution_info or here()
    history = lane.history(graph, thread)
    assert (runtime.store, runtime.context, runtime.previous) == (store, {"k": 1}, None)
    assert (info.thread_id, info.run_id) == ("1", history[0].metadata["run_id"])
    assert (info.task_id, info.checkpoint_ns) == (history[1].tasks[0].id, f"look:{history[1].tasks[0].id}")
    assert info.checkpoint_id == history[1].config["configurable"]["checkpoint_id"]
    assert (info.node_attempt, info.idempotency_key) == (1, info.task_id)


def test_the_idempotency_key_is_the_same_at_every_attempt_and_resume(lane, saver, thread):
    keys: list[Any] = []
    bad = Switch()

    @task(retry_policy=RetryPolicy(max_attempts=3, initial_interval=0, retry_on=ValueError))
    def pay(n: int) -> int:
        info = here()
        keys.append((info.idempotency_key, info.node_attempt))
        bad()
        return n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        return pay(n).result() + pay(n).result()

    with pytest.raises(ValueError, match="boom"):
        lane.invoke(flow, 1, thread)
    bad.on = False
    assert lane.invoke(flow, None, thread) == 2
    first, second = keys[0][0], keys[-1][0]
    assert keys == [(first, 1), (first, 2), (first, 3), (first, 1), (second, 1)]
    assert first != second


@dataclass
class Settings:
    user: str
    limit: int = 3


class Model(BaseModel):
    user: str
    limit: int = 3


class Typed(TypedDict):
    user: str


def asking(schema: Any, seen: list[Any], **options: Any) -> Any:
    def look(state: State, runtime: Runtime[Any]) -> State:
        seen.append(runtime.context)
        return {}

    return StateGraph(State, context_schema=schema).add_node("look", look).add_edge(START, "look").compile(**options)


@pytest.mark.parametrize(
    ("schema", "given", "wanted"),
    [
        (Settings, {"user": "me"}, Settings("me", 3)),
        (Settings, Settings("me", 4), Settings("me", 4)),
        (Model, {"user": "me"}, Model(user="me")),
        (Model, Model(user="me", limit=4), Model(user="me", limit=4)),
        (Typed, {"user": "me"}, {"user": "me"}),
        (None, {"anything": 1}, {"anything": 1}),
        (None, None, None),
    ],
    ids=repr,
)
def test_a_context_comes_as_its_schemas_type(lane, schema, given, wanted):
    seen: list[Any] = []
    lane.invoke(asking(schema, seen), {"x": 1}, context=given)
    assert (seen, type(seen[0])) == ([wanted], type(wanted))


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        (Settings, {"usr": "me"}),
        (Settings, {"user": "me", "limit": "many"}),
        (Settings, "me"),
        (Settings, 5),
        (Model, {}),
        (Model, Settings("me")),
        (Typed, {"user": 5}),
        (Settings, None),
        (Model, ...),
    ],
    ids=repr,
)
def test_a_context_that_does_not_fit_is_refused(lane, saver, thread, schema, given):  # W36
    seen: list[Any] = []
    graph = asking(schema, seen, checkpointer=saver)
    with pytest.raises(InvalidConfigError, match="context"):
        lane.invoke(graph, {"x": 1}, thread, **({} if given is ... else {"context": given}))
    assert (seen, lane.history(graph, thread)) == ([], [])


def test_an_entrypoint_checks_its_context_too(lane):
    @entrypoint(context_schema=Settings)
    def flow(n: int, runtime: Runtime[Settings]) -> str:
        return runtime.context.user

    assert lane.invoke(flow, 1, context={"user": "me"}) == "me"
    with pytest.raises(InvalidConfigError, match="Settings"):
        lane.invoke(flow, 1, context={"usr": "me"})


def test_a_nested_run_inherits_the_context_or_brings_its_own(lane):  # W37
    seen: list[Any] = []
    child = asking(None, seen)

    def call(state: State) -> State:
        child.invoke({"x": 1})
        child.invoke({"x": 1}, context={"user": "own"})
        child.invoke({"x": 1}, context={})
        return {}

    build = StateGraph(State).add_node("call", call).add_node("child", child)
    graph = build.add_edge(START, "call").add_edge("call", "child").compile()
    lane.invoke(graph, {"x": 1}, context={"user": "me"})
    assert seen == [{"user": "me"}, {"user": "own"}, {}, {"user": "me"}]


def test_a_context_is_given_again_when_a_run_is_resumed(lane, saver, thread):
    def ask(state: State, runtime: Runtime[Any]) -> State:
        return {"log": [interrupt("?"), runtime.context["user"]]}

    graph = chain(ask).compile(saver)
    lane.invoke(graph, {"x": 1}, thread, context={"user": "first"})
    result = lane.invoke(graph, Command(resume="!"), thread, context={"user": "second"})
    assert result["log"] == ["!", "second"]


# ---------------------------------------------------------------------- store and cache (W20, W21)


@pytest.mark.parametrize("owner", ["parent", "child", "both", "nobody"])
@pytest.mark.parametrize("kind", ["graph", "entrypoint"])
def test_a_nested_run_uses_its_own_store_or_else_the_callers(lane, owner, kind):
    own, callers = InMemoryStore(), InMemoryStore()
    seen: list[Any] = []
    child_store = own if owner in ("child", "both") else None

    @entrypoint(store=child_store)
    def flow(n: int, store: Any) -> None:
        seen.append(store)

    child = chain(watching(seen, lambda: get_runtime().store)).compile(store=child_store)

    def call(state: State) -> State:
        child.invoke({"x": 1}) if kind == "graph" else flow.invoke(1)
        seen.append(get_runtime().store)
        return {}

    graph = chain(call).compile(store=callers if owner in ("parent", "both") else None)
    lane.invoke(graph, {"x": 1})
    parent = callers if owner in ("parent", "both") else None
    assert seen == [child_store if child_store is not None else parent, parent]


@pytest.mark.parametrize(("owner", "times"), [("parent", 1), ("child", 1), ("both", 1), ("nobody", 2)])
@pytest.mark.parametrize("way", ["node", "called", "task"])
def test_a_nested_run_uses_its_own_cache_or_else_the_callers(lane, owner, times, way):
    ran = Switch(on=False)
    own: Any = InMemoryCache()
    callers: Any = InMemoryCache()

    @task(cache_policy=CachePolicy())
    def work(x: int) -> int:
        ran()
        return x

    def costly(state: State) -> State:
        if way == "task":
            return {"x": work(state["x"]).result()}
        ran()
        return {"x": state["x"]}

    build = StateGraph(State)
    build.add_node("costly", costly, cache_policy=None if way == "task" else CachePolicy()).add_edge(START, "costly")
    child = build.compile(cache=own if owner in ("child", "both") else None)

    def call(state: State) -> State:
        return {"x": child.invoke({"x": 5})["x"]}

    outer = StateGraph(State).add_node("n", child if way == "node" else call).add_edge(START, "n")
    graph = outer.compile(cache=callers if owner in ("parent", "both") else None)
    for _ in range(2):
        assert lane.invoke(graph, {"x": 5})["x"] == 5
    assert ran.calls == times


@pytest.mark.parametrize(("checkpointer", "remembers"), [(None, False), (True, True), (False, False)])
def test_the_checkpointer_of_a_nested_graph_decides_whether_it_remembers(lane, saver, thread, checkpointer, remembers):
    child = chain("c").compile(checkpointer)
    seen: list[Any] = []

    def call(state: State) -> State:
        seen.append(child.invoke({"x": 1})["log"])
        return {}

    graph = chain(call).compile(saver)
    for _ in range(2):
        lane.invoke(graph, {"x": 1}, thread)
    assert seen == [["c"], ["c", "c"] if remembers else ["c"]]


def test_a_child_with_a_thread_and_saver_of_its_own_is_a_run_of_its_own(lane, saver, thread):
    own = InMemorySaver()
    child = chain("c").compile(own)
    other: Config = {"configurable": {"thread_id": "child"}}

    def call(state: State) -> State:
        return {"log": child.invoke({"x": 1}, other)["log"]}

    graph = chain(call).compile(saver)
    lane.invoke(graph, {"x": 1}, thread)
    assert lane.invoke(graph, {"x": 1}, thread)["log"] == ["c", "c", "c"]
    assert lane.state(child, other).values["log"] == ["c", "c"]


def test_output_keys_choose_what_is_returned(lane, saver, thread):
    graph = chain("a").compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread, output_keys="log") == ["a"]
    assert lane.invoke(graph, {"x": 2}, thread, output_keys=["x"]) == {"x": 2}
    assert lane.stream(graph, {"x": 3}, thread, output_keys=["x"]) == [{"a": None}]


def test_names_of_runs_and_graphs(lane):
    seen: list[Any] = []
    graph = chain(watching(seen, lambda: get_config().get("run_name"))).compile(name="mine")
    lane.invoke(graph, {"x": 1}, {"run_name": "monday"})
    assert (graph.name, seen) == ("mine", ["monday"])


def test_noted_nodes_keep_their_names():
    assert list(chain("a", noted("b")).nodes) == ["a", "b"]
