"""Hostile ids, filters and limits, given to each backend, which must all accept, refuse and find the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from scripts.trials.races import appending, backends, places
from scripts.trials.trial import Figure, Scale, Trial

from twinstep.errors import TwinstepError
from twinstep.store.memory import InMemoryStore
from twinstep.testing.conformance.writer import put, thread

VALUES: list[Any] = [
    None, True, 0, 1, -1, 1.5, math.nan, math.inf, 2**63, 2**128, 10**5000, b"1", (), [], ["1"], {}, {"a": 1}, object(),
    "", " ", "1 ", "01", "a", "A", "é", "e\u0301", "ß", "💡", "\u202e", "\ufeff1", "\n",
    "a\0b", "\0", "\ud800", "a\udc80b", "'", '"', "`", "\\", ";", "--", "%", "_", "*", "?", "%s", "$1", ":x",
    "{}", "{0}", "/", "../..", "|", ":", "null", "NaN", "' OR '1'='1", "' OR 1=1 --", "$.a", "a' || 'b",
    "1'; DROP TABLE twinstep_threads; --", "' UNION SELECT blob FROM twinstep_records --", "a') = 'a' OR ('1' = '1",
    "x' AND randomblob(1e9) --", "'; SELECT pg_sleep(9); --", "twinstep_heads",
    "x" * 2048, "x" * 2049, "é" * 1025, "x" * 1_000_000, "\0" * 1_000_000, "'" * 1_000_000, {"a": "x" * 1_000_000},
]  # fmt: skip
SECRET = "the secret"


def _put(saver: Any, config: Any, metadata: Any = None) -> Any:
    put(saver, config, metadata, x=1)
    return saver.get(config)["channel_values"]


SAVER: dict[str, Callable[[Any, Any], Any]] = {  # those that read many threads come first
    "before": lambda saver, v: list(saver.list(thread("1"), before=thread("1", checkpoint_id=v))),
    "limit": lambda saver, v: len(list(saver.list(thread("1"), limit=v))),
    "filter": lambda saver, v: [each.metadata.get("a") for each in saver.list(None, filter=v)],
    "value of a filter": lambda saver, v: [each.metadata["a"] for each in saver.list(None, filter={"a": v})],
    "key of a filter": lambda saver, v: len(list(saver.list(None, filter={v: 1}))),
    "checkpoint_id": lambda saver, v: saver.get_tuple(thread("1", checkpoint_id=v)) and "found",
    "run_id to delete": lambda saver, v: saver.delete_for_runs([v]),
    "run_id": lambda saver, v: _put(saver, thread("run"), {"run_id": v}),
    "run_id of a run": lambda saver, v: appending(saver).invoke({"log": [1]}, {**thread("2"), "run_id": v})["log"][-1],
    "task_id": lambda saver, v: saver.put_writes(put(saver, thread("task"), x=1), [("x", 2)], v),
    "thread_id": lambda saver, v: _put(saver, thread(v)),
    "thread_id of a run": lambda saver, v: appending(saver).invoke({"log": [1]}, thread(v)),
    "checkpoint_ns": lambda saver, v: _put(saver, thread("ns", checkpoint_ns=v)),
    "thread_id to delete": lambda saver, v: saver.delete_thread(v),
    "thread_id to copy": lambda saver, v: saver.copy_thread(v, "copy"),
    "thread_id to copy to": lambda saver, v: saver.copy_thread("1", v),
    "thread_ids to prune": lambda saver, v: saver.prune(v),
    "thread_id to prune": lambda saver, v: saver.prune([v]),
}
STORE: dict[str, Callable[[Any, Any], Any]] = {
    "key": lambda store, v: (store.put(("a",), v, {"x": 1}), store.get(("a",), v).value)[1],
    "namespace": lambda store, v: (store.put(v, "k", {"x": 1}), store.get(v, "k").value)[1],
    "label of a namespace": lambda store, v: (store.put((v,), "k", {"x": 1}), store.get((v,), "k").value)[1],
    "prefix": lambda store, v: len(store.search((v,))),
    "filter": lambda store, v: len(store.search((), filter=v)),
    "value of a filter": lambda store, v: len(store.search(("b",), filter={"a": v})),
    "key of a filter": lambda store, v: len(store.search(("b",), filter={v: 1})),
    "limit": lambda store, v: len(store.search(("b",), limit=v)),
    "offset": lambda store, v: len(store.search(("b",), offset=v)),
    "ttl": lambda store, v: store.put(("t",), "k", {"x": 1}, ttl=v),
    "value": lambda store, v: (store.put(("v",), "k", {"x": v}), store.get(("v",), "k").value["x"] == v)[1],
    "key to delete": lambda store, v: store.delete(("a",), v),
}


def hostile_to_savers(scale: Scale) -> Iterator[Figure]:
    """Hostile ids, filters and limits, given to the savers of the three backends."""

    def prepare(saver: Any) -> None:
        put(saver, thread("secret"), {"owner": "me"}, text=SECRET)
        for n in range(3):
            put(saver, thread("1"), {"a": n}, x=n)

    def intact(saver: Any) -> bool:
        found = saver.get_tuple(thread("secret"))
        return found is not None and found.checkpoint["channel_values"] == {"text": SECRET}

    with backends() as open_saver:
        yield from _compared(SAVER, {name: make() for name, make in open_saver.items()}, prepare, intact)


def hostile_to_stores(scale: Scale) -> Iterator[Figure]:
    """Hostile namespaces, keys, filters and limits, given to the stores of the three backends."""
    from twinstep.store.postgres import PostgresStore
    from twinstep.store.sqlite import SqliteStore

    def prepare(store: Any) -> None:
        store.put(("secret",), "k", {"owner": "me", "text": SECRET})
        for n in range(3):
            store.put(("b",), f"{n}", {"a": n})

    def intact(store: Any) -> bool:
        return bool(store.get(("secret",), "k").value["text"] == SECRET)

    with places() as (file, url), SqliteStore(file) as sqlite, PostgresStore(url) as postgres:
        yield from _compared(
            STORE, {"memory": InMemoryStore(), "sqlite": sqlite, "postgres": postgres}, prepare, intact
        )


def _compared(
    calls: dict[str, Callable[[Any, Any], Any]],
    places: dict[str, Any],
    prepare: Callable[[Any], None],
    intact: Callable[[Any], bool],
) -> Iterator[Figure]:
    """Make every call with every value on every backend."""
    raw = apart = leaks = 0
    for place in places.values():
        prepare(place)
    for call in calls.values():
        for value in VALUES:
            said = {name: _outcome(call, place, value) for name, place in places.items()}
            raw += sum(each.startswith("raw") for each in said.values())
            apart += len(set(said.values())) > 1
            leaks += sum(SECRET in each or "'me'" in each for each in said.values())
        leaks += sum(not intact(place) for place in places.values())
    tried = len(calls) * len(VALUES)
    yield Figure("errors that are not typed", raw, 0, tried * len(places))
    yield Figure("calls on which the backends disagree", apart, 0, tried)
    yield Figure("something of others found, changed or removed", leaks, 0, tried * len(places))


def _outcome(call: Callable[[Any, Any], Any], place: Any, value: Any) -> str:
    """Return what came of a call, so that it can be compared."""
    try:
        return repr(call(place, value))
    except TwinstepError as error:
        return f"refused: {type(error).__name__}"
    except Exception as error:
        no_key = "unhashable" in str(error)  # which does not reach the library
        return "no key" if no_key else f"raw {error!r}"


TRIALS: list[Trial] = [hostile_to_savers, hostile_to_stores]
