"""What every cache does, in both lanes."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from twinstep.cache.base import BaseCache
from twinstep.cache.memory import InMemoryCache
from twinstep.errors import EncodingError, InvalidNamespaceError

Call = Callable[..., Any]
A, B, C = (("ns", "a"), "k"), (("ns", "b"), "k"), (("ns",), "k")


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, cache: BaseCache[Any]) -> Call:
    """Call a method of the cache by its name, in both lanes."""

    def run(method: str, *args: Any) -> Any:
        if request.param == "sync":
            return getattr(cache, method)(*args)
        return asyncio.run(getattr(cache, "a" + method)(*args))

    return run


def test_set_get_clear(call: Call) -> None:
    call("set", {A: (1, None), B: ([2], None), C: (None, None)})
    assert call("get", [A, B, C, (("ns",), "other")]) == {A: 1, B: [2], C: None}
    call("clear", [("ns", "a"), ("nobody",)])
    assert call("get", [A, B, C]) == {B: [2], C: None}
    call("clear", [])
    assert call("get", [B, C]) == {B: [2], C: None}
    call("clear")
    assert call("get", [A, B, C]) == {}


def test_values_are_copies(call: Call) -> None:
    value = {"x": [1], "pair": (1, 2)}
    call("set", {A: (value, None)})
    value["x"].append(2)  # type: ignore[attr-defined]
    call("get", [A])[A]["x"].append(3)
    assert call("get", [A]) == {A: {"x": [1], "pair": (1, 2)}}


def test_values_expire_and_can_be_set_again(call: Call) -> None:
    call("set", {A: (1, 60), B: (2, 60), C: (3, 0)})
    assert call("get", [A, B, C]) == {A: 1, B: 2}
    call("set", {A: (1, 0.02)})
    time.sleep(0.03)
    assert call("get", [A, B]) == {B: 2}
    call("set", {A: (4, None)})
    assert call("get", [A]) == {A: 4}


def test_what_cannot_be_encoded_is_refused_and_nothing_is_kept(call: Call) -> None:
    with pytest.raises(EncodingError):
        call("set", {A: (1, None), B: (threading.Lock(), None)})
    assert call("get", [A, B]) == {}


def test_a_single_namespace_in_place_of_a_list_is_refused(call: Call) -> None:
    call("set", {A: (1, None)})
    with pytest.raises(InvalidNamespaceError, match="list of tuples"):
        call("clear", ("ns", "a"))
    assert call("get", [A]) == {A: 1}


def test_expired_values_free_their_memory() -> None:
    class Data(bytes):
        alive = 0

        def __init__(self, _: Any) -> None:
            Data.alive += 1

        def __del__(self) -> None:
            Data.alive -= 1

    class Counting:
        def dumps(self, obj: bytes, /) -> bytes:
            return Data(obj)

        def loads(self, data: bytes, /) -> bytes:
            return bytes(data)

    cache = InMemoryCache[bytes](serde=Counting())
    cache.set({(("keep",), "k"): (b"kept", None)})
    for n in range(2_000):
        cache.set({(("ns",), str(n)): (b"x", 0)})
    assert Data.alive <= 512
    assert cache.get([(("keep",), "k")]) == {(("keep",), "k"): b"kept"}


def test_threads_share_a_cache(cache: BaseCache[Any]) -> None:
    def work(name: str) -> None:
        for n in range(300):
            cache.set({((name,), str(n)): (n, None), (("all",), str(n)): (n, 0.001)})
            cache.get([(("all",), str(n))])
            cache.clear([("nobody",)])

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache.get([((f"t{t}",), str(n)) for t in range(4) for n in range(300)])) == 1200


def test_a_cache_that_may_wait_leaves_the_event_loop_free() -> None:
    class Waiting(InMemoryCache[int]):
        blocking = True

        def get(self, keys: Any) -> Any:
            used.append(threading.get_ident())
            return super().get(keys)

    used: list[int] = []
    assert asyncio.run(Waiting().aget([A])) == {}
    assert used != [threading.get_ident()]
