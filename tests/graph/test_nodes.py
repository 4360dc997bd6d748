"""Nodes: what can be one, what it is called, what is filled in, what it may return, what happens when it fails
(behaviour 1.2)."""

import asyncio
import functools
import logging
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypedDict

import pytest

from tests.conftest import Lane
from tests.graph.kit import S, build, letters, one, row, says, side_by_side
from twinstep.cache.memory import InMemoryCache
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import (
    GraphValidationError,
    InvalidConfigError,
    InvalidUpdateError,
    NodeError,
    NodeTimeoutError,
)
from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph
from twinstep.runtime import Runtime
from twinstep.store.base import BaseStore
from twinstep.store.memory import InMemoryStore
from twinstep.types import (
    CachePolicy,
    Command,
    RetryPolicy,
    RunnableConfig,
    Send,
    StreamWriter,
    TimeoutPolicy,
    interrupt,
)

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]
AT_ONCE = RetryPolicy(initial_interval=0, jitter=False)


class Callee:
    """A callable object."""

    def __call__(self, state: Any) -> dict[str, Any]:
        return {"log": ["ran"]}

    def method(self, state: Any) -> dict[str, Any]:
        return {"log": ["ran"]}


class AsyncCallee:
    """A callable object that must be awaited."""

    async def __call__(self, state: Any) -> dict[str, Any]:
        return {"log": ["ran"]}


class Runnable:
    """What other libraries call a runnable."""

    def invoke(self, input: Any, config: Any = None) -> dict[str, Any]:
        return {"log": ["ran"] if "configurable" in config else []}

    async def ainvoke(self, input: Any, config: Any = None) -> dict[str, Any]:
        return self.invoke(input, config)


def function(state: Any) -> dict[str, Any]:
    return {"log": ["ran"]}


async def coroutine(state: Any) -> dict[str, Any]:
    return {"log": ["ran"]}


def generator(state: Any) -> Iterator[dict[str, Any]]:
    yield {"log": ["dropped"]}
    yield {"log": ["ran"]}


async def async_generator(state: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"log": ["dropped"]}
    yield {"log": ["ran"]}


@entrypoint()
def functional(state: Any) -> dict[str, Any]:
    return {"log": ["ran"]}


def takes_more(word: str, state: Any) -> dict[str, Any]:
    return {"log": [word]}


