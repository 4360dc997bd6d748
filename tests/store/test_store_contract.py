"""What every store does, in both lanes."""

import asyncio
import threading
from array import array
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy
import pytest

from twinstep.errors import EncodingError, InvalidConfigError, InvalidNamespaceError
from twinstep.serde import register_type
from twinstep.store.base import BaseStore, GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchItem, SearchOp
from twinstep.store.filters import matcher, order_kind

Call = Callable[..., Any]
NS = ("users", "42")


def test_put_get_replace_delete(call: Call) -> None:
    before = datetime.now(UTC)
    assert call("get", NS, "k") is None
    assert call("put", NS, "k", {"a": 1}) is None
    first = call("get", NS, "k")
    call("put", NS, "k", {"b": 2})
    second = call("get", NS, "k")
    assert (first.namespace, first.key, first.value, second.value) == (NS, "k", {"a": 1}, {"b": 2})
    assert before <= first.created_at == first.updated_at == second.created_at <= second.updated_at
    assert first.created_at.utcoffset() == timedelta(0)
    assert first.dict() == {
        "namespace": ["users", "42"],
        "key": "k",
        "value": {"a": 1},
        "created_at": first.created_at.isoformat(),
        "updated_at": first.updated_at.isoformat(),
    }
    call("delete", NS, "k")
    call("delete", NS, "k")
    assert call("get", NS, "k") is None
    assert call("list_namespaces") == []


def test_w35_values_are_copied_in_and_out(call: Call) -> None:
    value = {"inner": [1]}
    call("put", NS, "k", value)
    value["inner"].append(2)
    call("get", NS, "k").value["inner"].append(3)
    call("search", ())[0].value["inner"].append(4)
    assert call("get", NS, "k").value == {"inner": [1]}


def test_search_goes_below_a_prefix_in_order_of_creation(call: Call) -> None:
    for namespace, key in [(("b", "x"), "1"), (("a",), "2"), (("b",), "3"), (("bb",), "4"), (("b", "x"), "5")]:
        call("put", namespace, key, {"n": key})
    call("put", ("b", "x"), "1", {"n": "again"})
    assert [item.key for item in call("search", ("b",))] == ["1", "3", "5"]
    assert [item.key for item in call("search", (), limit=2, offset=1)] == ["2", "3"]
    assert call("search", (), limit=0) == call("search", (), offset=9) == call("search", ("nobody",)) == []
    found = call("search", ("a",))[0]
    assert isinstance(found, SearchItem)
    assert found.dict()["score"] is None


