"""Times to live, on every backend and in both lanes."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from twinstep.errors import InvalidConfigError
from twinstep.store.backend import BackendStore
from twinstep.store.base import GetOp, PutOp, SearchOp
from twinstep.store.expiry import Expiry

Open = Callable[..., BackendStore]
NS = ("n",)
BRIEF = 0.06 / 60
"""Minutes; long beside what a call takes."""


def wait_out(store: BackendStore, key: str) -> None:
    """Wait until an item has expired."""
    deadline = time.monotonic() + 5
    while store.batch([GetOp(NS, key, refresh_ttl=False)]) != [None]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_w58_expired_items_are_gone_before_they_are_swept(open_store: Open) -> None:
    store = open_store(ttl={"default_ttl": BRIEF})
    store.put(NS, "default", {})
    store.put(NS, "long", {}, ttl=60)
    store.put(NS, "ever", {}, ttl=None)
    store.put(("other",), "k", {})
    wait_out(store, "default")
    wait_out_other = time.monotonic() + 5
    while store.search(("other",), refresh_ttl=False):
        assert time.monotonic() < wait_out_other
    assert [item.key for item in store.search(())] == ["long", "ever"]
    assert [item.key for item in store.search((), filter={"x": {"$exists": False}})] == ["long", "ever"]
    assert store.list_namespaces() == [NS]
    assert store.sweep_ttl() == 2
    assert store.sweep_ttl() == 0


def test_expired_items_can_be_shown_until_they_are_swept(open_store: Open) -> None:
    store = open_store(ttl={"omit_expired": False, "refresh_on_read": False})
    store.put(NS, "k", {}, ttl=1e-9)
    store.put(NS, "l", {})
    time.sleep(0.001)
    assert [item.key for item in store.search(())] == ["k", "l"]
    assert store.get(NS, "k")
    assert asyncio.run(store.asweep_ttl()) == 1
    assert [item.key for item in store.search(())] == ["l"]


def test_an_expired_item_that_is_written_again_is_a_new_one(open_store: Open) -> None:
    store = open_store()
    store.put(NS, "k", {"n": 1}, ttl=1e-9)
    time.sleep(0.001)
    store.put(NS, "k", {"n": 2})
    first = store.get(NS, "k")
    assert first
    assert first.created_at == first.updated_at
    store.put(NS, "k", {"n": 3}, ttl=60)
    second = store.get(NS, "k")
    assert second
    assert second.created_at == first.created_at < second.updated_at
    assert store.sweep_ttl() == 0


@pytest.mark.parametrize(
    ("config", "read", "lives"),
    [
        ({}, lambda store: store.get(NS, "k"), True),
        ({}, lambda store: store.get(NS, "k", refresh_ttl=False), False),
        ({"refresh_on_read": False}, lambda store: store.get(NS, "k"), False),
        ({"refresh_on_read": False}, lambda store: store.get(NS, "k", refresh_ttl=True), True),
        ({}, lambda store: store.search(()), True),
        ({}, lambda store: store.search((), refresh_ttl=False), False),
        ({"refresh_on_read": False}, lambda store: store.batch([SearchOp((), refresh_ttl=True)]), True),
        ({}, lambda store: store.search((), limit=0), False),
        ({}, lambda store: store.list_namespaces(), False),
    ],
)
def test_reading_starts_the_time_anew(
    open_store: Open, config: Any, read: Callable[[BackendStore], Any], lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0]
    for module in ("memory", "database"):
        monkeypatch.setattr(f"twinstep.store.{module}.now", lambda: clock[0])
    store = open_store(ttl=config)
    store.put(NS, "k", {}, ttl=10)
    clock[0] = 6 * 60_000_000
    read(store)
    clock[0] = 12 * 60_000_000
    assert (store.get(NS, "k", refresh_ttl=False) is not None) is lives
    assert store.sweep_ttl() == (not lives)


def test_the_sweeper_removes_what_has_expired(open_store: Open) -> None:
    store = open_store(ttl={"omit_expired": False, "sweep_interval_minutes": 0.01 / 60})
    store.batch([PutOp(NS, str(n), {}, ttl=1e-9) for n in range(5)])
    ended = store.start_ttl_sweeper()
    assert store.start_ttl_sweeper() is ended
    deadline = time.monotonic() + 5
    while store.search((), refresh_ttl=False):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert store.stop_ttl_sweeper(timeout=5)
    assert ended.done()
    assert store.start_ttl_sweeper(60) is not ended
    assert store.stop_ttl_sweeper()
    assert store.stop_ttl_sweeper()


def test_sweeping_takes_the_vectors_along(open_store: Open) -> None:
    store = open_store(index={"dims": 1, "embed": lambda texts: [[1.0]] * len(texts)})
    store.put(NS, "k", {}, ttl=1e-9)
    time.sleep(0.001)
    assert store.sweep_ttl() == 1
    store.put(NS, "k", {}, index=False)
    assert [item.score for item in store.search((), query="x")] == [None]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"default": 5}, "Did you mean 'default_ttl'"),
        ({"default_ttl": 0}, "above 0"),
        ({"sweep_interval_minutes": "5"}, "above 0"),
        ({"omit_expired": 1}, "True or False"),
    ],
)
def test_bad_ttl_configs_are_refused(config: Any, message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        Expiry(config)