@pytest.mark.parametrize(
    "action",
    [
        function,
        coroutine,
        lambda state: {"log": ["ran"]},
        lambda state: coroutine(state),
        functools.partial(takes_more, "ran"),
        functools.partial(coroutine),
        Callee(),
        AsyncCallee(),
        Callee().method,
        generator,
        async_generator,
        functional,
        one(function),
        Runnable(),
    ],
    ids=lambda action: getattr(action, "__name__", type(action).__name__),
)
def test_what_can_be_a_node(action: Any, lane: Lane) -> None:
    assert lane.invoke(one(action), {})["log"] == ["ran"]


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (function, "function"),
        (lambda s: None, "<lambda>"),
        (Callee(), "Callee"),
        (Callee().method, "method"),
        (functional, "functional"),
        (row({"a": function}).compile(name="inner"), "inner"),
    ],
)
def test_a_node_is_named_after_its_action(action: Any, name: str) -> None:
    assert list(StateGraph(S).add_node(action).nodes) == [name]


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda g: g.add_node("a", function).add_node("a", function), "Node `a` already present"),
        (lambda g: g.add_node("__end__", function), "Node `__end__` is reserved"),
        (lambda g: g.add_node("__start__", function), "Node `__start__` is reserved"),
        (lambda g: g.add_node("a:b", function), "':' is a reserved character"),
        (lambda g: g.add_node("a|b", function), r"'\|' is a reserved character"),
        (lambda g: g.add_node("a"), r"add_node\('a'\) needs an action"),
        (lambda g: g.add_node("a", 5), "Expected a function.*got int"),
    ],
)
def test_w45_nodes_that_cannot_be_added(add: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(GraphValidationError, match=message):
        add(StateGraph(S))


def test_a_node_may_have_the_name_of_a_state_key(lane: Lane) -> None:
    assert lane.invoke(row(letters("x")).compile(), {"x": 1}) == {"x": 1, "log": ["x"]}


def test_what_is_added_after_compile_is_not_in_the_compiled_graph(caplog: pytest.LogCaptureFixture) -> None:
    graph = row(letters("a"))
    compiled = graph.compile()
    with caplog.at_level(logging.WARNING):
        graph.add_node("b", says("b")).add_edge("a", "b")
    assert "already been compiled" in caplog.text
    assert compiled.invoke({}) == {"log": ["a"]}
    assert graph.compile().invoke({}) == {"log": ["a", "b"]}


# ---------------------------------------------------------------------- what is filled in


def test_parameters_are_filled_in_by_name(colour: Colour, lane: Lane, thread: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}

    def node(
        state: S,
        config: RunnableConfig,
        writer: StreamWriter,
        *,
        store: BaseStore,
        runtime: Runtime[Any],
        previous: Any,
    ) -> None:
        writer("written")
        seen.update(config=config, store=store, runtime=runtime, previous=previous)

    store = InMemoryStore()
    graph = row({"n": colour(node)}).compile(store=store)
    assert lane.stream(graph, {}, {**thread, "tags": ["t"]}, context="c", stream_mode="custom") == ["written"]
    assert (seen["store"], seen["runtime"].store, seen["runtime"].context, seen["previous"]) == (
        store,
        store,
        "c",
        None,
    )
    assert seen["config"]["tags"] == ["t"]
    assert seen["config"]["configurable"]["thread_id"] == "1"
    assert seen["config"]["metadata"]["langgraph_node"] == "n"


def untyped(s, config, writer, store, runtime, previous):
    return {"log": [type(config).__name__, callable(writer), store, runtime.context, previous]}


def optional(
    s: Any,
    config: RunnableConfig | None = None,
    writer: StreamWriter | None = None,
    store: BaseStore | None = None,
    runtime: Any = None,
    previous: int | None = None,
) -> Any:
    return untyped(s, config, writer, store, runtime, previous)


def config_as_dict(s: Any, config: dict, writer: Any, store: Any, runtime: Any, previous: Any) -> Any:  # W46
    return untyped(s, config, writer, store, runtime, previous)


@pytest.mark.parametrize("node", [untyped, optional, config_as_dict])
def test_w46_annotations_do_not_matter_for_what_is_filled_in(node: Any, lane: Lane) -> None:
    with warnings.catch_warnings(action="error"):
        graph = one(node)
        assert lane.invoke(graph, {})["log"] == ["dict", True, None, None, None]


def test_the_first_parameter_is_the_state_whatever_it_is_called(lane: Lane) -> None:
    assert lane.invoke(one(lambda config: {"log": [config["x"]]}), {"x": 3})["log"] == [3]


def test_other_parameters_are_missing_and_the_error_names_the_node(lane: Lane) -> None:
    with pytest.raises(TypeError, match="'extra'") as caught:
        lane.invoke(one(lambda s, extra: None), {})
    assert "During task with name 'n' and id '" in caught.value.__notes__[0]


class Part(TypedDict):
    x: int


def test_a_node_is_given_the_keys_that_its_annotation_names(lane: Lane) -> None:
    def node(state: Part) -> dict[str, Any]:
        return {"log": [dict(state)]}

    assert lane.invoke(one(node), {"x": 1, "log": ["in"]})["log"] == ["in", {"x": 1}]


# ---------------------------------------------------------------------- what is returned


@pytest.mark.parametrize(
    ("returned", "log"),
    [
        (None, []),
        ({}, []),
        ({"log": ["a"]}, ["a"]),
        (Command(update={"log": ["a"]}), ["a"]),
        (Command(update=[("log", ["a"]), ("log", ["b"])]), ["a", "b"]),
        ([Command(update={"log": ["a"]}), {"log": ["b"]}], ["a", "b"]),
        (({"log": ["a"]}, Command(goto="end"), {"log": ["b"]}), ["a", "b", "end"]),
        (Send("end", {}), ["end"]),
        ([Send("end", {}), Send("end", {}), {"log": ["a"]}], ["a", "end", "end"]),
    ],
)
def test_what_a_node_may_return(returned: Any, log: list[str], colour: Colour, lane: Lane) -> None:
    graph = build({"n": (colour(lambda s: returned), {"destinations": ["end"]}), "end": says("end")}, [(START, "n")])
    assert lane.invoke(graph.compile(), {})["log"] == log


@pytest.mark.parametrize("returned", [5, "log", ["log"], [{"log": ["a"]}, 5], object()], ids=lambda v: type(v).__name__)
def test_what_a_node_may_not_return(returned: Any, lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match=r"Expected dict, got .*INVALID_GRAPH_NODE_RETURN_VALUE") as caught:
        lane.invoke(one(lambda s: returned), {})
    assert "'n'" in caught.value.__notes__[0]


# ---------------------------------------------------------------------- retries and time limits


def failing(times: int, error: Callable[[], BaseException] = ConnectionError) -> tuple[Callable[..., Any], list[int]]:
    """Return a node that fails some times, and the list of its attempts."""
    attempts: list[int] = []

    def node(state: Any, runtime: Runtime[Any]) -> dict[str, Any]:
        attempts.append(runtime.execution_info.node_attempt)  # type: ignore[union-attr]
        if len(attempts) <= times:
            raise error()
        return {"log": [len(attempts)]}

    return node, attempts


@pytest.mark.parametrize("others", [{}, letters("m")], ids=["alone", "with a sibling"])
def test_a_failing_node_is_tried_again(others: dict[str, Any], colour: Colour, lane: Lane) -> None:
    node, attempts = failing(2)
    graph = side_by_side({**others, "n": (colour(node), {"retry_policy": AT_ONCE})}).compile()
    assert lane.invoke(graph, {})["log"] == [*others, 3]
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("executor", [None, "thread"])
def test_a_node_that_raises_stop_iteration_fails_and_does_not_hang(executor: Any, lane: Lane) -> None:
    def node(s: S) -> Any:
        return next(iter([]))

    builder = StateGraph(S).add_node("node", node, executor=executor).add_edge(START, "node")
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        lane.invoke(builder.compile(), {})
    assert caught.value.__notes__[0].startswith("During task with name 'node'")


def test_the_last_failure_is_raised_when_the_attempts_are_used_up(lane: Lane) -> None:
    node, attempts = failing(9)
    with pytest.raises(ConnectionError) as caught:
        lane.invoke(one(node, retry_policy=AT_ONCE), {})
    assert attempts == [1, 2, 3]
    assert len(caught.value.__notes__) == 1


def test_the_first_policy_that_matches_decides(lane: Lane) -> None:
    node, attempts = failing(9, KeyError)
    policies = [
        AT_ONCE._replace(retry_on=ValueError, max_attempts=9),
        AT_ONCE._replace(retry_on=(OSError, KeyError), max_attempts=2),
        AT_ONCE._replace(retry_on=lambda e: True, max_attempts=5),
    ]
    with pytest.raises(KeyError):
        lane.invoke(one(node, retry_policy=policies), {})
    assert attempts == [1, 2]


def test_mistakes_of_the_program_are_not_retried_by_default(lane: Lane) -> None:
    node, attempts = failing(9, ValueError)
    with pytest.raises(ValueError):  # noqa: PT011
        lane.invoke(one(node, retry_policy=AT_ONCE), {})
    assert attempts == [1]


@pytest.mark.parametrize(
    ("timeout", "kind"),
    [(0.03, "run"), (TimeoutPolicy(run_timeout=0.03), "run"), (TimeoutPolicy(idle_timeout=0.03), "idle")],
)
def test_w50_a_node_that_takes_too_long_is_given_up_in_both_colours(timeout: Any, kind: str, lane: Lane) -> None:
    release = threading.Event()

    def slow(state: Any) -> dict[str, Any]:
        release.wait(5)
        return {"log": ["late"]}

    async def async_slow(state: Any) -> dict[str, Any]:
        await asyncio.sleep(5)
        return {"log": ["late"]}

    started = time.monotonic()
    try:
        for node in (slow, async_slow):
            with pytest.raises(NodeTimeoutError) as caught:
                lane.invoke(one(node, timeout=timeout), {})
            assert (caught.value.node, caught.value.kind, caught.value.timeout) == ("n", kind, 0.03)
    finally:
        release.set()
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("timeout", [0, -1, TimeoutPolicy])
def test_a_time_limit_is_positive(timeout: Any) -> None:
    with pytest.raises(InvalidConfigError, match="must be greater than 0"):
        StateGraph(S).add_node("n", function, timeout=timeout if timeout in (0, -1) else timeout(idle_timeout=0))


# ---------------------------------------------------------------------- error handlers


def boom(state: Any) -> dict[str, Any]:
    raise ValueError("boom")


def handled(state: S, error: NodeError) -> dict[str, Any]:
    return {"log": ["handled", state.get("x"), error.node, str(error.error)]}


def with_handler(handler: Any, action: Any = boom, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    """Return the builder of a -> b, where a has an error handler, and fin, which only a command can reach."""
    a = (action, {"error_handler": handler, "destinations": ["fin"], **options})
    return build({"a": a, **letters("b"), "fin": says("fin")}, [(START, "a"), ("a", "b")])


def test_an_error_handler_runs_in_the_place_of_the_node(colour: Colour, lane: Lane) -> None:
    graph = with_handler(colour(handled), colour(boom)).compile()
    assert lane.stream(graph, {"x": 1}) == [{"__error_handler__a": {"log": ["handled", 1, "a", "boom"]}}]


def test_an_error_handler_may_go_on_elsewhere(lane: Lane) -> None:
    graph = with_handler(lambda state: Command(update={"log": ["h"]}, goto="fin")).compile()
    assert lane.stream(graph, {}) == [{"__error_handler__a": {"log": ["h"]}}, {"fin": {"log": ["fin"]}}]


def test_an_error_handler_waits_for_the_retries(lane: Lane) -> None:
    node, attempts = failing(9)
    assert lane.invoke(with_handler(handled, node, retry_policy=AT_ONCE).compile(), {})["log"][0] == "handled"
    assert attempts == [1, 2, 3]
    node, attempts = failing(1)
    assert lane.invoke(with_handler(handled, node, retry_policy=AT_ONCE).compile(), {})["log"] == [2, "b"]


def test_a_failing_error_handler_fails_the_run(lane: Lane) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        lane.invoke(with_handler(lambda state: 1 / 0).compile(), {})
    assert "'__error_handler__a'" in "".join(caught.value.__notes__)
    assert isinstance(caught.value.__context__, ValueError), "what it was to handle is kept"


def test_an_error_handler_is_not_told_of_questions(lane: Lane, thread: dict[str, Any]) -> None:
    graph = with_handler(handled, lambda s: {"log": [interrupt("q")]}).compile(InMemorySaver())
    assert lane.invoke(graph, {}, thread)["__interrupt__"][0].value == "q"
    assert lane.invoke(graph, Command(resume="answer"), thread)["log"] == ["answer", "b"]


def test_an_error_handler_may_ask_a_question(saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]) -> None:
    graph = with_handler(lambda state, error: {"log": [str(error.error), interrupt("go on?")]}).compile(saver)
    assert lane.invoke(graph, {}, thread)["__interrupt__"][0].value == "go on?"
    assert lane.invoke(graph, Command(resume="yes"), thread)["log"] == ["boom", "yes"]


def test_an_error_handler_is_given_the_packet_of_its_node(lane: Lane) -> None:
    handler = lambda packet, error: {"log": [packet, str(error.error)]}  # noqa: E731
    graph = build({"n": (boom, {"error_handler": handler})}, [])
    graph.add_conditional_edges(START, lambda s: [Send("n", i) for i in range(2)], ["n"])
    assert lane.invoke(graph.compile(), {})["log"] == [0, "boom", 1, "boom"]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (one(boom), "boom"),
        (lambda s: {"lgo": 1}, "'lgo'"),
        (lambda s: threading.Event().wait(5), "exceeded its run timeout"),
    ],
    ids=["nested graph", "bad update", "time limit"],
)
def test_an_error_handler_takes_every_failure_of_its_node(action: Any, message: str, lane: Lane) -> None:
    graph = with_handler(handled, action, timeout=0.03).compile()
    assert message in lane.invoke(graph, {})["log"][-1]