@pytest.mark.parametrize(
    ("condition", "keys"),
    [
        ({}, "abcdef"),
        ({"n": 1}, "a"),
        ({"n": 1.0}, "a"),
        ({"n": True}, "b"),
        ({"n": None}, "c"),
        ({"n": {"$eq": 1}}, "a"),
        ({"n": {"$ne": 1}}, "bcdef"),
        ({"n": {"$ne": None}}, "abdef"),
        ({"n": {"$gt": 0}}, "ae"),
        ({"n": {"$gte": 1, "$lt": 2.5}}, "a"),
        ({"n": {"$lte": 2.5}}, "ae"),
        ({"n": {"$gte": "x"}}, "f"),
        ({"n": {"$in": [1, None]}}, "ac"),
        ({"n": {"$in": []}}, ""),
        ({"n": {"$exists": True}}, "abcef"),
        ({"n": {"$exists": False}}, "d"),
        ({"deep": {"x": [1, {"y": False}]}}, "e"),
        ({"deep": {"x": [1, {"y": 0}]}}, ""),
        ({"deep": {"x": [1]}}, ""),
        ({"$or": [{"n": 1}, {"n": "z"}]}, "af"),
        ({"$and": [{"n": {"$exists": True}}, {"$or": [{"n": None}, {"n": True}]}]}, "bc"),
        ({"$or": []}, ""),
        ({"n": {"$nin": [1, None]}}, "bdef"),
        ({"n": {"$not": {"$gt": 0}}}, "bcdf"),
        ({"$not": {"n": {"$exists": True}}}, "d"),
        ({"deep": {}}, "e"),
        ({"deep": {"$eq": {}}}, ""),
        ({"deep": {"x": {"$exists": True}, "y": {"$exists": False}}}, "e"),
        ({"n": {"x": 1}}, ""),
        ({"n": 2.5, "deep": {"$exists": True}}, "e"),
        ({"n": 1, "deep": {"$exists": True}}, ""),
    ],
)
def test_w58_filters(store: BaseStore, condition: dict[str, Any], keys: str) -> None:
    values: dict[str, dict[str, Any]] = {
        "a": {"n": 1},
        "b": {"n": True},
        "c": {"n": None},
        "d": {},
        "e": {"n": 2.5, "deep": {"x": (1, {"y": False})}},
        "f": {"n": "z"},
    }
    store.batch([PutOp(NS, key, value) for key, value in values.items()])
    assert "".join(item.key for item in store.search(NS, filter=condition)) == keys


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"n": {"$gtt": 1}}, r"field 'n': '\$gtt'.*Did you mean '\$gt"),
        ({"n": {"$gt": 1, "plain": 2}}, "Unknown operator for field 'n': 'plain'"),
        ({"$orr": []}, r"Did you mean '\$or'"),
        ({"$gt": 1}, "needs a field around it"),
        ({"$or": {"n": 1}}, "takes a list of filters"),
        ({"$and": [1]}, "must be a mapping"),
        ({1: 2}, "not a str"),
        ([("n", 1)], "must be a mapping"),
        ({"n": {"$gt": None}}, "a number or a str"),
        ({"n": {"$lte": True}}, "a number or a str"),
        ({"n": {"$in": "ab"}}, "a list of values"),
        ({"n": {"$exists": 1}}, "True or False"),
        ({"n": {"$nin": 1}}, "a list of values"),
        ({"n": {"$not": 1}}, "a mapping of operators"),
        ({"n": {"$not": {"$gtt": 1}}}, r"Did you mean '\$gt"),
        ({"n": {"deep": {"$inn": 1}}}, r"Did you mean '\$in'"),
        ({"n": {"deep": {1: 1}}}, "not a str"),
        ({"$not": [1]}, "must be a mapping"),
    ],
)
def test_bad_filters_are_refused(store: BaseStore, condition: Any, message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        store.search((), filter=condition)


def test_deep_filters_are_refused(store: BaseStore) -> None:
    deep: dict[str, Any] = {"$gt": 1}
    for _ in range(5_000):
        deep = {"$not": deep}
    conditions: list[dict[str, Any]] = [{"n": 1}] * 3
    for _ in range(5_000):
        conditions = [{"$and": [conditions[0]]}, {"$not": conditions[1]}, {"n": conditions[2]}]
    for condition in [*conditions, {"n": deep}]:
        with pytest.raises(InvalidConfigError, match=r"deeper than|a mapping of operators"):
            store.search((), filter=condition)


def test_list_namespaces(call: Call) -> None:
    for namespace in [("b", "x", "2"), ("a", "x", "1"), ("a", "y"), ("a",)]:
        call("put", namespace, "k", {})
    listed = lambda **options: call("list_namespaces", **options)  # noqa: E731
    assert listed() == [("a",), ("a", "x", "1"), ("a", "y"), ("b", "x", "2")]
    assert listed(prefix=("a",), suffix=("y",)) == [("a", "y")]
    assert listed(prefix=("*", "x")) == [("a", "x", "1"), ("b", "x", "2")]
    assert listed(suffix=("x", "*")) == [("a", "x", "1"), ("b", "x", "2")]
    assert listed(suffix=("z", "a", "y")) == []
    assert listed(max_depth=1) == [("a",), ("b",)]
    assert listed(max_depth=2, limit=2, offset=1) == [("a", "x"), ("a", "y")]


def test_reads_of_a_batch_see_what_was_before_it_and_the_last_write_of_a_key_counts(call: Call) -> None:
    reads = [GetOp(NS, "k"), SearchOp((), {"n": 1}), ListNamespacesOp((MatchCondition("prefix", ("*",)),))]
    first = [PutOp(NS, "k", {"n": 0}), PutOp(NS, "k", {"n": 1}), reads[0], PutOp(("b",), "k", {})]
    assert call("batch", [*first, *reads[1:], PutOp(("b",), "k", None)]) == [None, None, None, None, [], [], None]
    item, found, spaces, *rest = call("batch", [*reads, PutOp(NS, "k", None), PutOp(("b",), "k", {})])
    assert (item.value, [each.value for each in found], spaces, rest) == ({"n": 1}, [{"n": 1}], [NS], [None, None])
    assert call("batch", reads) == [None, [], [("b",)]]
    assert call("batch", []) == []


class CompactOp(Op[None]):
    """An operation that no store knows."""


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (CompactOp(), InvalidConfigError),
        ("get", InvalidConfigError),
        (SearchOp((), query="hello"), InvalidConfigError),
        (PutOp(NS, "lock", {"lock": threading.Lock()}), EncodingError),
    ],
)
def test_a_batch_with_a_refused_operation_changes_nothing(call: Call, bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call("batch", [PutOp(NS, "good", {}), bad])
    assert call("search", ()) == []


@pytest.mark.parametrize(
    "namespace",
    [
        "abc",
        ["a"],
        None,
        (),
        ("",),
        ("a.b",),
        (1,),
        ("a", None),
        ("twinstep", "x"),
        ("a\0",),
        ("\ud800",),
        ("a" * 1025,),
    ],
    ids=ascii,
)
def test_w34_namespaces_are_validated_everywhere(store: BaseStore, namespace: Any) -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: store.put(namespace, "k", {}),
        lambda: store.get(namespace, "k"),
        lambda: store.delete(namespace, "k"),
        lambda: store.batch([GetOp(namespace, "k")]),
        lambda: store.batch([PutOp(namespace, "k", {})]),
    ]
    if namespace != ():
        attempts += [lambda: store.search(namespace), lambda: store.batch([SearchOp(namespace)])]
    if namespace not in [(), None, ("twinstep", "x")]:
        attempts += [lambda: store.list_namespaces(prefix=namespace), lambda: MatchCondition("suffix", namespace)]
    for attempt in attempts:
        with pytest.raises(InvalidNamespaceError):
            attempt()
    assert store.list_namespaces() == []


