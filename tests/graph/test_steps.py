"""Supersteps: who runs together, in what order updates count, what a failure leaves behind (behaviour 1.6, 3.1)."""

import asyncio
import operator
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Annotated, Any, TypedDict

import pydantic
import pytest

from tests.conftest import Lane, in_notebooks_too
from tests.graph.kit import build, letters, one, row, says, side_by_side
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_config
from twinstep.errors import GraphRecursionError, InvalidConfigError, InvalidUpdateError, OutsideRunError
from twinstep.graph import END, START
from twinstep.managed import IsLastStep, RemainingSteps
from twinstep.types import Send

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


# ---------------------------------------------------------------------- together


@pytest.mark.parametrize("n", [2, 12])
@pytest.mark.parametrize("way", ["edges", "packets"])
def test_all_due_nodes_of_a_superstep_run_at_the_same_time(n: int, way: str, lane: Lane) -> None:
    barrier = threading.Barrier(n, timeout=5)

    def node(state: Any) -> dict[str, Any]:
        barrier.wait()
        return {"log": ["met"]}

    if way == "edges":
        graph = side_by_side({f"n{i}": node for i in range(n)})
    else:
        graph = build({"n": node}, []).add_conditional_edges(START, lambda s: [Send("n", {})] * n, ["n"])
    assert lane.invoke(graph.compile(), {})["log"] == ["met"] * n


@in_notebooks_too
def test_coroutine_nodes_run_at_the_same_time_in_both_lanes(lane: Lane) -> None:
    both = asyncio.Barrier(2)

    def meeting(name: str) -> Callable[..., Any]:
        async def node(state: Any) -> dict[str, Any]:
            async with asyncio.timeout(5):
                await both.wait()
            return {"log": [name]}

        return node

    graph = side_by_side({"a": meeting("a"), "b": meeting("b")}).compile()
    assert lane.invoke(graph, {})["log"] == ["a", "b"]


def test_updates_count_by_name_and_are_streamed_as_they_come(lane: Lane) -> None:
    def graph() -> Any:
        gate = threading.Event()

        def slow(state: Any) -> dict[str, Any]:
            assert gate.wait(5)
            return {"log": ["a"]}

        def fast(state: Any) -> dict[str, Any]:
            gate.set()
            return {"log": ["z"]}

        return side_by_side({"a_slow": slow, "z_fast": fast}).compile()

    assert lane.invoke(graph(), {}) == {"log": ["a", "z"]}
    assert lane.stream(graph(), {}) == [{"z_fast": {"log": ["z"]}}, {"a_slow": {"log": ["a"]}}]


def test_nodes_of_one_superstep_do_not_see_each_other_s_updates(lane: Lane) -> None:
    nodes = {name: (lambda s: {"log": [len(s["log"])]}) for name in "abc"}
    assert lane.invoke(side_by_side(nodes).compile(), {"log": ["in"]})["log"] == ["in", 1, 1, 1]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_max_concurrency_limits_how_many_nodes_run_at_once(limit: int, colour: Colour, lane: Lane) -> None:
    lock, running, peak = threading.Lock(), 0, 0

    def work(i: int) -> dict[str, Any]:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1
        return {"log": [i]}

    graph = build({"w": colour(work)}, [])
    graph.add_conditional_edges(START, lambda s: [Send("w", i) for i in range(8)], ["w"])
    assert lane.invoke(graph.compile(), {}, {"max_concurrency": limit})["log"] == list(range(8))
    assert peak <= limit


MINE: ContextVar[str] = ContextVar("MINE", default="unset")


def test_nodes_see_the_context_variables_of_their_caller(colour: Colour, lane: Lane) -> None:
    def node(state: Any) -> dict[str, Any]:
        return {"log": [MINE.get()]}

    graph = build({name: colour(node) for name in "abc"}, [(START, "a"), (START, "b"), ("b", "c")]).compile()

    def run() -> list[str]:
        MINE.set("mine")
        return list(lane.invoke(graph, {})["log"])

    assert copy_context().run(run) == ["mine"] * 3


