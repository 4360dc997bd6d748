"""The store in SQL, written once for every database; `twinstep.sql` says what a program is.

Values are kept as the codec's bytes, because they have to come back exactly (a tuple as a tuple, a date as a date, any
integer), which JSON cannot do and databases' own JSON numbers least of all. Nothing that users give is ever part of a
statement's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from twinstep.errors import InvalidConfigError
from twinstep.sql.schema import Program
from twinstep.store.backend import Batch, Write
from twinstep.store.base import GetOp, ListNamespacesOp, Namespace, Result, SearchItem, SearchOp
from twinstep.store.expiry import Expiry
from twinstep.store.rows import ALIVE, EVERYWHERE, ITEM, Condition, Row, below, namespace_of, text_of
from twinstep.store.search import Search
from twinstep.store.spelling import Spelling
from twinstep.store.vectors import Vector

_OF_KEY = "(SELECT n FROM twinstep_store_items WHERE prefix = ? AND key = ?)"
_PUT = """
    INSERT INTO twinstep_store_items AS old (prefix, key, value, created, updated, life, expires, terms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (prefix, key) DO UPDATE SET value = excluded.value, updated = excluded.updated, life = excluded.life,
        expires = excluded.expires, terms = excluded.terms,
        created = CASE WHEN old.expires <= excluded.updated THEN excluded.created ELSE old.created END"""
_PUT_VECTOR = """
    INSERT INTO twinstep_store_vectors (prefix, item, position, vector)
    SELECT prefix, n, {position}, {vector} FROM twinstep_store_items WHERE prefix = ? AND key = ?"""


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

    def at_once(self, batch: Batch, at: int) -> Program[Applied | None]:
        """Apply a batch of one read by one statement, which needs no transaction; None if it takes more."""
        applied, op = Applied([None], []), batch.reads[0][1]
        if not isinstance(op, SearchOp):
            applied.results[0] = yield from self._read(op, None, at, applied.refresh)
            return applied
        if not self._spelling.far:
            return None
        pairs = yield from Search(self._spelling, op, self._expiry.hidden_until(at)).at_once()
        if pairs is None:
            return None
        applied.results[0] = self._found(op, pairs, applied.refresh)
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
        places = [(text_of(write.namespace), write.key) for write in writes]
        if self._indexed:
            yield (
                f"DELETE FROM twinstep_store_vectors WHERE prefix = ? AND item = {_OF_KEY}",
                [(place[0], *place) for place in places],
            )
        gone = [place for place, write in zip(places, writes, strict=True) if write.data is None]
        if gone:
            yield "DELETE FROM twinstep_store_items WHERE prefix = ? AND key = ?", _one_or_all(gone)
        rows = [
            (
                *place,
                write.data,
                at,
                at,
                write.life,
                None if write.life is None else at + write.life,
                self._terms(write),
            )
            for place, write in zip(places, writes, strict=True)
            if write.data is not None
        ]
        if rows:
            yield _PUT, _one_or_all(rows)
        terms = [(term, *place) for place, write in zip(places, writes, strict=True) for term in write.terms]
        if terms and self._spelling.put_term:
            yield self._spelling.put_term, terms
        vectors = [
            (n, self._spelling.to_column(vector), *place)
            for place, write in zip(places, writes, strict=True)
            for n, vector in enumerate(write.vectors)
        ]
        if vectors:
            yield _PUT_VECTOR.format(position=self._spelling.number, vector=self._spelling.vector), vectors
        if self._spelling.table:
            yield from self._spelling.table.catch_up()

    def _terms(self, write: Write) -> Any:
        return self._spelling.numbers(write.terms) if write.terms else None

    # ------------------------------------------------------------------ reading

    def _read(
        self, op: GetOp | SearchOp | ListNamespacesOp, query: Vector | None, at: int, refresh: list[int]
    ) -> Program[Result]:
        hidden = self._expiry.hidden_until(at)
        if isinstance(op, ListNamespacesOp):
            return (yield from self._list(op, hidden))
        if isinstance(op, GetOp):
            sql = f"SELECT {ITEM} FROM twinstep_store_items WHERE prefix = ? AND key = ? AND {ALIVE}"
            found = [Row(*row) for row in (yield sql, (text_of(op.namespace), op.key, hidden))]
            self._note(op, found, refresh)
            return found[0].item() if found else None
        search = Search(self._spelling, op, hidden)
        return self._found(op, (yield from search.near(query) if query is not None else search.oldest()), refresh)

    def _found(self, op: SearchOp, pairs: Sequence[tuple[Row, SearchItem]], refresh: list[int]) -> list[SearchItem]:
        """Return what a search found, without the rows."""
        self._note(op, [row for row, _ in pairs], refresh)
        return [found for _, found in pairs]

    def _note(self, op: GetOp | SearchOp, rows: Sequence[Row], refresh: list[int]) -> None:
        """Take note of the rows whose time to live a read starts anew."""
        if self._expiry.refreshes(op.refresh_ttl):
            refresh += [row.n for row in rows if row.life is not None]

    def _list(self, op: ListNamespacesOp, hidden: int) -> Program[list[Namespace]]:
        start: Namespace = ()
        for condition in op.match_conditions or ():
            if condition.match_type == "prefix":
                literal = condition.path.index("*") if "*" in condition.path else len(condition.path)
                start = max(start, condition.path[:literal], key=len)
        where = (below(start) if start else EVERYWHERE).items & Condition(ALIVE, (hidden,))
        rows = yield f"SELECT DISTINCT prefix FROM twinstep_store_items WHERE {where.sql}", where.parameters
        return op.listed(namespace_of(row[0]) for row in rows)


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


def _one_or_all(rows: list[tuple[Any, ...]]) -> Any:
    """Return parameters for one row or for many: a single row is not worth a prepared loop."""
    return rows[0] if len(rows) == 1 else rows
