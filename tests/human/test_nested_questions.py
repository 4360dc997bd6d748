"""Questions of programs that are nested in others: they reach the root, and their answers find the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.types import Command, interrupt


def joined(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *right]


class State(TypedDict, total=False):
    log: Annotated[list[Any], joined]


def graph_of(*nodes: Any, **options: Any) -> Any:
    """Make a graph of nodes that run one after the other."""
    builder = StateGraph(State)
    builder.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    builder.add_edge(START, "n0")
    return builder.compile(**options)


INPUT: Any = {"log": []}


def test_a_question_two_graphs_below_reaches_the_root(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    ran: list[str] = []

    def before(state: Any) -> None:
        ran.append("before")

    def ask(state: Any) -> Any:
        ran.append("ask")
        return {"log": [interrupt("deep?")]}

    bottom = graph_of(before, ask)
    root = graph_of(lambda state: ran.append("top"), graph_of(before, bottom), checkpointer=saver)
    result = lane.invoke(root, INPUT, thread)
    assert [question.value for question in result["__interrupt__"]] == ["deep?"]
    state = lane.state(root, thread, subgraphs=True)
    assert [q.value for q in state.interrupts] == ["deep?"]
    assert state.tasks[0].state.next == ("n1",)
    assert lane.invoke(root, Command(resume="yes"), thread)["log"] == ["yes"]
    assert ran == ["top", "before", "before", "ask", "ask"]


@pytest.mark.parametrize("memory", [None, True, False], ids=["inherits", "remembers", "keeps nothing"])
def test_a_child_asks_whatever_it_keeps(lane: Lane, saver: Any, thread: Any, memory: bool | None) -> None:
    ran: list[str] = []

    @task
    def first() -> str:
        ran.append("first")
        return "done"

    @entrypoint(checkpointer=memory)
    def inner(x: int) -> Any:
        return [first().result(), interrupt("q")]

    outer = entrypoint(checkpointer=saver)(lambda x: inner.invoke(x))
    lane.invoke(outer, 1, thread)
    assert lane.invoke(outer, Command(resume="a"), thread) == ["done", "a"]
    assert ran == ["first"] * (2 if memory is False else 1)  # what keeps nothing starts over


def test_children_called_one_after_the_other_ask_in_turn(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    inner = entrypoint()(lambda x: interrupt(f"q{x}"))
    outer = entrypoint(checkpointer=saver)(lambda n: [inner.invoke(i) for i in range(n)])
    assert lane.invoke(outer, 3, thread)["__interrupt__"][0].value == "q0"
    for i in (1, 2):
        assert lane.invoke(outer, Command(resume=f"a{i - 1}"), thread)["__interrupt__"][0].value == f"q{i}"
    assert lane.invoke(outer, Command(resume="a2"), thread) == ["a0", "a1", "a2"]


def test_children_with_the_same_question_get_their_own_answers(lane: Lane, saver: Any, thread: Any) -> None:
    inner = entrypoint()(lambda x: interrupt("q"))
    outer = entrypoint(checkpointer=saver)(lambda n: [inner.invoke(i) for i in range(n)])
    ids = [lane.invoke(outer, 2, thread)["__interrupt__"][0].id]
    ids += [lane.invoke(outer, Command(resume="first"), thread)["__interrupt__"][0].id]
    assert lane.invoke(outer, Command(resume="second"), thread) == ["first", "second"]
    assert ids[0] != ids[1]


def test_parallel_children_ask_together(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    inner = entrypoint()(lambda x: [x, interrupt(x)])
    call = task(lambda x: inner.invoke(x), name="call")
    outer = entrypoint(checkpointer=saver)(lambda x: [f.result() for f in [call("a"), call("b")]])
    ids = {q.value: q.id for q in lane.invoke(outer, 1, thread)["__interrupt__"]}
    assert set(ids) == {"a", "b"}
    answers = {ids["a"]: 1, ids["b"]: 2}
    assert lane.invoke(outer, Command(resume=answers), thread) == [["a", 1], ["b", 2]]


def test_children_that_run_at_once_ask_together(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    ran: list[int] = []

    @task
    async def slow(x: int) -> None:
        await asyncio.sleep(0.02 * x)
        ran.append(x)

    @entrypoint()
    async def inner(x: int) -> Any:
        await slow(x)
        return [x, interrupt(x)]

    @entrypoint(checkpointer=saver)
    async def outer(n: int) -> Any:
        return await asyncio.gather(*(inner.ainvoke(i) for i in range(n)))

    ids = {q.value: q.id for q in lane.invoke(outer, 2, thread)["__interrupt__"]}
    assert set(ids) == {0, 1}
    answers = {ids[0]: "a", ids[1]: "b"}
    assert lane.invoke(outer, Command(resume=answers), thread) == [[0, "a"], [1, "b"]]
    assert ran == [0, 1]


def test_parent_and_child_ask_one_after_the_other(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    inner = graph_of(lambda state: {"log": [interrupt("inner?")]})

    def node(state: Any) -> Any:
        first = interrupt("before?")
        found = inner.invoke({"log": []})["log"]
        return {"log": [first, *found, interrupt("after?")]}

    outer = graph_of(node, checkpointer=saver)
    asked = [lane.invoke(outer, INPUT, thread)["__interrupt__"][0].value]
    asked += [lane.invoke(outer, Command(resume=i), thread)["__interrupt__"][0].value for i in (1, 2)]
    assert asked == ["before?", "inner?", "after?"]
    assert lane.invoke(outer, Command(resume=3), thread)["log"] == [1, 2, 3]


def test_the_question_of_a_child_is_shown_with_its_namespace(lane: Lane, thread: Any) -> None:
    inner = graph_of(lambda state: {"log": [interrupt("q")]})
    outer = graph_of(inner, checkpointer=InMemorySaver())
    chunks = lane.stream(outer, INPUT, thread, subgraphs=True)
    (child, root) = [(ns, chunk["__interrupt__"][0].value) for ns, chunk in chunks]
    assert child[0][0].startswith("n0:")
    assert (child[1], root) == ("q", ((), "q"))


@pytest.mark.parametrize("wrap", [lambda fn: fn, lambda fn: task(fn)], ids=["body", "task"])
def test_except_exception_around_a_child_does_not_swallow_its_question(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any, wrap: Callable[..., Any]
) -> None:
    inner = entrypoint()(lambda x: interrupt("q"))

    def careful(x: int) -> Any:
        try:
            return inner.invoke(x)
        except Exception as error:
            return f"swallowed {error!r}"

    unit = wrap(careful)
    outer = entrypoint(checkpointer=saver)(lambda x: unit(x) if unit is careful else unit(x).result())
    assert "__interrupt__" in lane.invoke(outer, 1, thread)
    assert lane.invoke(outer, Command(resume="a"), thread) == "a"


def test_a_child_on_a_thread_and_saver_of_its_own_is_a_run_of_its_own(lane: Lane, thread: Any) -> None:
    """Its question is its result, not a question of the caller."""
    inner = entrypoint(checkpointer=InMemorySaver())(lambda x: interrupt("q"))
    own: Any = {"configurable": {"thread_id": "own"}}

    @entrypoint(checkpointer=InMemorySaver())
    def outer(x: int) -> Any:
        (question,) = inner.invoke(x, own)["__interrupt__"]
        return [question.value, inner.invoke(Command(resume="a"), own)]

    assert lane.invoke(outer, 1, thread) == ["q", "a"]
