"""The store in SQL, written once for every database; `twinstep.sql` says what a program is.

Values are kept as the codec's bytes, because they have to come back exactly (a tuple as a tuple, a date as a date, any
integer), which JSON cannot do and databases' own JSON numbers least of all. Filters are therefore decided in Python, by
`twinstep.store.filters` and nothing else, over rows that an index on the namespace yields in order of creation, page by
page until there are enough. A namespace is one text, each label ended by a dot, so that what is below a prefix is one
range of the index. Nothing that users give is ever part of a statement's text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from twinstep.errors import CheckpointCorruptError, InvalidConfigError, StorageError
from twinstep.sql.schema import Program, Schema
from twinstep.store.backend import Batch, Write, decoded, item, search_item
from twinstep.store.base import GetOp, Item, ListNamespacesOp, Namespace, Result, SearchItem, SearchOp
from twinstep.store.expiry import Expiry
from twinstep.store.filters import matcher
from twinstep.store.ranking import ExactOrder
from twinstep.store.vectors import Vector, similarities, to_blob

SCHEMA: Final = Schema(
    "store",
    (
        (
            """CREATE TABLE twinstep_store_items (
                n {serial}, prefix {text} NOT NULL, key {text} NOT NULL, value {blob} NOT NULL,
                created BIGINT NOT NULL, updated BIGINT NOT NULL, life BIGINT, expires BIGINT, UNIQUE (prefix, key))""",
            "CREATE INDEX twinstep_store_items_order ON twinstep_store_items (prefix, n, expires)",
            """CREATE INDEX twinstep_store_items_expires ON twinstep_store_items (expires)
                WHERE expires IS NOT NULL""",
            """CREATE TABLE twinstep_store_vectors (
                prefix {text} NOT NULL, item BIGINT NOT NULL, position INTEGER NOT NULL, vector {blob} NOT NULL,
                PRIMARY KEY (prefix, item, position))""",
            "CREATE TABLE twinstep_store_index (dims INTEGER NOT NULL)",
        ),
    ),
    failed=StorageError,
    damaged=CheckpointCorruptError,
    table="twinstep_store_schema",
    user="store",
)
_FIRST_PAGE, _LARGEST_PAGE = 256, 16_384
_ITEM = "n, prefix, key, value, created, updated, life"
_ALIVE = "(expires IS NULL OR expires > ?)"
_OF_KEY = "(SELECT n FROM twinstep_store_items WHERE prefix = ? AND key = ?)"
_PUT = """
    INSERT INTO twinstep_store_items AS old (prefix, key, value, created, updated, life, expires)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (prefix, key) DO UPDATE SET value = excluded.value, updated = excluded.updated, life = excluded.life,
        expires = excluded.expires,
        created = CASE WHEN old.expires <= excluded.updated THEN excluded.created ELSE old.created END"""
_PUT_VECTOR = """
    INSERT INTO twinstep_store_vectors (prefix, item, position, vector)
    SELECT prefix, n, {position}, {vector} FROM twinstep_store_items WHERE prefix = ? AND key = ?"""

_VECTORS_OF = """
    SELECT v.item, v.vector FROM twinstep_store_items i
    JOIN twinstep_store_vectors v ON v.prefix = i.prefix AND v.item = i.n WHERE i.n """


@dataclass(frozen=True)
class Spelling:
    """What databases spell differently in the statements of a store.

    Attributes:
        among: the condition that a number is one of a list, which is one parameter.
        numbers: makes that parameter.
        for_update: appended to reads of rows that are written next.
        lock: a statement that makes transactions which write several rows wait for each other; empty if they do anyway.
        vector: a parameter that is a vector.
        number: a parameter that is a whole number where the database cannot tell.
        distance: the distance of a kept vector from a parameter, where the database can compute it.
        similarity: what a distance is as a similarity.
        to_column: makes a parameter of a vector's bytes.
        from_column: makes the bytes of what the database returns.
    """

    among: str
    numbers: Callable[[Sequence[int]], Any]
    for_update: str = ""
    lock: str = ""
    vector: str = "?"
    number: str = "?"
    distance: str | None = None
    similarity: Callable[[float], float] = float
    to_column: Callable[[bytes], Any] = bytes
    from_column: Callable[[Any], bytes] = bytes


class Place(NamedTuple):
    """Where to look: a condition on `prefix` with its parameters, and how to order by creation."""

    condition: str
    parameters: tuple[str, ...]
    order: str = "n"


_EVERYWHERE: Final = Place("", ())


class Row(NamedTuple):
    """An item as it is stored."""

    n: int
    prefix: str
    key: str
    value: bytes
    created: int
    updated: int
    life: int | None

    def item(self) -> Item:
        """Return it as users see it."""
        return self.item_of(decoded(self.prefix, self.key, self.value))

    def item_of(self, value: dict[str, Any]) -> Item:
        """Return it as users see it, given its value."""
        return item(_namespace(self.prefix), self.key, value, self.created, self.updated)


class Applied(NamedTuple):
    """The results of a batch, and the rows whose time to live its reads start anew."""

    results: list[Result]
    refresh: list[int]


class StoreProgram:
    """What a store does, as programs.

    Args:
        spelling: that of the database.
        expiry: the rules for times to live.
        indexed: whether there may be vectors.
    """

    def __init__(self, spelling: Spelling, expiry: Expiry, indexed: bool) -> None:
        self._spelling, self._expiry, self._indexed = spelling, expiry, indexed

    def apply(self, batch: Batch, at: int) -> Program[Applied]:
        """Apply a batch: its reads, then its writes."""
        applied = Applied([None] * batch.count, [])
        for n, op in batch.reads:
            applied.results[n] = yield from self._read(op, batch.queries.get(n), at, applied.refresh)
        if batch.writes:
            yield from self._write(batch.writes, at)
        return applied

    def refresh(self, rows: Sequence[int], at: int) -> Program[None]:
        """Start the time to live of some rows anew."""
        if self._spelling.lock:
            yield self._spelling.lock, ()
        sql = f"UPDATE twinstep_store_items SET expires = {self._spelling.number} + life WHERE n {self._spelling.among}"
        yield sql, (at, self._spelling.numbers(rows))

    def sweep(self, at: int) -> Program[int]:
        """Remove what has expired; return how many items that were."""
        if self._spelling.lock:
            yield self._spelling.lock, ()
        sql = f"SELECT n, prefix FROM twinstep_store_items WHERE expires <= ?{self._spelling.for_update}"
        gone = yield sql, (at,)
        if gone:
            if self._indexed:
                yield (
                    "DELETE FROM twinstep_store_vectors WHERE prefix = ? AND item = ?",
                    [(row[1], row[0]) for row in gone],
                )
            yield "DELETE FROM twinstep_store_items WHERE n = ?", [(row[0],) for row in gone]
        return len(gone)

    # ------------------------------------------------------------------ writing

    def _write(self, writes: Sequence[Write], at: int) -> Program[None]:
        if self._spelling.lock and len(writes) > 1:
            yield self._spelling.lock, ()
        places = [(_text(write.namespace), write.key) for write in writes]
        if self._indexed:
            yield (
                f"DELETE FROM twinstep_store_vectors WHERE prefix = ? AND item = {_OF_KEY}",
                [(place[0], *place) for place in places],
            )
        gone = [place for place, write in zip(places, writes, strict=True) if write.data is None]
        if gone:
            yield "DELETE FROM twinstep_store_items WHERE prefix = ? AND key = ?", _one_or_all(gone)
        rows = [
            (*place, write.data, at, at, write.life, None if write.life is None else at + write.life)
            for place, write in zip(places, writes, strict=True)
            if write.data is not None
        ]
        if rows:
            yield _PUT, _one_or_all(rows)
        vectors = [
            (n, self._spelling.to_column(vector), *place)
            for place, write in zip(places, writes, strict=True)
            for n, vector in enumerate(write.vectors)
        ]
        if vectors:
            yield _PUT_VECTOR.format(position=self._spelling.number, vector=self._spelling.vector), vectors

    # ------------------------------------------------------------------ reading

    def _read(
        self, op: GetOp | SearchOp | ListNamespacesOp, query: Vector | None, at: int, refresh: list[int]
    ) -> Program[Result]:
        hidden = self._expiry.hidden_until(at)
        if isinstance(op, ListNamespacesOp):
            return (yield from self._list(op, hidden))
        if isinstance(op, GetOp):
            sql = f"SELECT {_ITEM} FROM twinstep_store_items WHERE prefix = ? AND key = ? AND {_ALIVE}"
            found = [Row(*row) for row in (yield sql, (_text(op.namespace), op.key, hidden))]
            result: Result = found[0].item() if found else None
        else:
            search = _Search(self._spelling, op, hidden)
            pairs = yield from search.near(query) if query is not None else search.oldest()
            found, result = [row for row, _ in pairs], [found for _, found in pairs]
        if self._expiry.refreshes(op.refresh_ttl):
            refresh += [row.n for row in found if row.life is not None]
        return result

    def _list(self, op: ListNamespacesOp, hidden: int) -> Program[list[Namespace]]:
        start: Namespace = ()
        for condition in op.match_conditions or ():
            if condition.match_type == "prefix":
                literal = condition.path.index("*") if "*" in condition.path else len(condition.path)
                start = max(start, condition.path[:literal], key=len)
        place = _below(start) if start else _EVERYWHERE
        sql = f"SELECT DISTINCT prefix FROM twinstep_store_items WHERE {place.condition}{_ALIVE}"
        rows = yield sql, (*place.parameters, hidden)
        return op.listed(_namespace(row[0]) for row in rows)


class _Search:
    """One search: what it looks for, and in which order."""

    def __init__(self, spelling: Spelling, op: SearchOp, hidden: int) -> None:
        self._spelling, self._op, self._hidden = spelling, op, hidden
        self._wanted = op.offset + op.limit
        self._test = None if op.filter is None else matcher(op.filter)
        self._all_hits: list[tuple[int, float]] | None = None
        """Where the database cannot compute distances."""

    def oldest(self) -> Program[list[tuple[Row, SearchItem]]]:
        """Find items in the order of creation."""
        place = yield from self._place()
        if place is None or not self._op.limit:
            return []
        if self._op.filter is not None:
            return (yield from self._scan(place, self._wanted))[self._op.offset :]
        rows = yield _page(place), (*place.parameters, self._hidden, -1, self._op.limit, self._op.offset)
        return [found for row in rows if (found := self._match(row))]

    def near(self, query: Vector) -> Program[list[tuple[Row, SearchItem]]]:
        """Find items by their nearness to a query, those without vectors last."""
        place = yield from self._place()
        if place is None or not self._op.limit:
            return []
        found: list[tuple[Row, SearchItem]] = []
        order, seen, size, last = ExactOrder[tuple[Row, SearchItem]](query), set[int](), 2 * self._wanted + 32, False
        while len(found) < self._wanted and not last:
            hits = yield from self._hits(place, query, size)
            last = len(hits) < size
            rough = {n: similarity for n, similarity in reversed(hits) if n not in seen}
            seen |= rough.keys()
            yield from self._sort_in(order, rough, found)
            found += map(_scored, order.leave(-2.0 if last else hits[-1][1]))
            size *= 8
        if len(found) < self._wanted:
            found += yield from self._scan(place, self._wanted - len(found), unindexed=True)
        return found[self._op.offset : self._wanted]

    def _sort_in(
        self, order: ExactOrder[tuple[Row, SearchItem]], rough: dict[int, float], found: list[tuple[Row, SearchItem]]
    ) -> Program[None]:
        """Read what has been hit, drop what does not fulfil the filter, and bring the rest into the exact order."""
        spelling, numbers = self._spelling, self._spelling.numbers(list(rough))
        sql = f"SELECT {_ITEM} FROM twinstep_store_items WHERE n {spelling.among} AND {_ALIVE}"
        rows = yield sql, (numbers, self._hidden)
        matching = {row[0]: match for row in rows if (match := self._match(row))}
        vectors = dict[int, list[bytes]]()
        for n, vector in (yield _VECTORS_OF + spelling.among, (spelling.numbers(list(matching)),)):
            vectors.setdefault(n, []).append(spelling.from_column(vector))
        for n in sorted(vectors, key=rough.__getitem__, reverse=True):
            found += map(_scored, order.leave(rough[n]))
            order.add(n, matching[n], vectors[n])

    def _hits(self, place: Place, query: Vector, size: int) -> Program[list[tuple[int, float]]]:
        """Return the numbers and similarities of the vectors nearest to a query."""
        where = f"WHERE {place.condition.removesuffix(' AND ')}" if place.condition else ""
        spelling = self._spelling
        if spelling.distance:
            sql = f"SELECT item, {spelling.distance} AS far FROM twinstep_store_vectors {where} ORDER BY far LIMIT ?"
            rows = yield sql, (spelling.to_column(to_blob(query)), *place.parameters, size)
            return [(row[0], spelling.similarity(row[1])) for row in rows]
        if self._all_hits is None:
            rows = yield f"SELECT item, vector FROM twinstep_store_vectors {where}", place.parameters
            near = similarities(query, [spelling.from_column(row[1]) for row in rows])
            hits = zip((row[0] for row in rows), near, strict=True)
            self._all_hits = sorted(hits, key=lambda hit: hit[1], reverse=True)
        return self._all_hits[:size]

    def _scan(self, place: Place, wanted: int, unindexed: bool = False) -> Program[list[tuple[Row, SearchItem]]]:
        """Return the first items in the order of creation that fulfil the filter."""
        only = (
            """AND NOT EXISTS (SELECT 1 FROM twinstep_store_vectors v
                WHERE v.prefix = twinstep_store_items.prefix AND v.item = twinstep_store_items.n)"""
            if unindexed
            else ""
        )
        sql = _page(place, only)
        found: list[tuple[Row, SearchItem]] = []
        after, size = -1, _FIRST_PAGE
        while True:
            rows = yield sql, (*place.parameters, self._hidden, after, size, 0)
            for row in rows:
                match = self._match(row)
                if match:
                    found.append(match)
                    if len(found) == wanted:
                        return found
            if len(rows) < size:
                return found
            after, size = rows[-1][0], min(size * 8, _LARGEST_PAGE)

    def _match(self, columns: Sequence[Any]) -> tuple[Row, SearchItem] | None:
        value = decoded(columns[1], columns[2], columns[3])
        if self._test is not None and not self._test(value):
            return None
        row = Row(*columns)
        return row, search_item(row.item_of(value), None)

    def _place(self) -> Program[Place | None]:
        """Return where to look; one namespace, when there is just one below the prefix, is read along its index."""
        if not self._op.namespace_prefix:
            return _EVERYWHERE
        place = _below(self._op.namespace_prefix)
        where = place.condition.removesuffix(" AND ")
        sql = f"""SELECT (SELECT min(prefix) FROM twinstep_store_items WHERE {where}),
            (SELECT max(prefix) FROM twinstep_store_items WHERE {where})"""
        first, last = (yield sql, place.parameters * 2)[0]
        if first is None:
            return None
        return Place("prefix = ? AND ", (first,)) if first == last else place


def claim(dims: int | None) -> Program[bool]:
    """Tell whether there may be vectors, and note how long they are when `dims` says so.

    Raises:
        InvalidConfigError: the vectors that are there are of another length.
    """
    rows = yield "SELECT dims FROM twinstep_store_index", ()
    if not rows and dims is not None:
        yield "INSERT INTO twinstep_store_index (dims) VALUES (?)", (dims,)
    elif rows and dims not in (None, rows[0][0]):
        raise InvalidConfigError(
            f"The store was indexed with dims={rows[0][0]}, and this index has dims={dims}. Use the model that made "
            "the vectors, or put the items into a new store."
        )
    return bool(rows) or dims is not None


def _page(place: Place, only: str = "") -> str:
    """Return the statement that reads a page of items in order of creation.

    Which ones they are is found in the index alone, whatever the size of values.
    """
    return f"""
        SELECT {_ITEM} FROM twinstep_store_items JOIN (
            SELECT n AS m FROM twinstep_store_items WHERE {place.condition}{_ALIVE} {only} AND n > ?
            ORDER BY {place.order} LIMIT ? OFFSET ?) AS page ON n = m ORDER BY n"""


def _below(prefix: Namespace) -> Place:
    # "/" is the character after ".". The sum keeps databases from walking through the whole table in the order of n.
    text = _text(prefix)
    return Place("prefix >= ? AND prefix < ? AND ", (text, text[:-1] + "/"), "n + 0")


def _text(namespace: Namespace) -> str:
    return "".join([label + "." for label in namespace])


def _namespace(prefix: str) -> Namespace:
    return tuple(prefix[:-1].split("."))


def _one_or_all(rows: list[tuple[Any, ...]]) -> Any:
    """Return parameters for one row or for many: a single row is not worth a prepared loop."""
    return rows[0] if len(rows) == 1 else rows


def _scored(pair: tuple[tuple[Row, SearchItem], float]) -> tuple[Row, SearchItem]:
    (row, found), score = pair
    return row, search_item(found, score)
