"""The contract of a store: what is kept, the operations on it, and the methods that users call.

A store keeps items under a namespace (a tuple of labels, like a folder) and a key, across threads and runs. A backend
implements `BaseStore.batch`; everything else is written here once, for sync and async callers alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast

from twinstep.errors import EncodingError
from twinstep.store.validate import (
    NOT_PROVIDED,
    TTL,
    NotProvided,
    check_count,
    check_filter,
    check_index,
    check_key,
    check_match_type,
    check_namespace,
    check_path,
    check_prefix,
    check_query,
    check_ttl,
    check_value,
)
from twinstep.threads import in_thread

__all__ = [
    "NOT_PROVIDED",
    "TTL",
    "BaseStore",
    "Filter",
    "GetOp",
    "Item",
    "ListNamespacesOp",
    "MatchCondition",
    "MatchType",
    "Namespace",
    "NotProvided",
    "Op",
    "PutOp",
    "Result",
    "SearchItem",
    "SearchOp",
    "Value",
]

R_co = TypeVar("R_co", covariant=True)
Namespace: TypeAlias = tuple[str, ...]
Value: TypeAlias = dict[str, Any]
Filter: TypeAlias = Mapping[str, Any]
MatchType: TypeAlias = Literal["prefix", "suffix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A stored value with its place and its times.

    Attributes:
        value: a copy that belongs to the caller; changing it does not change the store.
        created_at: when the key was first written since it last did not exist, UTC with microseconds.
        updated_at: when the value was last written, UTC with microseconds.
    """

    namespace: Namespace
    key: str
    value: Value
    created_at: datetime
    updated_at: datetime

    def dict(self) -> Value:
        """Return the item as JSON-like data: the namespace as a list, the times in ISO format."""
        return {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchItem(Item):
    """An item that a search found.

    Attributes:
        score: similarity to the query, the higher the nearer; None when there was no query or the item is not indexed.
    """

    score: float | None = None

    def dict(self) -> Value:
        """Return the item as JSON-like data, with its score."""
        return {**Item.dict(self), "score": self.score}


class Op(Generic[R_co]):
    """One request to a store; the type parameter is the type of its result. It is checked when it is made."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GetOp(Op[Item | None]):
    """Read one item.

    Attributes:
        refresh_ttl: whether reading starts the item's time to live anew; None leaves it to the store.
    """

    namespace: Namespace
    key: str
    refresh_ttl: bool | None = True

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        check_key(self.key)


@dataclass(frozen=True, slots=True)
class PutOp(Op[None]):
    """Write one item in place of what was there, or delete it when `value` is None.

    Attributes:
        index: paths of the value to make searchable, False for none, None for the store's own choice.
        ttl: minutes to live after the last write or refresh.
    """

    namespace: Namespace
    key: str
    value: Mapping[str, Any] | None
    index: Literal[False] | list[str] | None = None
    ttl: TTL = None

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        check_key(self.key)
        check_value(self.value, self.key)
        check_index(self.index)
        check_ttl(self.ttl)


@dataclass(frozen=True, slots=True)
class SearchOp(Op[list[SearchItem]]):
    """Find items below a namespace; see `BaseStore.search`."""

    namespace_prefix: Namespace
    filter: Filter | None = None
    limit: int = 10
    offset: int = 0
    query: str | None = None
    refresh_ttl: bool | None = True

    def __post_init__(self) -> None:
        check_prefix(self.namespace_prefix)
        check_count("limit", self.limit)
        check_count("offset", self.offset)
        check_query(self.query)
        if self.filter is not None:
            check_filter(self.filter)


@dataclass(frozen=True, slots=True)
class MatchCondition:
    """A condition on namespaces: they begin or end with `path`, in which the label "*" stands for any one label."""

    match_type: MatchType
    path: Namespace

    def __post_init__(self) -> None:
        check_match_type(self.match_type)
        check_path(self.path)

    def holds(self, namespace: Namespace) -> bool:
        """Tell whether a namespace fulfils the condition."""
        size = len(self.path)
        part = namespace[:size] if self.match_type == "prefix" else namespace[len(namespace) - size :]
        return len(part) == size and all(want in ("*", label) for want, label in zip(self.path, part, strict=True))


@dataclass(frozen=True, slots=True)
class ListNamespacesOp(Op[list[Namespace]]):
    """List the namespaces that hold items; see `BaseStore.list_namespaces`."""

    match_conditions: tuple[MatchCondition, ...] | None = None
    max_depth: int | None = None
    limit: int = 100
    offset: int = 0

    def __post_init__(self) -> None:
        check_count("limit", self.limit)
        check_count("offset", self.offset)
        if self.max_depth is not None:
            check_count("max_depth", self.max_depth, least=1)

    def listed(self, namespaces: Iterable[Namespace]) -> list[Namespace]:
        """Return what this operation lists of the namespaces that there are."""
        conditions = self.match_conditions or ()
        found = (space for space in namespaces if all(condition.holds(space) for condition in conditions))
        return sorted({space[: self.max_depth] for space in found})[self.offset : self.offset + self.limit]


Result: TypeAlias = Item | list[SearchItem] | list[Namespace] | None


class BaseStore(ABC):
    """A long-term memory that threads and runs share.

    A backend implements `batch`. It copies values in and out, is safe to use from several threads, applies all
    operations of a batch or none of them, and decides filters as `twinstep.store.filters` does.

    Attributes:
        blocking: whether `batch` may wait for something; the async methods run it in a thread if so, else directly.
    """

    blocking: bool = True

    @abstractmethod
    def batch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        """Apply operations and return their results in the same order.

        Reads see what there was before the batch; of several writes of one key the last one counts. When an operation
        is refused, none is applied.

        Raises:
            InvalidConfigError: the backend does not know an operation or cannot do what it asks for.
            EncodingError: a value cannot be stored.
        """

    async def abatch(self, ops: Iterable[Op[Any]]) -> list[Result]:
        """Apply operations as `batch` does, without blocking the event loop."""
        if not self.blocking:
            return self.batch(ops)
        return await in_thread(self.batch, list(ops))

    def get(self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None) -> Item | None:
        """Return a copy of the item, or None when there is none."""
        return self._do(GetOp(namespace, key, refresh_ttl))

    async def aget(self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None) -> Item | None:
        """Return a copy of the item, or None when there is none."""
        return await self._ado(GetOp(namespace, key, refresh_ttl))

    def put(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: TTL = NOT_PROVIDED,
    ) -> None:
        """Write a copy of `value` in place of what was there.

        Args:
            index: paths of the value to make searchable, False for none, None for the store's own choice.
            ttl: minutes to live after the last write or refresh, None for ever; the store's default when left out.

        Raises:
            InvalidNamespaceError: the namespace is not a tuple of labels.
            EncodingError: the value is no mapping with text keys or cannot be copied.
            InvalidConfigError: another argument cannot be used.
        """
        self._do(_put_op(namespace, key, value, index, ttl))

    async def aput(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: TTL = NOT_PROVIDED,
    ) -> None:
        """Write a copy of `value` as `put` does."""
        await self._ado(_put_op(namespace, key, value, index, ttl))

    def delete(self, namespace: Namespace, key: str) -> None:
        """Remove the item; nothing happens when there is none."""
        self._do(PutOp(namespace, key, None))

    async def adelete(self, namespace: Namespace, key: str) -> None:
        """Remove the item; nothing happens when there is none."""
        await self._ado(PutOp(namespace, key, None))

    def search(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: Filter | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """Return the items below a namespace that fulfil a filter, in the order in which their keys were created.

        With a query, the nearest come first and items that are not indexed come last, with score None.

        Args:
            namespace_prefix: labels that the namespaces begin with; the empty tuple searches everywhere.
            query: text to rank by; needs a store with an index.
            filter: wanted fields, see `twinstep.store.filters`.
            limit: most items to return.
            offset: items to leave out at the beginning.

        Raises:
            InvalidConfigError: the filter has an unknown operator, or there is a query and no index.
        """
        return self._do(SearchOp(namespace_prefix, filter, limit, offset, query, refresh_ttl))

    async def asearch(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: Filter | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """Return the items that `search` returns."""
        return await self._ado(SearchOp(namespace_prefix, filter, limit, offset, query, refresh_ttl))

    def list_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """Return the namespaces that hold items, sorted and each once.

        Args:
            prefix: labels that a namespace begins with; "*" stands for any one label.
            suffix: labels that a namespace ends with, likewise.
            max_depth: labels to keep of each namespace.
            limit: most namespaces to return.
            offset: namespaces to leave out at the beginning.
        """
        return self._do(ListNamespacesOp(_conditions(prefix, suffix), max_depth, limit, offset))

    async def alist_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """Return the namespaces that `list_namespaces` returns."""
        return await self._ado(ListNamespacesOp(_conditions(prefix, suffix), max_depth, limit, offset))

    def _do(self, op: Op[R_co]) -> R_co:
        return cast(R_co, self.batch((op,))[0])

    async def _ado(self, op: Op[R_co]) -> R_co:
        return cast(R_co, (await self.abatch((op,)))[0])


def _put_op(
    namespace: Namespace, key: str, value: Mapping[str, Any], index: Literal[False] | list[str] | None, ttl: TTL
) -> PutOp:
    op = PutOp(namespace, key, value, index, ttl)
    if op.value is None:
        raise EncodingError(f"put({namespace!r}, {key!r}) got None for a value. Call delete to remove an item.")
    return op


def _conditions(prefix: Namespace | None, suffix: Namespace | None) -> tuple[MatchCondition, ...]:
    wanted: tuple[tuple[MatchType, Namespace | None], ...] = (("prefix", prefix), ("suffix", suffix))
    return tuple(MatchCondition(match_type, path) for match_type, path in wanted if path is not None)
