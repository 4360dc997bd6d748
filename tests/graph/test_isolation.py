"""What nodes and consumers do to the state in place stays with them (W44); what is stored is what was seen.

Here one level deep; tests/runtime/test_in_place.py goes further down.
"""

from __future__ import annotations

import contextlib
import operator
import threading
from copy import deepcopy
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Lane
from tests.graph.kit import one, row, side_by_side
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import InvalidUpdateError


class Listed(TypedDict, total=False):
    log: list[Any]
    table: dict[str, Any]
    seen: Annotated[list[Any], operator.add]


class Folding(Listed):
    log: Annotated[list[Any], operator.add]  # type: ignore[misc]


def hack(state: Any) -> None:
    """Change containers of the state in place."""
    state["log"].append("hack")
    state["table"]["hack"] = 1


def fresh() -> dict[str, Any]:
    return {"log": ["in"], "table": {"in": 0}}


@pytest.mark.parametrize("schema", [Folding, Listed], ids=["reducer", "plain"])
def test_w44_what_a_node_changes_in_place_stays_with_it(schema: type, lane: Lane) -> None:
    given = fresh()
    with contextlib.suppress(InvalidUpdateError):  # refusing is as good as isolating
        assert lane.invoke(one(hack, schema), given) == {**fresh(), "seen": []}
    assert given == fresh()


def test_w44_a_sibling_and_the_next_node_do_not_see_it(lane: Lane) -> None:
    hacked = threading.Event()

    def hacking(state: Any) -> None:
        try:
            hack(state)
        finally:
            hacked.set()

    def look(state: Any) -> dict[str, Any]:
        assert hacked.wait(5)
        return {"seen": [state["log"] == ["in"] and state["table"] == {"in": 0}]}

    graph = side_by_side({"hack": hacking, "look": look, "next": (look, {"defer": True})}, Listed)
    graph.add_edge("look", "next")
    with contextlib.suppress(InvalidUpdateError):
        assert lane.invoke(graph.compile(), fresh())["seen"] == [True, True]


def test_w44_a_consumer_of_chunks_does_not_change_the_run(lane: Lane) -> None:
    seen: list[Any] = []

    def look(state: Any) -> None:
        seen.append({key: deepcopy(state[key]) for key in fresh()})

    lane.consume(hack, row({"a": look, "b": look}, Listed).compile(), fresh(), stream_mode="values")
    assert seen == [fresh()] * 2


# ---------------------------------------------------------------------- what is stored is what was seen

Change = st.one_of(
    st.tuples(st.just("grow"), st.lists(st.integers(0, 3), max_size=20)),
    st.tuples(st.sampled_from(["drop", "bump", "bump in place", "grow in place", "start over"]), st.integers(0, 5)),
)


def changed(items: list[dict[str, int]], change: tuple[str, Any]) -> list[dict[str, int]]:
    """Change a list in one of the ways reducers do, tidy ones and others."""
    what, how = change
    if what == "grow":
        return [*items, *({"n": n} for n in how)]
    if what == "drop":
        return items[:how] + items[how + 1 :]
    if what == "bump":
        return [{"n": item["n"] + (i == how)} for i, item in enumerate(items)]
    if what == "bump in place":
        for item in items[how:]:
            item["n"] += 1
    elif what == "grow in place":
        items.append({"n": how})
    else:
        items = [{"n": how}]
    return items


class Changing(TypedDict):
    items: Annotated[list[Any], changed]


@given(changes=st.lists(Change, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_is_stored_is_what_was_seen_whatever_the_reducer_does(changes: list[Any]) -> None:
    graph = one(lambda s: {"items": ("grow", [9])}, Changing).builder.compile(InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    seen = []
    for change in changes:
        seen.append(deepcopy(graph.invoke({"items": change}, thread)))
        assert graph.get_state(thread).values == seen[-1]
    ends = [h.values for h in graph.get_state_history(thread) if not h.next]
    assert ends[::-1] == seen
