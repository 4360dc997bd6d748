"""A store in the memory of this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from threading import Lock
from typing import NamedTuple

from twinstep.store.backend import BackendStore, Batch, Write, decoded, item, now, search_item
from twinstep.store.base import BaseStore, GetOp, Item, ListNamespacesOp, Namespace, Result, SearchItem, SearchOp
from twinstep.store.expiry import TTLConfig
from twinstep.store.filters import matcher
from twinstep.store.ranking import ranked
from twinstep.store.vectors import IndexConfig, Vector

__all__ = ["BaseStore", "InMemoryStore"]


@dataclass(frozen=True, slots=True)
class _Record:
    """What is kept of an item. It is replaced as a whole, so that it can be read without the lock."""

    namespace: Namespace
    key: str
    data: bytes
    created: int
    updated: int
    order: int
    vectors: Sequence[bytes]
    life: int | None


class _Read(NamedTuple):
    """The records that a read may return, as they stood when it was its turn, and the moment."""

    op: GetOp | SearchOp | ListNamespacesOp
    records: Sequence[_Record]
    at: int


class InMemoryStore(BackendStore):
    """Keep items until they expire or the process ends.

    Safe to use from several threads. Values are copied in and out, and what the other stores refuse is refused here
    too.

    Args:
        index: makes values searchable by meaning, see `twinstep.store.vectors.IndexConfig`. The embedding function is
            called outside of the lock.
        ttl: how long items live, see `twinstep.store.expiry.TTLConfig`.

    Example:
        >>> store = InMemoryStore()
        >>> store.put(("users", "42"), "likes", {"food": "soup", "stars": 5})
        >>> store.search(("users",), filter={"stars": {"$gte": 4}})[0].value
        {'food': 'soup', 'stars': 5}
    """

    blocking = False

    def __init__(self, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None) -> None:
        super().__init__(index=index, ttl=ttl)
        self._spaces: dict[Namespace, dict[str, _Record]] = {}
        self._expires: dict[tuple[Namespace, str], int] = {}
        self._orders = count()
        self._lock = Lock()

    def _apply(self, batch: Batch) -> list[Result]:
        at = now()
        with self._lock:
            reads = [(n, _Read(op, self._candidates(op, at), at)) for n, op in batch.reads]
            for write in batch.writes:
                self._write_down(write, at)
        results: list[Result] = [None] * batch.count
        for n, read in reads:
            results[n] = self._answer(read, batch.queries.get(n))
        return results

    def sweep_ttl(self) -> int:
        """Remove the items that have expired and return how many they were."""
        at = now()
        with self._lock:
            gone = [place for place, expires in self._expires.items() if expires <= at]
            for namespace, key in gone:
                self._remove(namespace, key)
        return len(gone)

    # ------------------------------------------------------------------ under the lock

    def _candidates(self, op: GetOp | SearchOp | ListNamespacesOp, at: int) -> list[_Record]:
        hidden = self._expiry.hidden_until(at)
        return [each for each in self._below(op) if self._expires.get((each.namespace, each.key), at + 1) > hidden]

    def _below(self, op: GetOp | SearchOp | ListNamespacesOp) -> Iterable[_Record]:
        if isinstance(op, GetOp):
            record = self._spaces.get(op.namespace, {}).get(op.key)
            return [record] if record else []
        prefix = op.namespace_prefix if isinstance(op, SearchOp) else ()
        spaces = (records for space, records in self._spaces.items() if space[: len(prefix)] == prefix)
        return (record for records in spaces for record in records.values())

    def _write_down(self, write: Write, at: int) -> None:
        if write.data is None:
            self._remove(write.namespace, write.key)
            return
        place = write.namespace, write.key
        records = self._spaces.setdefault(write.namespace, {})
        old = records.get(write.key)
        order = old.order if old else next(self._orders)
        created = old.created if old and self._expires.get(place, at + 1) > at else at
        records[write.key] = _Record(*place, write.data, created, at, order, write.vectors, write.life)
        self._expires.pop(place, None)
        if write.life is not None:
            self._expires[place] = at + write.life

    def _remove(self, namespace: Namespace, key: str) -> None:
        records = self._spaces.get(namespace, {})
        if records.pop(key, None) and not records:
            del self._spaces[namespace]
        self._expires.pop((namespace, key), None)

    # ------------------------------------------------------------------ outside of it

    def _answer(self, read: _Read, query: Vector | None) -> Result:
        op = read.op
        if isinstance(op, ListNamespacesOp):
            return op.listed({record.namespace for record in read.records})
        if isinstance(op, GetOp):
            self._refresh(op, read.records, read.at)
            return _item(read.records[0]) if read.records else None
        ordered = sorted(read.records, key=lambda record: record.order)
        found_in_order = ((record, None) for record in ordered) if query is None else _ranked(ordered, query)
        page = list(islice(_matching(op, found_in_order), op.offset, op.offset + op.limit))
        self._refresh(op, [record for record, _ in page], read.at)
        return [found for _, found in page]

    def _refresh(self, op: GetOp | SearchOp, records: Sequence[_Record], at: int) -> None:
        if self._expiry.refreshes(op.refresh_ttl) and any(record.life is not None for record in records):
            with self._lock:
                for record in records:
                    place = record.namespace, record.key
                    if record.life is not None and place in self._expires:
                        self._expires[place] = at + record.life


def _item(record: _Record) -> Item:
    value = decoded(record.namespace, record.key, record.data)
    return item(record.namespace, record.key, value, record.created, record.updated)


def _matching(op: SearchOp, ranked: Iterable[tuple[_Record, float | None]]) -> Iterator[tuple[_Record, SearchItem]]:
    test = None if op.filter is None else matcher(op.filter)
    for record, score in ranked:
        found = _item(record)
        if test is None or test(found.value):
            yield record, search_item(found, score)


def _ranked(records: Sequence[_Record], query: Vector) -> Iterator[tuple[_Record, float | None]]:
    """Yield records, the nearest to a query first and those without vectors last."""
    yield from ranked(query, [(record.order, record, record.vectors) for record in records if record.vectors])
    yield from ((record, None) for record in records if not record.vectors)