@pytest.mark.parametrize("mode", ["updates", "custom"])
def test_the_consumer_of_a_stream_is_outside_of_the_run(mode: Any, lane: Lane) -> None:
    inner = one(lambda s: {"log": [get_config()["metadata"]["langgraph_checkpoint_ns"].partition(":")[0]]})
    seen: list[Any] = []

    def look(chunk: Any) -> None:
        with pytest.raises(OutsideRunError):
            get_config()
        seen.append(chunk)
        if not lane.is_async:
            seen.append(inner.invoke({})["log"])

    graph = row({name: (lambda s, writer: writer("w")) for name in "ab"}).compile()
    lane.consume(look, graph, {}, stream_mode=mode)
    assert len([chunk for chunk in seen if chunk != ["n"]]) == 2


def test_one_compiled_graph_serves_many_runs_at_once(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph: Any = row({"a": lambda s: {"log": [s["x"]]}, "b": lambda s: {"log": [s["x"] + 1]}}).compile(saver)
    configs = [{"configurable": {"thread_id": str(i)}} for i in range(40)]
    if lane.is_async:

        async def main() -> list[Any]:
            return await asyncio.gather(*(graph.ainvoke({"x": i}, config) for i, config in enumerate(configs)))

        outs = asyncio.run(main())
    else:
        with ThreadPoolExecutor(8) as pool:
            outs = list(pool.map(lambda i: graph.invoke({"x": i}, configs[i]), range(40)))
    assert outs == [{"x": i, "log": [i, i + 1]} for i in range(40)]
    assert [lane.state(graph, config).values for config in configs] == outs


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"recursionlimit": 3}, "recursionlimit.*Did you mean 'recursion_limit'"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_concurrency": "2"}, "max_concurrency"),
        ({"metadata": 3}, "metadata"),
        (["thread"], "A config is a mapping"),
    ],
)
def test_options_of_a_config_that_cannot_be_used_are_refused(config: Any, message: str, lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        lane.invoke(side_by_side(letters("ab")).compile(), {}, config)


# ---------------------------------------------------------------------- two writers


@pytest.mark.parametrize("way", ["edges", "packets", "one node"])
def test_two_values_for_a_plain_key_in_one_superstep_are_refused(way: str, lane: Lane) -> None:
    if way == "edges":
        graph = side_by_side({"a": lambda s: {"x": 1}, "b": lambda s: {"x": 1}})
    elif way == "packets":
        graph = build({"n": lambda i: {"x": i}}, [])
        graph.add_conditional_edges(START, lambda s: [Send("n", 1), Send("n", 2)], ["n"])
    else:
        graph = row({"n": lambda s: [("x", 1), ("x", 2)]})
    with pytest.raises(InvalidUpdateError, match=r"At key 'x': 2 values.*INVALID_CONCURRENT_GRAPH_UPDATE"):
        lane.invoke(graph.compile(), {"x": 0})


def test_w39_a_step_that_cannot_be_applied_does_not_wedge_the_thread(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    values: dict[str, Any] = {"a": {"x": 1}, "b": {"x": 2}}
    graph = side_by_side({name: (lambda s, name=name: values[name]) for name in "ab"}).compile(saver)
    with pytest.raises(InvalidUpdateError):
        lane.invoke(graph, {"x": 0}, thread)
    state = lane.state(graph, thread)
    assert (state.values["x"], state.next, state.metadata["status"]) == (0, ("a", "b"), "failed")
    values["b"] = {"log": ["mended"]}
    assert lane.invoke(graph, None, thread) == {"x": 1, "log": ["mended"]}


def test_w39_a_raising_reducer_names_its_key_and_does_not_wedge_the_thread(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    update: list[Any] = [{"not": "a list"}]
    graph = row({"n": lambda s: {"log": update[0]}}).compile(saver)
    with pytest.raises(TypeError) as caught:
        lane.invoke(graph, {}, thread)
    assert "'log'" in "".join(getattr(caught.value, "__notes__", []))
    assert lane.state(graph, thread).next == ("n",)
    update[0] = ["mended"]
    assert lane.invoke(graph, None, thread)["log"] == ["mended"]


# ---------------------------------------------------------------------- failures


class Sibling:
    """Two nodes of one superstep: `a` finishes before `b` fails, until `b` is mended."""

    def __init__(self, colour: Colour, saver: BaseCheckpointSaver | None = None) -> None:
        self.finished, self.mended, self.ran = threading.Event(), False, list[str]()
        self.graph = build(
            {"a": colour(self.a), "b": colour(self.b), "end": says("end")},
            [(START, "a"), (START, "b"), (["a", "b"], "end")],
        ).compile(saver)

    def a(self, state: Any) -> dict[str, Any]:
        self.ran.append("a")
        self.finished.set()
        return {"log": ["a"]}

    def b(self, state: Any) -> dict[str, Any]:
        self.ran.append("b")
        if not self.mended:
            threading.Event().wait(0.02)
            raise ValueError("boom")
        return {"log": ["b"]}


def test_a_finished_sibling_of_a_failed_node_keeps_its_result(
    colour: Colour, saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    work = Sibling(colour, saver)
    with pytest.raises(ValueError, match="boom") as caught:
        lane.invoke(work.graph, {"x": 0}, thread)
    assert len(caught.value.__notes__) == 1
    assert caught.value.__notes__[0].startswith("During task with name 'b' and id '")
    state = lane.state(work.graph, thread)
    assert (state.values, state.next) == ({"x": 0, "log": []}, ("b",))
    assert [(task.name, task.result, type(task.error)) for task in state.tasks] == [
        ("a", {"log": ["a"]}, type(None)),
        ("b", None, ValueError),
    ]
    work.mended = True
    assert lane.invoke(work.graph, None, thread) == {"x": 0, "log": ["a", "b", "end"]}
    assert work.ran == ["a", "b", "b"]


def test_a_new_input_after_a_failure_starts_over(lane: Lane, thread: dict[str, Any]) -> None:
    work = Sibling(lambda fn: fn, InMemorySaver())
    with pytest.raises(ValueError, match="boom"):
        lane.invoke(work.graph, {"x": 0}, thread)
    work.mended = True
    assert lane.invoke(work.graph, {"x": 1}, thread) == {"x": 1, "log": ["a", "b", "end"]}
    assert sorted(work.ran) == ["a", "a", "b", "b"]


def test_the_first_of_several_failures_is_raised_and_keeps_the_others(lane: Lane) -> None:
    both = asyncio.Barrier(2)

    def fail(error: Exception) -> Callable[..., Any]:
        async def node(state: Any) -> None:
            async with asyncio.timeout(5):
                await both.wait()
            raise error

        return node

    graph = side_by_side({"a": fail(ValueError("a")), "b": fail(KeyError("b"))}).compile()
    with pytest.raises((ValueError, KeyError)) as caught:
        lane.invoke(graph, {})
    others = caught.value.__cause__
    assert isinstance(others, ExceptionGroup)
    assert {type(caught.value), *map(type, others.exceptions)} == {ValueError, KeyError}


def test_a_failure_names_every_level_it_passed_through(lane: Lane) -> None:
    inner = one(lambda s: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        lane.invoke(row({"sub": inner}).compile(), {})
    assert [note.split("'")[1] for note in caught.value.__notes__] == ["n", "sub"]


# ---------------------------------------------------------------------- the recursion limit


def loop(times: int) -> Any:
    """Return a graph whose node runs a number of times."""
    graph = build({"a": lambda s: {"log": [len(s["log"])]}}, [(START, "a")])
    return graph.add_conditional_edges("a", lambda s: END if len(s["log"]) >= times else "a", ["a", END]).compile()


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("saver_given", [False, True])
def test_w9_n_supersteps_need_a_limit_of_n(n: int, saver_given: bool, lane: Lane, thread: dict[str, Any]) -> None:
    graph = loop(n).builder.compile(InMemorySaver() if saver_given else None)
    assert lane.invoke(graph, {}, {**thread, "recursion_limit": n})["log"] == list(range(n))
    if n > 1:
        fresh = {"configurable": {"thread_id": "2"}, "recursion_limit": n - 1}
        with pytest.raises(GraphRecursionError, match=f"Recursion limit of {n - 1} reached.*due: a"):
            lane.invoke(graph, {}, fresh)


def test_a_run_that_reached_its_limit_can_be_continued(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = loop(5).builder.compile(saver)
    with pytest.raises(RecursionError):
        lane.invoke(graph, {}, {**thread, "recursion_limit": 2})
    assert lane.state(graph, thread).next == ("a",)
    assert lane.invoke(graph, None, {**thread, "recursion_limit": 3})["log"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("limit", [0, -1, "3", 2.5, None])
def test_a_recursion_limit_is_a_positive_integer(limit: Any, lane: Lane) -> None:
    if limit is None:  # not given
        assert lane.invoke(loop(50), {}, {"recursion_limit": None})["log"] == list(range(50))
        return
    with pytest.raises(InvalidConfigError, match="recursion_limit must be an integer of at least 1"):
        lane.invoke(loop(1), {}, {"recursion_limit": limit})


def test_a_subgraph_has_the_same_limit_and_a_counter_of_its_own(lane: Lane) -> None:
    graph = row({"sub": loop(4), "m": says("m")}).compile()
    assert lane.invoke(graph, {}, {"recursion_limit": 4})["log"] == [0, 1, 2, 3, "m"]
    with pytest.raises(GraphRecursionError):
        lane.invoke(graph, {}, {"recursion_limit": 3})


# ---------------------------------------------------------------------- managed values


class Managed(TypedDict):
    last: IsLastStep
    rem: RemainingSteps
    log: Annotated[list[Any], operator.add]


class ManagedModel(pydantic.BaseModel):
    last: IsLastStep
    rem: RemainingSteps
    log: Annotated[list[Any], operator.add] = []


def get(state: Any, key: str) -> Any:
    return state[key] if isinstance(state, dict) else getattr(state, key)


@pytest.mark.parametrize("schema", [Managed, ManagedModel])
def test_managed_values_count_down_for_nodes_and_path_functions(schema: type, lane: Lane) -> None:
    def node(state: Any) -> dict[str, Any]:
        return {"log": [(get(state, "rem"), get(state, "last"))]}

    graph = build({"a": node}, [(START, "a")], schema)
    graph.add_conditional_edges("a", lambda s: END if get(s, "last") else "a", ["a", END])
    assert lane.invoke(graph.compile(), {"log": []}, {"recursion_limit": 3}) == {
        "log": [(3, False), (2, False), (1, True)]
    }


def test_managed_values_are_in_no_chunk_and_no_snapshot(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row({"a": lambda s: {"log": [s["last"]]}}, Managed).compile(saver)
    chunks = lane.stream(graph, {"log": []}, thread, stream_mode=["values", "updates"])
    assert chunks == [("values", {"log": []}), ("updates", {"a": {"log": [False]}}), ("values", {"log": [False]})]
    assert lane.state(graph, thread).values == {"log": [False]}


# ---------------------------------------------------------------------- the order of supersteps


def test_the_steps_of_a_graph_in_its_history(saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]) -> None:
    graph = row(letters("ab")).compile(saver)
    lane.invoke(graph, {"x": 0}, thread)
    history = lane.history(graph, thread)
    assert [(h.metadata["source"], h.metadata["step"], h.next) for h in history] == [
        ("loop", 2, ()),
        ("loop", 1, ("b",)),
        ("loop", 0, ("a",)),
        ("input", -1, ("__start__",)),
    ]
    assert [h.values.get("log") for h in history] == [["a", "b"], ["a"], [], []]
    assert [[(t.name, t.path, t.result) for t in h.tasks] for h in history[:3]] == [
        [],
        [("b", ("__pregel_pull", "b"), {"log": ["b"]})],
        [("a", ("__pregel_pull", "a"), {"log": ["a"]})],
    ]


def test_packets_have_paths_of_their_own(lane: Lane, thread: dict[str, Any]) -> None:
    graph = build({"w": lambda i: {"log": [i]}}, [])
    graph.add_conditional_edges(START, lambda s: [Send("w", 1), Send("w", 2)], ["w"])
    compiled = graph.compile(InMemorySaver())
    lane.invoke(compiled, {}, thread)
    tasks = lane.history(compiled, thread)[1].tasks
    assert [task.path for task in tasks] == [("__pregel_push", 0, False), ("__pregel_push", 1, False)]
    assert len({task.id for task in tasks}) == 2
