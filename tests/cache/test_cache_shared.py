"""What caches of several processes do beyond the contract."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any, TypedDict

import pytest

from twinstep.cache.base import BaseCache
from twinstep.cache.redis import RedisCache
from twinstep.cache.shared import SharedCache
from twinstep.cache.sqlite import SqliteCache
from twinstep.errors import InvalidConfigError, StorageError
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.types import CachePolicy

KEY = (("ns",), "k")
RUNS: list[int] = []
"""What has run; not captured by the functions, for what they capture is part of their identity."""


def again(cache: BaseCache[Any]) -> BaseCache[Any]:
    """Return what another process would open; the same, for memory."""
    if isinstance(cache, RedisCache):
        return RedisCache(cache.redis)
    if isinstance(cache, SqliteCache):
        return SqliteCache(path=cache._db._path)
    return cache


def test_another_process_finds_what_was_kept(cache: BaseCache[Any]) -> None:
    cache.set({KEY: ({"x": (1, {2})}, 60)})
    assert again(cache).get([KEY]) == {KEY: {"x": (1, {2})}}
    again(cache).clear([("ns",)])
    assert cache.get([KEY]) == {}


@pytest.mark.parametrize(
    "part", ["*", "a?b", "[x]", "\\", "a:b", '"', "\0", "\ud800", "💡", "", "<locals>.f"], ids=ascii
)
def test_any_text_is_a_namespace_and_a_key(cache: BaseCache[Any], part: str) -> None:
    pairs = {((part,), "k"): 1, ((part, "x"), "k"): 2, (("other",), part): 3, (("aXb",), "k"): 4, ((), "k"): 5}
    cache.set({key: (value, None) for key, value in pairs.items()})
    assert cache.get(list(pairs)) == pairs
    cache.clear([(part,)])
    assert cache.get(list(pairs)) == {key: value for key, value in pairs.items() if value != 1}


def test_a_cached_task_and_node_run_once_over_all_processes(cache: BaseCache[Any]) -> None:
    RUNS.clear()

    @task(cache_policy=CachePolicy(ttl=60))
    def square(n: int) -> int:
        RUNS.append(n)
        return n * n

    class State(TypedDict):
        n: int

    async def node(state: State) -> State:
        RUNS.append(-1)
        return {"n": state["n"] + 1}

    def program(cache: BaseCache[Any]) -> Any:
        @entrypoint(cache=cache)
        def main(n: int) -> int:
            return square(n).result() + square(n).result()

        return main

    def graph(cache: BaseCache[Any]) -> Any:
        builder = StateGraph(State).add_node("node", node, cache_policy=CachePolicy())
        return builder.add_edge(START, "node").add_edge("node", END).compile(cache=cache)

    for _ in range(2):
        assert program(again(cache)).invoke(3) == 18
        assert asyncio.run(program(again(cache)).ainvoke(3)) == 18
        assert graph(again(cache)).invoke({"n": 1}) == {"n": 2}
        assert asyncio.run(graph(again(cache)).ainvoke({"n": 1})) == {"n": 2}
    assert RUNS == [3, -1]
    square.clear_cache(cache)
    graph(cache).clear_cache(["node"])
    assert program(again(cache)).invoke(3) == 18
    assert graph(again(cache)).invoke({"n": 1}) == {"n": 2}
    assert RUNS == [3, -1, 3, -1]


def test_w59_threads_and_loops_run_the_same_call_once(cache: BaseCache[Any]) -> None:
    runs, gate = [], threading.Event()

    @task(cache_policy=CachePolicy())
    def slow(n: int) -> int:
        runs.append(n)
        gate.wait(0.2)
        return n

    @entrypoint(cache=cache)
    async def main(n: int) -> int:
        return sum(await asyncio.gather(slow(n), slow(n)))

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(main.ainvoke(9)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [18] * 3
    assert runs == [9]


def test_a_cache_that_fails_is_a_cache_that_is_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    redis = pytest.importorskip("redis")
    at_once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    (tmp_path / "no.sqlite").write_bytes(b"this is no database at all, but a text of some length" * 99)
    broken: list[SharedCache[Any]] = [
        RedisCache(redis.Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=at_once)),
        SqliteCache(path=tmp_path / "no.sqlite"),
        SqliteCache(path=tmp_path / "missing" / "cache.sqlite"),
    ]
    for cache in broken:
        with caplog.at_level(logging.WARNING, logger="twinstep"):
            cache.set({KEY: (1, None)})
            assert cache.get([KEY]) == {}
        assert [record.getMessage().split(":")[0] for record in caplog.records] == [
            "Nothing was kept in the cache",
            "Nothing was found in the cache",
        ]
        caplog.clear()
        with pytest.raises(StorageError):
            cache.clear()


def test_a_value_that_cannot_be_read_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Raw:
        def dumps(self, obj: bytes, /) -> bytes:
            return obj

        def loads(self, data: bytes, /) -> bytes:
            return data

    SqliteCache[bytes](path=tmp_path / "c.sqlite", serde=Raw()).set({KEY: (b"\xc1", None)})
    with caplog.at_level(logging.WARNING, logger="twinstep"):
        assert SqliteCache[Any](path=tmp_path / "c.sqlite").get([KEY]) == {}
    assert "cannot be read" in caplog.text


def test_clients_that_cannot_serve_are_refused() -> None:
    redis = pytest.importorskip("redis")
    import redis.asyncio as redis_async

    with pytest.raises(InvalidConfigError, match="asynchronous callers are served by it too"):
        RedisCache(redis_async.Redis())  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigError, match="without decode_responses"):
        RedisCache(redis.Redis(decode_responses=True))


def test_expired_values_leave_the_file(tmp_path: Path) -> None:
    cache = SqliteCache[int](path=tmp_path / "c.sqlite")
    cache.set({(("ns",), str(n)): (n, 0) for n in range(50)})
    cache.set({KEY: (1, None)})
    assert cache._db._execute("SELECT count(*) FROM twinstep_cache").fetchone() == (1,)
