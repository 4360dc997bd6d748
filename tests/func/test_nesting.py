"""Tasks, entrypoints and graphs inside each other: all nine pairs, deeper mixes, and questions from the bottom."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane, in_notebooks_too
from tests.func.bodies import PAINTS, Body, Child, Paint, coroutine, plain, within
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.types import Command, interrupt

KINDS = ["task", "entrypoint", "graph"]
Call = Callable[[Any], Any]
"""Makes what a body has to yield to get the result of a part."""


class State(TypedDict, total=False):
    value: Any


class Wide(TypedDict, total=False):
    found: Annotated[list[Any], operator.add]


def graph_of(node: Any, **options: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile(**options)


def part(kind: str, paint: Paint, body: Body) -> Call:
    """Make a task, entrypoint or graph of a body."""
    if kind == "task":
        return task(paint(body))
    if kind == "entrypoint":
        program = entrypoint()(paint(body))
        return lambda value: Child(program, value)

    def node(state: State) -> Any:
        return {"value": (yield from body(state["value"]))}

    graph = graph_of(paint(node))
    return lambda value: Child(graph, {"value": value})


def stack(kinds: tuple[str, ...], paints: tuple[Paint, ...], body: Body) -> Body:
    """Nest parts in each other, the last kind innermost around `body`; the result lists the kinds from the outside."""
    for kind, paint in zip(reversed(kinds), reversed(paints), strict=True):
        body = _caller(kind, part(kind, paint, body))
    return body


def _caller(kind: str, call: Call) -> Body:
    def body(value: Any) -> Any:
        result = yield call(value)
        return [kind, *(result["value"] if isinstance(result, dict) else result)]

    return body


def leaf(value: Any) -> Any:
    return [value]
    yield  # makes it a body


@in_notebooks_too
@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("outer", KINDS)
@pytest.mark.parametrize(("outside", "inside"), [*product(PAINTS, PAINTS)])
def test_every_kind_runs_inside_every_kind(lane: Lane, outer: str, inner: str, outside: Paint, inside: Paint) -> None:
    program = entrypoint()(outside(stack((outer, inner), (outside, inside), leaf)))
    assert within(5, lambda: lane.invoke(program, 1)) == [outer, inner, 1]


@pytest.mark.parametrize("paints", [(plain, coroutine, plain), (coroutine, plain, coroutine)], ids=["pcp", "cpc"])
@pytest.mark.parametrize("kinds", [*product(KINDS, repeat=3)], ids="-".join)
def test_three_levels_ask_at_the_bottom_and_resume_without_repeating_finished_tasks(
    lane: Lane, kinds: tuple[str, ...], paints: tuple[Paint, ...], thread: Any
) -> None:
    ran: list[Any] = []
    note = task(ran.append, name="note")

    def question(value: Any) -> Any:
        yield note(value)
        return [value, interrupt("go on?")]

    program = entrypoint(checkpointer=InMemorySaver())(paints[0](stack(kinds, paints, question)))
    asked = within(5, lambda: lane.invoke(program, 1, thread))
    assert [q.value for q in asked["__interrupt__"]] == ["go on?"]
    assert within(5, lambda: lane.invoke(program, Command(resume="yes"), thread)) == [*kinds, 1, "yes"]
    assert ran == [1]


def test_an_entrypoint_is_a_node_of_a_graph(lane: Lane, paint: Paint) -> None:
    double = task(lambda value: 2 * value, name="double")

    def body(state: State) -> Any:
        return {"value": (yield double(state["value"]))}

    graph = graph_of(entrypoint()(paint(body)))
    assert lane.invoke(graph, {"value": 4}) == {"value": 8}
    assert lane.stream(graph, {"value": 4}) == [{"node": {"value": 8}}]


@pytest.mark.parametrize("limit", [None, 1], ids=["unlimited", "one at a time"])
def test_tasks_nest_fifty_deep(lane: Lane, paint: Paint, limit: int | None) -> None:
    def body(n: int) -> Any:
        return 0 if n == 0 else 1 + (yield down(n - 1))

    down = task(paint(body), name="down")

    def root(n: int) -> Any:
        return (yield down(n))

    program = entrypoint()(paint(root))
    config = {} if limit is None else {"max_concurrency": limit}
    assert within(10, lambda: lane.invoke(program, 50, config)) == 50


def test_a_coroutine_that_calls_invoke_gets_the_result(lane: Lane) -> None:
    @task
    async def increment(x: int) -> int:
        return x + 1

    @entrypoint()
    async def inner(x: int) -> int:
        return await increment(x)

    @entrypoint()
    async def outer(x: int) -> int:
        return inner.invoke(x)

    assert within(5, lambda: lane.invoke(outer, 1)) == 2


@pytest.mark.parametrize(("memory", "seen"), [(None, [None, None]), (True, [None, 1]), (False, [None, None])])
def test_a_nested_entrypoint_remembers_only_when_it_is_told_to(
    lane: Lane, paint: Paint, thread: Any, memory: bool | None, seen: list[Any]
) -> None:
    found: list[Any] = []

    @entrypoint(checkpointer=memory)
    def inner(x: int, previous: int | None) -> int:
        found.append(previous)
        return x

    def body(x: int) -> Any:
        return (yield Child(inner, x))

    outer = entrypoint(checkpointer=InMemorySaver())(paint(body))
    assert [lane.invoke(outer, x, thread) for x in (1, 2)] == [1, 2]
    assert found == seen


def test_each_call_of_a_child_in_one_body_has_results_of_its_own(lane: Lane, paint: Paint, thread: Any) -> None:
    ran: list[int] = []

    @task
    def work(x: int) -> int:
        ran.append(x)
        return x

    def child(x: int) -> Any:
        return (yield work(x))

    inner = entrypoint()(paint(child))

    def body(x: int) -> Any:
        results = []
        for n in range(3):
            results.append((yield Child(inner, n)))  # noqa: PERF401  # a comprehension cannot yield
        return [*results, interrupt("more?")]

    outer = entrypoint(checkpointer=InMemorySaver())(paint(body))
    lane.invoke(outer, 0, thread)
    assert lane.invoke(outer, Command(resume="no"), thread) == [0, 1, 2, "no"]
    assert ran == [0, 1, 2]


def test_the_context_reaches_the_innermost_part(lane: Lane, paint: Paint) -> None:
    @task
    def who(runtime: Any = None) -> str:
        return runtime.context["name"]

    def last(value: Any) -> Any:
        return [(yield who())]

    program = entrypoint()(paint(stack(("graph", "task", "entrypoint"), (paint, paint, paint), last)))
    assert lane.invoke(program, 0, context={"name": "Ada"})[-1] == "Ada"


def test_an_error_carries_the_names_it_passed_through(lane: Lane, paint: Paint) -> None:
    @task
    def fragile(x: Any) -> None:
        raise ValueError(f"bad {x}")

    def last(value: Any) -> Any:
        yield fragile(value)

    program = entrypoint()(paint(stack(("graph", "entrypoint"), (paint, paint), last)))
    with pytest.raises(ValueError, match="bad 7") as caught:
        lane.invoke(program, 7)
    names = [note.split("'")[1] for note in caught.value.__notes__]
    assert names[0] == "fragile"
    assert "node" in names
    assert all("with name" in note and "and id" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("paint", PAINTS)
@pytest.mark.parametrize("limit", [None, 1])
def test_a_running_event_loop_as_in_a_notebook_may_call_synchronously(
    paint: Paint, kind: str, limit: int | None
) -> None:
    call = part(kind, paint, leaf)

    def wide(state: State) -> Any:
        result = yield call("leaf")
        return {"found": result["value"] if isinstance(result, dict) else result}

    builder = StateGraph(Wide).add_sequence([("first", paint(wide))])
    builder.add_node("second", paint(wide)).add_edge(START, "first").add_edge(START, "second")
    graph = builder.compile()

    @entrypoint()
    async def outer(x: int) -> Any:
        return graph.invoke({}), [graph.invoke({}) for _ in range(x)], graph.batch([{}, {}])

    async def cell() -> Any:
        options: Any = {"max_concurrency": limit}
        return graph.invoke({}, options), outer.invoke(1, options), await outer.ainvoke(1, options)

    one = {"found": ["leaf", "leaf"]}
    nested = (one, [one], [one, one])
    assert within(10, lambda: asyncio.run(cell())) == (one, nested, nested)


@pytest.mark.parametrize("colour", ["plain", "coroutine"])
def test_a_coroutine_may_block_its_loop_for_another_run(colour: str, lane: Lane, monkeypatch: Any) -> None:
    """The other run has coroutines too, and knows nothing of who waits for it: another private loop takes them."""
    monkeypatch.setattr("twinstep.pregel.portal.PATIENCE", 0.05)

    @task
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @entrypoint()
    async def other(x: int) -> int:
        return await later(x) + await later(1)

    @task
    async def blocks(x: int) -> int:
        with ThreadPoolExecutor(1) as pool:
            return int(pool.submit(other.invoke, x).result())

    def plain(x: int) -> int:
        return blocks(x).result()

    async def coroutine(x: int) -> int:
        return await blocks(x)

    flow: Any = entrypoint()(plain if colour == "plain" else coroutine)
    assert lane.invoke(flow, 2) == 3
