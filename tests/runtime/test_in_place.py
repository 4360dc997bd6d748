"""What a node does to the state in place, at any depth, stays with it (W44): what is stored is what others see."""

from __future__ import annotations

import operator
from copy import deepcopy
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinstep.graph import START, StateGraph
from twinstep.pregel.isolation import MANY, is_nested, own
from twinstep.types import Command, interrupt


class State(TypedDict, total=False):
    tree: dict[str, Any]
    rows: Annotated[list[Any], operator.add]
    seen: Annotated[list[Any], operator.add]


def given_state() -> Any:
    return {"tree": {"a": {"b": [1, {"c": {2}}]}}, "rows": [{"tags": ["x"]}, [["y"]]]}


def hack(state: Any) -> None:
    """Change everything in place that can be reached."""
    state["tree"]["a"]["b"][1]["c"].add(3)
    state["tree"]["a"]["b"].append("hack")
    state["tree"]["a"]["hack"] = 1
    state["rows"][0]["tags"].append("hack")
    state["rows"][1][0][0] = "hack"


def look(state: Any) -> dict[str, Any]:
    return {"seen": [deepcopy({key: state[key] for key in ("tree", "rows")})]}


def row(*nodes: Any) -> Any:
    names = [(f"n{i}", node) for i, node in enumerate(nodes)]
    return StateGraph(State).add_sequence(names).add_edge(START, "n0")


def test_the_next_node_the_caller_and_the_record_do_not_see_it(lane, saver, thread):
    graph = row(hack, look, hack, look).compile(saver)
    input = given_state()
    result = lane.invoke(graph, input, thread)
    assert result == {**given_state(), "seen": [given_state()] * 2}
    assert input == given_state()
    assert lane.state(graph, thread).values == result


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_resumed_run_sees_what_was_seen_before(lane, saver, thread, durability):
    def ask(state: Any) -> Any:
        hack(state)
        return {"seen": [interrupt("?")]}

    graph = row(hack, ask, look).compile(saver)
    lane.invoke(graph, given_state(), thread, durability=durability)
    result = lane.invoke(graph, Command(resume="yes"), thread, durability=durability)
    assert result["seen"] == ["yes", given_state()]


def test_paths_and_consumers_do_not_change_the_state(lane, saver, thread):
    def path(state: Any) -> str:
        hack(state)
        return "look"

    build = StateGraph(State).add_node("a", lambda s: None).add_node("look", look)
    graph = build.add_edge(START, "a").add_conditional_edges("a", path, ["look"]).compile(saver)
    for chunk in graph.stream(given_state(), thread, stream_mode="values"):
        hack(chunk)
    assert lane.state(graph, thread).values["seen"] == [given_state()]
    hack(lane.state(graph, thread).values)
    assert lane.state(graph, thread).values["seen"] == [given_state()]


def test_a_container_that_a_node_returns_may_be_the_one_that_it_was_given(lane, saver, thread):
    def edit(state: Any) -> Any:
        state["tree"]["a"]["b"].append("new")
        return {"tree": state["tree"]}

    graph = row(edit, edit).compile(saver)
    result = lane.invoke(graph, given_state(), thread)
    assert result["tree"] == {"a": {"b": [1, {"c": {2}}, "new", "new"]}}
    assert lane.state(graph, thread).values == result


def test_only_the_outermost_of_a_large_container_is_copied(lane, thread):
    """The limit: beyond it a change in place further down is seen by others; the outermost is always a copy."""
    seen: list[Any] = []
    graph = row(lambda s: s["rows"].clear(), lambda s: seen.append(len(s["rows"]))).compile()
    lane.invoke(graph, {"rows": [[n] for n in range(MANY + 1)]})
    assert seen == [MANY + 1]
    assert not is_nested([[n] for n in range(MANY + 1)])
    assert is_nested([[n] for n in range(MANY - 1)])
    circle: list[Any] = []
    circle.append(circle)
    assert not is_nested(circle)


trees = st.recursive(
    st.integers() | st.text(max_size=3) | st.tuples(st.integers()) | st.frozensets(st.integers(), max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)


def containers(value: Any) -> list[Any]:
    """Return the lists and dicts in a value, itself included."""
    if not isinstance(value, list | dict):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(found for item in inner for found in containers(item))]


@given(st.lists(trees, max_size=4) | st.dictionaries(st.text(max_size=2), trees, max_size=4))
def test_a_copy_is_equal_and_shares_no_container(value):
    copy = own(value)
    assert copy == value
    assert type(copy) is type(value)
    assert not {id(c) for c in containers(copy)} & {id(c) for c in containers(value)}
    assert is_nested(value) == (1 < len(containers(value)) <= MANY)