@pytest.mark.parametrize("key", [None, 1, b"k", "a\0b", "\udfff", "k" * 1025, "é" * 513], ids=ascii)
def test_bad_keys_are_refused(store: BaseStore, key: Any) -> None:
    with pytest.raises(InvalidConfigError, match="Store key"):
        store.put(NS, key, {})


@pytest.mark.parametrize("key", ["", " ", "'; DROP TABLE store; --", "%", "k" * 1024, "💡" * 256, "a.b/c"], ids=ascii)
def test_any_other_text_is_a_key(store: BaseStore, key: str) -> None:
    store.put(NS, key, {"is": key})
    found = store.get(NS, key)
    assert found
    assert found.value == {"is": key}


@pytest.mark.parametrize("value", [None, 1, "text", [("a", 1)], {1: 2}])
def test_values_must_be_mappings_with_text_keys(store: BaseStore, value: Any) -> None:
    with pytest.raises(EncodingError):
        store.put(NS, "k", value)


@pytest.mark.parametrize(
    "options",
    [
        {"limit": -1},
        {"limit": None},
        {"limit": True},
        {"limit": 2**63},
        {"limit": 10**5000},
        {"offset": -1},
        {"offset": 1.5},
        {"query": 5},
    ],
    ids=",".join,
)
def test_bad_search_options_are_refused(store: BaseStore, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError, match=next(iter(options))):
        store.search((), **options)


@pytest.mark.parametrize("options", [{"max_depth": 0}, {"limit": "1"}, {"offset": -1}], ids=str)
def test_bad_listing_options_are_refused(store: BaseStore, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError, match=next(iter(options))):
        store.list_namespaces(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": 0},
        {"ttl": 2**63},
        {"ttl": "5"},
        {"ttl": float("nan")},
        {"index": True},
        {"index": [1]},
        {"index": ["a..b"]},
    ],
    ids=str,
)
def test_bad_put_options_are_refused(store: BaseStore, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError):
        store.put(NS, "k", {}, **options)


def test_an_unknown_match_type_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="Did you mean 'prefix'"):
        MatchCondition("prefx", ("a",))  # type: ignore[arg-type]


def test_threads_share_a_store(store: BaseStore) -> None:
    def work(name: str) -> None:
        for n in range(100):
            store.batch([PutOp((name,), str(n), {"n": n}), PutOp(("all",), "last", {"n": n})])
            store.search((), filter={"n": n})
            store.list_namespaces()

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.search((), limit=1000)) == 401


