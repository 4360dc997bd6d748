"""A store whose concurrent asynchronous calls are joined into batches."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Final, TypeAlias, TypeVar, cast

from twinstep.errors import EncodingError, StorageError
from twinstep.serde import Serializer
from twinstep.store.base import BaseStore, Op, PutOp, Result, SearchOp

__all__ = ["AsyncBatchedBaseStore"]

R_co = TypeVar("R_co", covariant=True)
_Asked: TypeAlias = tuple[Op[Any], "asyncio.Future[Any]"]
_serializer: Final = Serializer()


class AsyncBatchedBaseStore(BaseStore):
    """A store whose asynchronous calls of one turn of the event loop are one call of `abatch`.

    A subclass implements `abatch`. Operations that occur several times in a turn are passed on once: equal reads share
    one result, of which each caller gets a copy, and of several writes of one key only the last is made. As in any
    batch, reads see what there was before the writes, and when the batch fails every caller gets the error.

    The store belongs to the event loop in which it is made. Other threads may use the synchronous methods, which wait
    for that loop; on the loop itself they are refused, because they would wait for themselves.

    Raises:
        RuntimeError: it is made where no event loop runs.

    Example:
        >>> from twinstep.store.memory import InMemoryStore
        >>> class Joined(AsyncBatchedBaseStore):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner, self.sizes = InMemoryStore(), []
        ...     async def abatch(self, ops):
        ...         self.sizes.append(len(ops := list(ops)))
        ...         return await self.inner.abatch(ops)
        >>> async def main():
        ...     store = Joined()
        ...     await asyncio.gather(*(store.aput(("users",), key, {"n": 1}) for key in "abc"))
        ...     return store.sizes
        >>> asyncio.run(main())
        [3]
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Asked] = []
        self._turns: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def abatch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        """Apply operations and return their results in the same order; see `BaseStore.batch`."""

    def batch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        """Apply operations for a thread other than that of the event loop.

        Raises:
            StorageError: it is called on the event loop itself, or that loop does not run any more.
        """
        if _running_loop() is self._loop:
            raise StorageError(
                f"{type(self).__name__} was called synchronously on its own event loop, which would wait for itself. "
                "Await the method with the same name and an 'a' before it: aget, aput, asearch, abatch."
            )
        if not self._loop.is_running():
            raise StorageError(f"The event loop in which this {type(self).__name__} was made does not run any more.")
        return asyncio.run_coroutine_threadsafe(self.abatch(list(ops)), self._loop).result()

    async def _ado(self, op: Op[R_co]) -> R_co:
        if _running_loop() is not self._loop:
            raise StorageError(
                f"This {type(self).__name__} was made in another event loop. Make one in the loop that uses it."
            )
        result: asyncio.Future[Any] = self._loop.create_future()
        self._asked.append((op, result))
        if len(self._asked) == 1:
            self._loop.call_soon(self._begin_turn)
        return cast(R_co, await result)

    def _begin_turn(self) -> None:
        """Pass on what was asked for since the last turn."""
        asked = [(op, result) for op, result in self._asked if not result.done()]  # without what was cancelled
        self._asked = []
        if asked:
            turn = self._loop.create_task(self._answer(asked))
            self._turns.add(turn)  # the loop itself holds a task by a weak reference only
            turn.add_done_callback(self._turns.discard)

    async def _answer(self, asked: Sequence[_Asked]) -> None:
        ops, places = _distinct([op for op, _ in asked])
        try:
            found = await self.abatch(ops)
            if len(found) != len(ops):
                raise StorageError(f"{type(self).__name__}.abatch returned {len(found)} results for {len(ops)} ops.")
        except BaseException as error:
            for _, result in asked:
                if not result.done():
                    _fail(result, error)
            if not isinstance(error, Exception):
                raise
            return
        given = set[int]()
        for (_, result), place in zip(asked, places, strict=True):
            if not result.done():
                result.set_result(deepcopy(found[place]) if place in given else found[place])
                given.add(place)


def _fail(result: asyncio.Future[Any], error: BaseException) -> None:
    if isinstance(error, Exception):
        result.set_exception(error)
    else:
        result.cancel()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _distinct(ops: Sequence[Op[Any]]) -> tuple[list[Op[Any]], list[int]]:
    """Return operations without those that say the same, and for each of the given ones the place of its result."""
    kept: list[Op[Any]] = []
    by_meaning: dict[Any, int] = {}
    places = []
    for n, op in enumerate(ops):
        place = by_meaning.setdefault(_meaning(op, n), len(kept))
        if place == len(kept):
            kept.append(op)
        elif isinstance(op, PutOp):
            kept[place] = op
        places.append(place)
    return kept, places


def _meaning(op: Op[Any], n: int) -> Any:
    """Return what equal operations have in common; a write replaces the one before it of the same key."""
    if isinstance(op, PutOp):
        return PutOp, op.namespace, op.key
    if not isinstance(op, SearchOp):
        return op
    try:
        wanted = _serializer.digest(None if op.filter is None else dict(op.filter))  # 1 and True are not the same
    except EncodingError:
        return n
    return op.namespace_prefix, wanted, op.limit, op.offset, op.query, op.refresh_ttl
