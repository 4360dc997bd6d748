"""What all stores of this library share: a batch is checked, encoded and embedded before a backend sees it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, Final

from twinstep.arguments import expect
from twinstep.errors import InvalidConfigError
from twinstep.serde import Serializer
from twinstep.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Namespace,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)
from twinstep.store.expiry import Expiry, Sweeper, TTLConfig, now
from twinstep.store.validate import check_ttl, short
from twinstep.store.vectors import Embedded, IndexConfig, Texts, Vector, VectorIndex, to_blob
from twinstep.threads import in_thread

_serializer: Final = Serializer()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Write:
    """One item to be written, or deleted when there is no data.

    Attributes:
        data: the encoded value.
        life: microseconds it lives, None for ever.
        terms: by which equality filters find it.
        texts: how many texts of it are embedded.
        vectors: theirs, as bytes.
    """

    namespace: Namespace
    key: str
    data: bytes | None
    life: int | None = None
    terms: Sequence[int] = ()
    texts: int = 0
    vectors: Sequence[bytes] = ()


@dataclass(slots=True)
class Batch:
    """Operations that a backend applies: first all reads, then all writes.

    Attributes:
        count: how many operations there were.
        reads: the reads with their positions.
        queries: the vectors of searches by their positions; None for a query without a direction.
        writes: the last write of each key.
        wanted: what has to be embedded for it.
    """

    count: int
    reads: list[tuple[int, GetOp | SearchOp | ListNamespacesOp]]
    queries: dict[int, Vector | None]
    writes: list[Write]
    wanted: Texts

    def take(self, embedded: Embedded) -> None:
        """Give the vectors to the operations that they belong to."""
        vectors = iter(embedded.texts)
        for write in self.writes:
            write.vectors = [to_blob(each) for each in islice(vectors, write.texts) if each is not None]
        self.queries = dict(zip(self.queries, embedded.queries, strict=True))


class BackendStore(BaseStore):
    """A store that encodes values with the library's own codec, so that what comes out is an exact copy.

    Args:
        index: makes values searchable by meaning. The embedding function is called before the batch is applied, with
            all texts at once; async callers await an async one on their own event loop.
        ttl: how long items live.
    """

    index_config: IndexConfig | None
    ttl_config: TTLConfig | None
    _index_keys: ClassVar[tuple[str, ...]] = ()
    """What only this kind of store can be told about its index."""

    def __init__(self, *, index: IndexConfig | None, ttl: TTLConfig | None) -> None:
        self.index_config, self.ttl_config = index, ttl
        self._index = VectorIndex(index, self._index_keys) if index is not None else None
        self._expiry = Expiry(ttl)
        self._sweeper = Sweeper(self.sweep_ttl)

    # ------------------------------------------------------------------ batches

    def batch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        """Apply operations; see `BaseStore.batch`."""
        batch = self._prepare(ops)
        if self._index and (batch.wanted.texts or batch.queries):
            batch.take(self._index.embed(batch.wanted))
        return self._apply(batch)

    async def abatch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        """Apply operations as `batch` does, without blocking the event loop."""
        batch = self._prepare(ops)
        if self._index and (batch.wanted.texts or batch.queries):
            batch.take(await self._index.aembed(batch.wanted))
        return await self._aapply(batch)

    @abstractmethod
    def _apply(self, batch: Batch) -> list[Result]:
        """Apply a batch, all of it or nothing."""

    async def _aapply(self, batch: Batch) -> list[Result]:
        if not self.blocking:
            return self._apply(batch)
        return await in_thread(self._apply, batch)

    def _prepare(self, ops: Iterable[Op[Any]]) -> Batch:
        """Check operations and encode what they write; whatever is to be refused is refused here."""
        batch, writes = Batch(0, [], {}, [], Texts([], [])), dict[tuple[Namespace, str], tuple[Write, list[str]]]()
        for n, op in enumerate(expect("store.batch(...)", ops, Iterable, "a list of operations", optional=False)):
            batch.count += 1
            match op:
                case PutOp():
                    writes[op.namespace, op.key] = self._write(op)
                case GetOp() | SearchOp() | ListNamespacesOp():
                    batch.reads.append((n, op))
                    if isinstance(op, SearchOp) and op.query is not None:
                        self._ask(batch, n, op.query)
                case _:
                    raise InvalidConfigError(
                        f"{type(self).__name__} does not know the operation {short(op)}. "
                        "Use GetOp, PutOp, SearchOp or ListNamespacesOp of twinstep.store.base."
                    )
        for write, texts in writes.values():
            batch.writes.append(write)
            batch.wanted.texts += texts
        return batch

    def _write(self, op: PutOp) -> tuple[Write, list[str]]:
        """Return a write and the texts of its value that are to be embedded."""
        if op.value is None:
            return Write(op.namespace, op.key, None), []
        value = dict(op.value)
        data = _serializer.dumps(value, at=f"the value of {op.key!r} in {op.namespace!r}")
        texts = self._index.texts(value, op.index) if self._index and op.index is not False else []
        life, terms = self._expiry.life(op.ttl), self._terms(value, data)
        return Write(op.namespace, op.key, data, life, terms, len(texts)), texts

    def _terms(self, value: dict[str, Any], data: bytes) -> list[int]:
        """Return the terms of a value and its bytes, for backends that find items by them."""
        return []

    def _ask(self, batch: Batch, n: int, query: str) -> None:
        if self._index is None:
            raise InvalidConfigError(
                "search(query=...) needs a store with an index. Create it with "
                f"{type(self).__name__}(..., index={{'dims': ..., 'embed': ...}}) or leave the query out."
            )
        batch.queries[n] = None
        batch.wanted.queries.append(query)

    # ------------------------------------------------------------------ times to live

    @abstractmethod
    def sweep_ttl(self) -> int:
        """Remove the items that have expired and return how many they were."""

    async def asweep_ttl(self) -> int:
        """Do what `sweep_ttl` does, without blocking the event loop."""
        return await in_thread(self.sweep_ttl)

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Future[None]:
        """Start a thread that removes expired items at intervals, if none runs yet.

        Args:
            sweep_interval_minutes: the interval; that of the store's ttl config when left out.

        Returns:
            A future that is done when the thread has ended.
        """
        check_ttl(sweep_interval_minutes)
        return self._sweeper.start(self._expiry.interval if sweep_interval_minutes is None else sweep_interval_minutes)

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """End that thread and tell whether it has ended within so many seconds."""
        return self._sweeper.stop(timeout)


def moment(microseconds: int) -> datetime:
    """Return a stored time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def decoded(namespace: Namespace | str, key: str, data: bytes) -> dict[str, Any]:
    """Return a stored value; an error says whose it is, given its namespace or the text that stands for it."""
    try:
        value: dict[str, Any] = _serializer.loads(data)
    except Exception as error:
        place = tuple(namespace[:-1].split(".")) if isinstance(namespace, str) else namespace
        error.add_note(f"This is the value of {key!r} in {place!r}.")
        raise
    return value


def item(namespace: Namespace, key: str, value: dict[str, Any], created: int, updated: int) -> Item:
    """Return a stored item as users see it."""
    return Item(namespace=namespace, key=key, value=value, created_at=moment(created), updated_at=moment(updated))


def search_item(found: Item, score: float | None) -> SearchItem:
    """Return an item that a search found."""
    return SearchItem(
        namespace=found.namespace,
        key=found.key,
        value=found.value,
        created_at=found.created_at,
        updated_at=found.updated_at,
        score=score,
    )


__all__ = ["BackendStore", "Batch", "Write", "decoded", "item", "moment", "now", "search_item"]
