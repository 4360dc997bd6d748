"""`AsyncBatchedBaseStore`: what is asked for in one turn of the event loop is one batch."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import Any

import pytest

from twinstep.errors import InvalidConfigError, StorageError
from twinstep.store.base import Op, PutOp, Result
from twinstep.store.base.batch import AsyncBatchedBaseStore
from twinstep.store.memory import InMemoryStore


class Joined(AsyncBatchedBaseStore):
    """A store of a user, which keeps the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = InMemoryStore()
        self.batches: list[list[Op[Any]]] = []

    async def abatch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        self.batches.append(list(ops))
        await asyncio.sleep(0)
        return await self.inner.abatch(self.batches[-1])


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on an event loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


@on_loop
async def test_calls_of_one_turn_are_one_batch_and_equal_reads_are_made_once() -> None:
    store = Joined()
    await asyncio.gather(*(store.aput(("a",), str(n), {"n": n}) for n in range(3)))
    one, same, other, listed, also_listed = await asyncio.gather(
        store.aget(("a",), "1"),
        store.aget(("a",), "1"),
        store.aget(("a",), "2"),
        store.asearch(("a",), filter={"n": {"$gte": 1}}),
        store.asearch(("a",), filter={"n": {"$gte": 1}}),
    )
    assert [len(batch) for batch in store.batches] == [3, 3]
    assert one == same
    assert (other.value, [item.key for item in listed]) == ({"n": 2}, ["1", "2"])  # type: ignore[union-attr]
    one.value["n"] = 9  # type: ignore[union-attr]
    listed[0].value["n"] = 9
    assert same.value == also_listed[0].value == {"n": 1}  # type: ignore[union-attr]


@on_loop
async def test_filters_that_compare_equal_in_python_only_are_two_searches() -> None:
    store = Joined()
    await store.aput(("a",), "one", {"k": 1})
    numbers, flags = await asyncio.gather(
        store.asearch(("a",), filter={"k": 1}), store.asearch(("a",), filter={"k": True})
    )
    assert (len(numbers), len(flags)) == (1, 0)


@on_loop
async def test_of_several_writes_of_a_key_the_last_is_made() -> None:
    store = Joined()
    await asyncio.gather(*(store.aput(("a",), "k", {"n": n}) for n in range(3)), store.adelete(("a",), "other"))
    assert [op.value for op in store.batches[0] if isinstance(op, PutOp)] == [{"n": 2}, None]
    assert (await store.aget(("a",), "k")).value == {"n": 2}  # type: ignore[union-attr]


@on_loop
async def test_an_error_reaches_every_caller_and_the_next_turn_works() -> None:
    store = Joined()
    put = store.aput(("a",), "k", {"n": 1})
    results = await asyncio.gather(put, store.asearch((), query="?"), return_exceptions=True)
    assert [type(result) for result in results] == [InvalidConfigError] * 2
    await store.aput(("a",), "k", {"n": 1})


@on_loop
async def test_who_is_cancelled_takes_nobody_along() -> None:
    store = Joined()
    await store.aput(("a",), "k", {"n": 1})
    gone, kept = (asyncio.ensure_future(store.aget(("a",), "k")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await kept).value == {"n": 1}  # type: ignore[union-attr]
    assert gone.cancelled()


@on_loop
async def test_other_threads_may_call_it_and_its_own_loop_may_not() -> None:
    store = Joined()
    await asyncio.to_thread(store.put, ("a",), "k", {"n": 1})
    assert (await asyncio.to_thread(store.get, ("a",), "k")).value == {"n": 1}  # type: ignore[union-attr]
    with pytest.raises(StorageError, match="aget"):
        store.get(("a",), "k")


def test_it_belongs_to_the_event_loop_that_it_was_made_in() -> None:
    async def make() -> Joined:
        return Joined()

    store = asyncio.run(make())
    with pytest.raises(StorageError, match="does not run"):
        store.get(("a",), "k")
    with pytest.raises(StorageError, match="another event loop"):
        asyncio.run(store.aget(("a",), "k"))
    with pytest.raises(RuntimeError):
        Joined()