def test_a_command_to_the_parent_is_no_failure(lane: Lane) -> None:
    inner = one(lambda s: Command(graph=Command.PARENT, goto="fin"))
    assert lane.invoke(with_handler(handled, inner).compile(), {})["log"] == ["b", "fin"]


def test_a_finished_error_handler_is_not_run_again(
    saver: BaseCheckpointSaver, lane: Lane, thread: dict[str, Any]
) -> None:
    ran: list[str] = []
    handler_done = threading.Event()

    def handler(state: Any) -> dict[str, Any]:
        ran.append("handler")
        handler_done.set()
        return {"log": ["h"]}

    def sibling(state: Any) -> dict[str, Any]:
        ran.append("sibling")
        assert handler_done.wait(5)
        if ran.count("sibling") == 1:
            threading.Event().wait(0.02)
            raise KeyError("sibling")
        return {"log": ["s"]}

    graph = side_by_side({"a": (boom, {"error_handler": handler}), "s": sibling}).compile(saver)
    with pytest.raises(KeyError):
        lane.invoke(graph, {}, thread)
    chunks = lane.stream(graph, None, thread)
    assert chunks == [{"__error_handler__a": {"log": ["h"]}}, {"s": {"log": ["s"]}}]
    assert sorted(ran) == ["handler", "sibling", "sibling"]


