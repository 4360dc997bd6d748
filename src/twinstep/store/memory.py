"""A store in the memory of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from reprlib import repr as short
from threading import Lock
from typing import Any, NamedTuple

from twinstep.errors import EncodingError, InvalidConfigError
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
    Value,
)
from twinstep.store.filters import matches
from twinstep.store.vectors import IndexConfig, Vector, VectorIndex, nearest

__all__ = ["BaseStore", "InMemoryStore"]

Step = Callable[[], Result]


class _Record(NamedTuple):
    """What is kept of an item. It is replaced as a whole and never changed, so it can be read without the lock."""

    item: Item
    order: int
    vectors: Sequence[Vector]


class InMemoryStore(BaseStore):
    """Keep items until the process ends.

    Safe to use from several threads. Values are copied in and out. Items do not expire: a time to live is refused.

    Args:
        index: makes values searchable by meaning, see `twinstep.store.vectors.IndexConfig`. The embedding function is
            called outside of the lock, and in a thread when the caller is async.

    Example:
        >>> store = InMemoryStore()
        >>> store.put(("users", "42"), "likes", {"food": "soup", "stars": 5})
        >>> store.search(("users",), filter={"stars": {"$gte": 4}})[0].value
        {'food': 'soup', 'stars': 5}
    """

    def __init__(self, *, index: IndexConfig | None = None) -> None:
        self.blocking = index is not None
        self._index = VectorIndex(index) if index is not None else None
        self._spaces: dict[Namespace, dict[str, _Record]] = {}
        self._orders = count()
        self._lock = Lock()

    def batch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        """Apply operations in order, all or none; see `BaseStore.batch`."""
        ops = list(ops)
        vectors = self._index.embed(ops) if self._index else {}
        # Everything that can fail happens in _step, before anything changes.
        steps = [self._step(op, vectors.get(n, ())) for n, op in enumerate(ops)]
        with self._lock:
            results = [step() for step in steps]
        return [_copied(result) for result in results]

    def _step(self, op: Op[Any], vectors: Sequence[Vector]) -> Step:
        """Return what is to be done under the lock for one operation."""
        match op:
            case GetOp():
                return partial(self._get, op)
            case PutOp(value=None):
                return partial(self._delete, op)
            case PutOp():
                return partial(self._put, op, self._checked_copy(op), vectors)
            case SearchOp():
                return partial(self._search, op, self._query_vector(op, vectors))
            case ListNamespacesOp():
                return partial(self._list_namespaces, op)
        raise InvalidConfigError(
            f"InMemoryStore does not know the operation {short(op)}. "
            "Use GetOp, PutOp, SearchOp or ListNamespacesOp of twinstep.store.base."
        )

    def _checked_copy(self, op: PutOp) -> Value:
        if isinstance(op.ttl, (int, float)):
            raise InvalidConfigError(
                f"InMemoryStore keeps items for ever, but {op.key!r} came with ttl={op.ttl}. Leave ttl out."
            )
        try:
            return deepcopy(dict(op.value or {}))
        except Exception as error:
            raise EncodingError(
                f"The value for {op.key!r} in {op.namespace!r} cannot be copied: {error}. Store plain data."
            ) from error

    def _query_vector(self, op: SearchOp, vectors: Sequence[Vector]) -> Vector | None:
        if op.query is None:
            return None
        if not vectors:
            raise InvalidConfigError(
                "search(query=...) needs a store with an index. "
                "Create it with InMemoryStore(index={'dims': ..., 'embed': ...}) or leave the query out."
            )
        return vectors[0]

    def _get(self, op: GetOp) -> Item | None:
        record = self._spaces.get(op.namespace, {}).get(op.key)
        return record.item if record else None

    def _delete(self, op: PutOp) -> None:
        records = self._spaces.get(op.namespace, {})
        if records.pop(op.key, None) and not records:
            del self._spaces[op.namespace]

    def _put(self, op: PutOp, value: Value, vectors: Sequence[Vector]) -> None:
        records = self._spaces.setdefault(op.namespace, {})
        old, now = records.get(op.key), datetime.now(UTC)
        created, order = (old.item.created_at, old.order) if old else (now, next(self._orders))
        item = Item(namespace=op.namespace, key=op.key, value=value, created_at=created, updated_at=now)
        records[op.key] = _Record(item, order, vectors)

    def _search(self, op: SearchOp, query: Vector | None) -> list[SearchItem]:
        found = sorted(self._matching(op), key=lambda record: record.order)
        scores = [nearest(query, record.vectors) if query else None for record in found]
        scored = list(zip(found, scores, strict=True))
        if query:
            scored.sort(key=lambda pair: -2.0 if pair[1] is None else pair[1], reverse=True)
        return [_search_item(record.item, score) for record, score in scored[op.offset : op.offset + op.limit]]

    def _matching(self, op: SearchOp) -> Iterable[_Record]:
        depth = len(op.namespace_prefix)
        for namespace, records in self._spaces.items():
            if namespace[:depth] == op.namespace_prefix:
                for record in records.values():
                    if op.filter is None or matches(op.filter, record.item.value):
                        yield record

    def _list_namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        conditions = op.match_conditions or ()
        found = (space for space in self._spaces if all(condition.holds(space) for condition in conditions))
        return sorted({space[: op.max_depth] for space in found})[op.offset : op.offset + op.limit]


def _search_item(item: Item, score: float | None) -> SearchItem:
    return SearchItem(
        namespace=item.namespace,
        key=item.key,
        value=item.value,
        created_at=item.created_at,
        updated_at=item.updated_at,
        score=score,
    )


def _copied(result: Any) -> Any:
    """Return a result whose values belong to the caller."""
    if isinstance(result, Item):
        return replace(result, value=deepcopy(result.value))
    return list(map(_copied, result)) if isinstance(result, list) else result
