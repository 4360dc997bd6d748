"""The surprises of the reference in streams and stores (behaviour.md, section 11), mended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Lane
from tests.warts.kit import one_node
from twinstep.config import get_stream_writer
from twinstep.errors import InvalidConfigError, InvalidNamespaceError
from twinstep.store.memory import InMemoryStore


@pytest.mark.parametrize("options", [{"stream_mode": "nonsense"}, {"durability": "nonsense"}])
def test_w41_unknown_modes_are_refused(lane: Lane, saver: Any, thread: Any, options: Any) -> None:
    with pytest.raises(InvalidConfigError, match="nonsense"):
        lane.stream(one_node(lambda state: None, checkpointer=saver), {"x": 0}, thread, **options)


def test_w42_a_tuple_of_modes_is_a_list_of_modes(lane: Lane) -> None:
    chunks = lane.stream(one_node(lambda state: {"x": 1}), {"x": 0}, stream_mode=("updates", "custom"))
    assert chunks == [("updates", {"a": {"x": 1}})]


def test_w55_custom_events_of_a_child_reach_its_caller(lane: Lane) -> None:
    child = one_node(lambda state: get_stream_writer()("from the child"))
    assert lane.stream(one_node(child), {"x": 0}, stream_mode="custom") == ["from the child"]


def test_w60_every_superstep_shows_its_values(lane: Lane) -> None:
    chunks = lane.stream(one_node(lambda state: None), {"x": 0}, stream_mode="values")
    assert chunks == [{"x": 0, "log": []}, {"x": 0, "log": []}]


@pytest.mark.parametrize("namespace", ["abc", (), ("a", ""), ("a.b",), ("a", 1)])
def test_w34_a_namespace_that_cannot_be_is_refused(lane: Lane, namespace: Any) -> None:
    store = InMemoryStore()
    with pytest.raises(InvalidNamespaceError):
        lane.call(store, "put", namespace, "k", {})
    assert lane.call(store, "list_namespaces") == []


def test_w35_values_are_copied_in_and_out(lane: Lane) -> None:
    store, given = InMemoryStore(), {"list": [1]}
    lane.call(store, "put", ("a",), "k", given)
    given["list"].append(2)
    lane.call(store, "get", ("a",), "k").value["list"].append(3)
    assert lane.call(store, "get", ("a",), "k").value == {"list": [1]}


def test_w58_none_matches_no_missing_key(lane: Lane) -> None:
    store = InMemoryStore()
    lane.call(store, "put", ("a",), "with", {"k": None})
    lane.call(store, "put", ("a",), "without", {})
    assert [item.key for item in lane.call(store, "search", ("a",), filter={"k": None})] == ["with"]


def test_w58_a_query_without_an_index_is_refused(lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match="index"):
        lane.call(InMemoryStore(), "search", ("a",), query="tea")