# ---------------------------------------------------------------------- caches and metadata


def test_a_cached_node_runs_once_for_the_same_input(colour: Colour, lane: Lane) -> None:
    ran: list[Any] = []

    def node(state: S) -> dict[str, Any]:
        ran.append(state.get("x"))
        return {"log": ["c"]}

    graph = row({"n": (colour(node), {"cache_policy": CachePolicy()})}).compile(cache=InMemoryCache())
    fresh, cached = {"n": {"log": ["c"]}}, {"n": {"log": ["c"]}, "__metadata__": {"cached": True}}
    assert [lane.stream(graph, {"x": x}) for x in (1, 1, 2)] == [[fresh], [cached], [fresh]]
    lane.call(graph, "clear_cache")
    assert lane.stream(graph, {"x": 1}) == [fresh]
    assert ran == [1, 2, 1]


def test_a_cached_command_goes_where_it_went(lane: Lane) -> None:
    node: Any = (
        lambda s: Command(update={"log": ["n"]}, goto="end"),
        {"cache_policy": CachePolicy(), "destinations": ["end"]},
    )
    graph = build({"n": node, "end": says("end")}, [(START, "n")]).compile(cache=InMemoryCache())
    assert [lane.invoke(graph, {})["log"] for _ in range(2)] == [["n", "end"]] * 2


