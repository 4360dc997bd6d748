"""What a node does to the state in place, at any depth and size, stays with it (W44): others see what is stored."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter, OrderedDict, defaultdict, deque
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinstep.channels import UntrackedValue
from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph
from twinstep.pregel.isolation import Contents, own
from twinstep.types import Command, Overwrite, RetryPolicy, Send, interrupt

MANY = 300


class State(TypedDict, total=False):
    tree: dict[str, Any]
    rows: Annotated[list[Any], operator.add]
    seen: Annotated[list[Any], operator.add]


def given_state(rows: int = 2) -> Any:
    more = [{"n": n} if n % 2 else {"n": n, "tags": [{"tag": n}]} for n in range(2, rows)]
    return {"tree": {"a": {"b": [1, {"c": {2}}]}}, "rows": [{"tags": ["x"]}, [["y"]], *more]}


def hack(state: Any) -> None:
    """Change everything in place that can be reached."""
    state["tree"]["a"]["b"][1]["c"].add(3)
    state["tree"]["a"]["b"].append("hack")
    state["tree"]["a"]["hack"] = 1
    state["rows"][0]["tags"].append("hack")
    state["rows"][1][0][0] = "hack"
    state["rows"][-1]["hack"] = 1


def look(state: Any) -> dict[str, Any]:
    return {"seen": [deepcopy({key: state[key] for key in ("tree", "rows")})]}


def row(*nodes: Any) -> Any:
    names = [(f"n{i}", node) for i, node in enumerate(nodes)]
    return StateGraph(State).add_sequence(names).add_edge(START, "n0")


@pytest.mark.parametrize("rows", [3, MANY])
def test_the_next_node_the_caller_and_the_record_do_not_see_it(lane, saver, thread, rows):
    graph = row(hack, look, hack, look).compile(saver)
    input = given_state(rows)
    result = lane.invoke(graph, input, thread)
    assert result == {**given_state(rows), "seen": [given_state(rows)] * 2}
    assert input == given_state(rows)
    assert lane.state(graph, thread).values == result


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_resumed_run_sees_what_was_seen_before(lane, saver, thread, durability):
    def ask(state: Any) -> Any:
        hack(state)
        return {"seen": [interrupt("?")]}

    graph = row(hack, ask, look).compile(saver)
    lane.invoke(graph, given_state(3), thread, durability=durability)
    result = lane.invoke(graph, Command(resume="yes"), thread, durability=durability)
    assert result["seen"] == ["yes", given_state(3)]


@pytest.mark.parametrize("rows", [3, MANY])
def test_paths_and_consumers_do_not_change_the_state(lane, saver, thread, rows):
    def path(state: Any) -> str:
        hack(state)
        return "wait"

    def take(chunk: Any) -> None:
        mode, data = chunk
        for part in (data,) if mode == "values" else (data.get("a"), data.get("input"), data.get("result")):
            spoil(part)

    build = StateGraph(State).add_node("a", lambda s: given_state(3)).add_node("wait", lambda s: None)
    build.add_node("look", look).add_edge(START, "a").add_conditional_edges("a", path, ["wait"])
    graph = build.add_edge("wait", "look").compile(saver)
    expected = {**given_state(rows), "rows": given_state(rows)["rows"] + given_state(3)["rows"]}
    lane.consume(take, graph, given_state(rows), thread, stream_mode=["values", "updates", "tasks"])
    for _ in range(2):
        assert lane.state(graph, thread).values == {**expected, "seen": [expected]}
        for state in [lane.state(graph, thread), *lane.history(graph, thread)]:
            for values in (state.values, *(task.result for task in state.tasks)):
                spoil(values)


def test_a_consumer_that_changes_the_input_it_is_shown_does_not_change_the_nodes(thread):
    seen: list[Any] = []

    async def run() -> None:
        shown = asyncio.Event()

        async def node(state: Any) -> None:
            await asyncio.wait_for(shown.wait(), 5)
            seen.append(state["rows"])

        async for chunk in row(node).compile().astream(given_state(3), stream_mode="tasks"):
            spoil(chunk.get("input"))
            shown.set()

    asyncio.run(run())
    assert seen == [given_state(3)["rows"]]


def spoil(values: Any) -> None:
    """Change in place what can be reached of some values."""
    if isinstance(values, dict) and "tree" in values and "rows" in values:
        hack(values)


def test_a_container_that_a_node_returns_may_be_the_one_that_it_was_given(lane, saver, thread):
    def edit(state: Any) -> Any:
        state["tree"]["a"]["b"].append("new")
        return {"tree": state["tree"]}

    graph = row(edit, edit).compile(saver)
    result = lane.invoke(graph, given_state(), thread)
    assert result["tree"] == {"a": {"b": [1, {"c": {2}}, "new", "new"]}}
    assert lane.state(graph, thread).values == result


def test_what_is_done_afterwards_to_what_was_returned_or_passed_does_not_reach_the_state(lane, saver, thread):
    given, update, command = (given_state(n) for n in (MANY, 5, 6))
    returned: list[Any] = []

    def returns(state: Any) -> Any:
        hack(given)
        returned.append(given_state(3))
        replaces = bool(state["seen"])
        return {**returned[-1], "rows": Overwrite(returned[-1]["rows"])} if replaces else returned[-1]

    def spoils(state: Any) -> None:
        hack(returned[-1])

    graph = row(returns, spoils, look).compile(saver)
    first = lane.invoke(graph, given, thread)["seen"][0]
    assert first == {"tree": given_state()["tree"], "rows": given_state(MANY)["rows"] + given_state(3)["rows"]}
    lane.update(graph, thread, update, as_node="n0")
    hack(update)
    expected = {**first, "rows": first["rows"] + given_state(5)["rows"]}
    assert lane.invoke(graph, None, thread)["seen"][1] == expected

    def hacks(state: Any) -> None:
        hack(command)

    again = row(hacks, look).compile(saver)
    expected = {**first, "rows": expected["rows"] + given_state(6)["rows"]}
    assert lane.invoke(again, Command(update=command, goto="n0"), thread)["seen"][2] == expected
    assert lane.invoke(graph, {}, thread)["seen"][3] == given_state(3)


def test_packets_with_one_payload_do_not_share_it(lane):
    def take(payload: Any) -> Any:
        payload["rows"].append("hack")
        return {"seen": [len(payload["rows"])]}

    payload = {"rows": [1]}
    build = StateGraph(State).add_node("take", take)
    graph = build.add_conditional_edges(START, lambda s: [Send("take", payload)] * 3, ["take"]).compile()
    assert lane.invoke(graph, {"seen": []})["seen"] == [2, 2, 2]
    assert payload == {"rows": [1]}


def test_a_nested_graph_works_on_a_state_of_its_own(lane, saver, thread):
    graph = row(row(hack, look).compile(), look).compile(saver)
    assert lane.invoke(graph, given_state(MANY), thread)["seen"] == [given_state(MANY)] * 2


def test_the_next_attempt_does_not_see_what_the_one_before_it_did(lane):
    seen: list[Any] = []

    def fail_twice(state: Any) -> None:
        seen.extend(look(state)["seen"])
        hack(state)
        if len(seen) < 3:
            raise ConnectionError

    policy = RetryPolicy(max_attempts=3, initial_interval=0)
    graph = StateGraph(State).add_node(fail_twice, retry_policy=policy).add_edge(START, "fail_twice").compile()
    lane.invoke(graph, given_state(3))
    assert seen == [given_state(3)] * 3


def test_an_entrypoint_works_on_copies_of_its_input_and_of_what_it_saved(lane, saver, thread):
    before: list[Any] = []

    @entrypoint(checkpointer=saver, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0))
    def flow(input: Any, previous: Any) -> Any:
        before.append(deepcopy((input, previous)))
        hack(input)
        if previous:
            hack(previous)
            interrupt("?")
            if len(before) == 3:
                raise ConnectionError
        return entrypoint.final(value=previous, save=given_state(3))

    lane.invoke(flow, given_state(3), thread, durability="exit")
    lane.invoke(flow, given_state(4), thread, durability="exit")
    spoilt = given_state(3)
    hack(spoilt)
    assert lane.invoke(flow, Command(resume=1), thread) == spoilt
    assert before[1:3] == [(given_state(4), given_state(3))] * 2
    assert [previous for _, previous in before] == [None, *[given_state(3)] * 3]


@dataclass
class Shared:
    items: list[str]


class Holding(State, total=False):
    shared: Annotated[Any, UntrackedValue]


def test_objects_of_other_classes_are_shared_with_what_they_hold(lane):
    """The limit: what is in them is changed for everybody."""
    seen: list[Any] = []

    def change(state: Any) -> None:
        state["shared"]["object"].items.append("seen")
        state["shared"]["tuple"][0].append("seen")

    names = [("change", change), ("look", lambda state: seen.append(state["shared"]))]
    graph = StateGraph(Holding).add_sequence(names).add_edge(START, "change").compile()
    lane.invoke(graph, {"shared": {"object": Shared([]), "tuple": ([],)}})
    assert seen == [{"object": Shared(["seen"]), "tuple": (["seen"],)}]


# ---------------------------------------------------------------------- copies

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


def is_separate(copy: Any, value: Any) -> bool:
    """Tell whether a copy is equal and shares no container."""
    return copy == value and not {id(c) for c in containers(copy)} & {id(c) for c in containers(value)}


@given(st.lists(trees, max_size=4) | st.dictionaries(st.text(max_size=2), trees, max_size=4))
def test_a_copy_is_equal_and_shares_no_container(value):
    copy = own(value)
    assert is_separate(copy, value)
    assert type(copy) is type(value)


rows = st.dictionaries(st.text(max_size=2), st.integers() | st.text(max_size=2), max_size=2)


@given(st.lists(st.lists(rows, max_size=3) | st.lists(trees, max_size=3), max_size=5), st.integers(0, 20))
def test_what_is_known_of_a_list_stays_true_while_it_grows(parts, many):
    known, value = Contents(), list[Any]()
    for part in parts:
        known, value = known.grown(), value + part
        assert is_separate(known.copy(value), value)
        assert known.is_plain(value) == Contents().is_plain(value)
    many = min(many, len(value))
    first = known.first(many)
    assert is_separate(first.copy([*value[:many], {"a": [1]}]), [*value[:many], {"a": [1]}])


def test_what_is_in_itself_is_so_in_its_copy_and_depth_and_number_of_paths_do_not_matter():
    ring: Any = {"rows": [{"n": [1]}]}
    ring["self"] = [ring]
    copy = own(ring)
    assert copy["rows"][0] == ring["rows"][0]
    assert copy["rows"][0]["n"] is not ring["rows"][0]["n"]
    assert copy["self"][0] is copy
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert own(deep) is not deep
    wide: Any = []
    for _ in range(60):  # 2 ** 60 paths
        wide = [wide, wide]
    assert own(wide)[0] is not wide[0]


@pytest.mark.parametrize(
    "value",
    [{1}, deque([[1]], 3), defaultdict(list, a=[1]), OrderedDict(a=[1]), Counter("aab"), bytearray(b"a")],
    ids=lambda value: type(value).__name__,
)
def test_containers_of_the_standard_library_are_copied_as_what_they_are(value):
    copy = own({"value": value})["value"]
    assert (copy, type(copy)) == (value, type(value))
    assert copy is not value
    assert getattr(copy, "maxlen", 3) == 3
    inner = [item for item in (value.values() if isinstance(value, dict) else value) if isinstance(item, list)]
    copied = [item for item in (copy.values() if isinstance(copy, dict) else copy) if isinstance(item, list)]
    assert not {*map(id, inner)} & {*map(id, copied)}