def test_a_backend_needs_only_batch() -> None:
    class Backend(BaseStore):
        def batch(self, ops: Any) -> list[Any]:
            seen.append((list(ops), threading.get_ident()))
            return [None]

    seen: list[tuple[list[Op[Any]], int]] = []
    backend = Backend()
    backend.put(NS, "k", {"a": 1}, ["a"], ttl=5)
    asyncio.run(backend.aput(NS, "k", {"a": 1}, ["a"], ttl=5))
    (sync_ops, here), (async_ops, there) = seen
    assert sync_ops == async_ops == [PutOp(NS, "k", {"a": 1}, ["a"], 5)]
    assert there != here


class Colour(StrEnum):
    """A str that is more than a str."""

    RED = "red"


register_type(Colour)

ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**53,
    2**53 + 1,
    2**70,
    -(2**70),
    1.5,
    float("inf"),
    float("nan"),
    -0.0,
    "",
    "1",
    "true",
    "null",
    "Ünïcødé 💡",
    "a\0b",
    "\ud800",
    "'; DROP TABLE x; --",
    "%s ? $1",
    b"1",
    [],
    [1],
    (1,),
    [1, [True]],
    {},
    {"a": None},
    {"a": {"b": 1}},
    {1},
    Decimal(1),
    Decimal("1.5"),
    datetime(2024, 5, 1, tzinfo=UTC),
    date(2024, 5, 1),
    Colour.RED,
    array("i", [1, 2]),
    numpy.array([1.5, 2]),
]
"""What users may keep in a field, and ask for."""


def _conditions_of(value: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"v": {"$eq": value}},
        {"v": {"$ne": value}},
        {"v": {"$in": [value, "other"]}},
        {"v": {"$nin": [value]}},
    ]
    if order_kind(value):
        found += [{"v": {symbol: value}} for symbol in ("$gt", "$gte", "$lt", "$lte")]
    return found if isinstance(value, dict) else [{"v": value}, *found]


def test_values_come_back_exactly_and_every_backend_filters_them_alike(store: BaseStore) -> None:
    store.batch([PutOp(NS, f"{n:02}", {"v": value, "\"' .$": n}) for n, value in enumerate(ODD_VALUES)])
    store.put(NS, "missing", {})
    for n, value in enumerate(ODD_VALUES):
        found = store.get(NS, f"{n:02}")
        assert found
        assert repr(found.value) == repr({"v": value, "\"' .$": n})
    every = [*({"v": value} for value in ODD_VALUES), {}]
    for condition in [each for value in ODD_VALUES for each in _conditions_of(value)] + [{"\"' .$": 3}, {"V": None}]:
        expected = [n for n, value in enumerate([*every[:-1], {}]) if matcher(condition)({**value, "\"' .$": n})]
        keys = [item.key for item in store.search(NS, filter=condition, limit=100)]
        assert keys == [f"{n:02}" if n < len(ODD_VALUES) else "missing" for n in expected], condition


def test_what_cannot_be_stored_is_named_with_its_place(store: BaseStore) -> None:
    with pytest.raises(EncodingError, match=r"value of 'k' in \('users', '42'\).*deep.*2"):
        store.put(NS, "k", {"deep": [1, 2, threading.Lock()]})
    assert store.get(NS, "k") is None


def test_pages_of_a_long_search_fit_together(store: BaseStore) -> None:
    spaces = [("a", "x"), ("a",), ("b",)]
    store.batch([PutOp(spaces[n % 3], str(n), {"n": n, "even": n % 2 == 0}) for n in range(1200)])
    for prefix, step in [((), 1), (("a",), 3), (("b",), 3), (("a", "x"), 3)]:
        every = [n for n in range(1200) if not prefix or spaces[n % 3][: len(prefix)] == prefix]
        for condition, wanted in [(None, every), ({"even": True}, [n for n in every if n % 2 == 0])]:
            found: list[int] = []
            while page := store.search(prefix, filter=condition, limit=350, offset=len(found)):
                found += [item.value["n"] for item in page]
            assert found == wanted, (prefix, condition, step)


def test_async_calls_of_one_loop_do_not_wait_for_each_other(store: BaseStore) -> None:
    async def main() -> int:
        await asyncio.gather(*(store.aput(NS, str(n), {"n": n}) for n in range(20)))
        return len(await store.asearch(NS, limit=100))

    assert asyncio.run(main()) == 20
    assert asyncio.run(main()) == 20