@pytest.mark.parametrize(
    ("policy", "ran"),
    [
        (CachePolicy(key_func=lambda state: str(state["x"] % 2)), [0, 1]),
        (CachePolicy(ttl=60), [0, 1, 2]),
        (CachePolicy(ttl=1e-9), [0, 1, 0, 2]),
    ],
)
def test_what_a_cache_policy_says_about_keys_and_time(policy: CachePolicy, ran: list[int], lane: Lane) -> None:
    seen: list[int] = []
    graph = row({"n": (lambda s: seen.append(s["x"]), {"cache_policy": policy})}).compile(cache=InMemoryCache())
    for x in (0, 1, 0, 2):
        lane.invoke(graph, {"x": x})
    assert seen == ran


def test_failures_and_questions_are_not_cached(lane: Lane, thread: dict[str, Any]) -> None:
    node, attempts = failing(1)
    graph = row({"n": (node, {"cache_policy": CachePolicy()})}).compile(cache=InMemoryCache())
    with pytest.raises(ConnectionError):
        lane.invoke(graph, {})
    assert [lane.invoke(graph, {})["log"] for _ in range(2)] == [[2]] * 2
    assert len(attempts) == 2
    asking = {"n": (lambda s: {"log": [interrupt("q")]}, {"cache_policy": CachePolicy()})}
    graph = row(asking).compile(InMemorySaver(), cache=InMemoryCache())
    assert lane.invoke(graph, {}, thread)["__interrupt__"][0].value == "q"
    assert lane.invoke(graph, Command(resume="A"), thread)["log"] == ["A"]


def test_a_cache_policy_without_a_cache_is_no_obstacle(lane: Lane) -> None:
    graph = one(function, cache_policy=CachePolicy())
    assert [lane.stream(graph, {}) for _ in range(2)] == [[{"n": {"log": ["ran"]}}]] * 2
    with pytest.raises(InvalidConfigError, match="No cache is set"):
        lane.call(graph, "clear_cache")


def test_a_node_s_metadata_is_in_its_start_chunk(lane: Lane) -> None:
    graph = one(function, metadata={"owner": "desk"})
    assert lane.stream(graph, {}, stream_mode="tasks")[0]["metadata"] == {"owner": "desk"}
