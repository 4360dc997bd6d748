"""One search in SQL.

Filters are decided in Python, by `twinstep.store.filters` and nothing else, over rows that come along an index in order
of creation, page by page until there are enough: the index of the namespace, narrowed by the terms of equality filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from twinstep.sql.schema import Fresh, Program
from twinstep.store.backend import decoded, search_item
from twinstep.store.base import SearchItem, SearchOp
from twinstep.store.filters import matcher
from twinstep.store.ranking import ExactOrder
from twinstep.store.rows import ALIVE, EVERYWHERE, ITEM, Condition, Place, Row, below, text_of, within
from twinstep.store.spelling import Hits, Spelling
from twinstep.store.terms import needed_terms
from twinstep.store.vectors import Vector, similarities, to_blob

_FIRST_PAGE, _LARGEST_PAGE = 256, 16_384
_VECTORS_OF = """
    SELECT v.item, v.vector FROM twinstep_store_items i
    JOIN twinstep_store_vectors v ON v.prefix = i.prefix AND v.item = i.n WHERE i.n """
_BELOW = "EXISTS (SELECT 1 FROM twinstep_store_items WHERE prefix > ? AND prefix < ?)"
_ANY = Condition("TRUE")
_UNINDEXED = Condition("""NOT EXISTS (SELECT 1 FROM twinstep_store_vectors v
    WHERE v.prefix = twinstep_store_items.prefix AND v.item = twinstep_store_items.n)""")


class Search:
    """One search: what it looks for, and in which order."""

    def __init__(self, spelling: Spelling, op: SearchOp, hidden: int) -> None:
        self._spelling, self._op, self._hidden = spelling, op, hidden
        self._wanted = op.offset + op.limit
        self._test = None if op.filter is None else matcher(op.filter)
        self._alive = Condition(ALIVE, (hidden,))
        self._all_hits: Hits | None = None
        """Where the database cannot compute distances."""

    def oldest(self) -> Program[list[tuple[Row, SearchItem]]]:
        """Find items in the order of creation."""
        place = yield from self._place()
        if place is None or not self._op.limit:
            return []
        if self._op.filter is not None:
            return (yield from self._scan(place, self._wanted))[self._op.offset :]
        sql, parameters = _page(place.items & self._alive, place.order)
        rows = yield sql, (*parameters, -1, self._op.limit, self._op.offset)
        return self._matches(rows, self._op.limit)

    def at_once(self) -> Program[list[tuple[Row, SearchItem]] | None]:
        """Find by one statement what `oldest` finds; None if there are namespaces below, or one page is not enough."""
        op, text = self._op, text_of(self._op.namespace_prefix)
        size, offset = (op.limit, op.offset) if op.filter is None else (_FIRST_PAGE, 0)
        if offset > _FIRST_PAGE:  # not past so many rows in one go: see `_page`
            return None
        place = yield from self._narrowed(within(text) if text else EVERYWHERE)
        if place is None or not op.limit:
            return []
        others, bounds = (_BELOW, (text, text[:-1] + "/")) if text else ("FALSE", ())
        where, parameters = place.items & self._alive
        sql = f"""SELECT {others}, {ITEM} FROM (SELECT 1) AS one LEFT JOIN (SELECT {ITEM} FROM twinstep_store_items
            WHERE {where} ORDER BY {place.order} LIMIT ? OFFSET ?) AS item ON TRUE ORDER BY n"""
        rows = yield Fresh(sql), (*bounds, *parameters, size, offset)
        if rows[0][0]:
            return None
        rows = [row[1:] for row in rows if row[1] is not None]
        found = self._matches(rows, self._wanted)
        if op.filter is None:
            return found
        return found[op.offset :] if len(found) == self._wanted or len(rows) < size else None

    def near(self, query: Vector) -> Program[list[tuple[Row, SearchItem]]]:
        """Find items by their nearness to a query, those without vectors last."""
        spelling, prefix = self._spelling, self._op.namespace_prefix
        if spelling.far and spelling.table and prefix:  # which needs not know how many namespaces there are
            place = yield from self._narrowed(below(prefix))
        else:
            place = yield from self._place()
        if place is None or not self._op.limit:
            return []
        found: list[tuple[Row, SearchItem]] = []
        order, seen, size, last = ExactOrder[tuple[Row, SearchItem]](query), set[int](), 2 * self._wanted + 8, False
        while len(found) < self._wanted and not last:
            hits = yield from self._hits(place, query, size)
            last = len(hits) < size
            rough = {n: similarity for n, similarity in reversed(hits) if n not in seen}
            seen |= rough.keys()
            yield from self._sort_in(order, rough, found)
            found += map(_scored, order.leave(-2.0 if last else hits[-1][1]))
            size *= 8
        found.sort(key=_farness)  # as they are, unless what was asked for the nearest had missed some at first
        if len(found) < self._wanted:
            found += yield from self._scan(place, self._wanted - len(found), unindexed=True)
        return found[self._op.offset : self._wanted]

    def _sort_in(
        self, order: ExactOrder[tuple[Row, SearchItem]], rough: dict[int, float], found: list[tuple[Row, SearchItem]]
    ) -> Program[None]:
        """Read what has been hit, drop what does not fulfil the filter, and bring the rest into the exact order."""
        spelling, numbers = self._spelling, self._spelling.numbers(list(rough))
        sql = f"SELECT {ITEM} FROM twinstep_store_items WHERE n {spelling.among} AND {ALIVE}"
        rows = yield sql, (numbers, self._hidden)
        matching = {row[0]: match for row in rows if (match := self._match(row))}
        vectors = dict[int, list[bytes]]()
        for n, vector in (yield _VECTORS_OF + spelling.among, (spelling.numbers(list(matching)),)):
            vectors.setdefault(n, []).append(spelling.from_column(vector))
        for n in sorted(vectors, key=rough.__getitem__, reverse=True):
            found += map(_scored, order.leave(rough[n]))
            order.add(n, matching[n], vectors[n])

    def _hits(self, place: Place, query: Vector, size: int) -> Program[Hits]:
        """Return the numbers and similarities of the vectors nearest to a query."""
        spelling, (where, parameters) = self._spelling, place.vectors
        vector = spelling.to_column(to_blob(query))
        if spelling.table:
            hits = yield from spelling.table.nearest(place, vector, size)
            if hits is not None:
                return hits
        if spelling.distance:
            sql = f"""SELECT item, {spelling.distance} AS far FROM twinstep_store_vectors WHERE {where}
                ORDER BY far LIMIT ?"""
            rows = yield Fresh(sql), (vector, *parameters, size)
            return [(row[0], spelling.similarity(row[1])) for row in rows]
        if self._all_hits is None:
            rows = yield f"SELECT item, vector FROM twinstep_store_vectors WHERE {where}", parameters
            near = similarities(query, [spelling.from_column(row[1]) for row in rows])
            found = zip((row[0] for row in rows), near, strict=True)
            self._all_hits = sorted(found, key=lambda hit: hit[1], reverse=True)
        return self._all_hits[:size]

    def _scan(self, place: Place, wanted: int, unindexed: bool = False) -> Program[list[tuple[Row, SearchItem]]]:
        """Return the first items in the order of creation that fulfil the filter."""
        sql, parameters = _page(place.items & self._alive & (_UNINDEXED if unindexed else _ANY), place.order)
        found: list[tuple[Row, SearchItem]] = []
        after, size = -1, _FIRST_PAGE
        while True:
            rows = yield sql, (*parameters, after, size, 0)
            found += self._matches(rows, wanted - len(found))
            if len(found) == wanted or len(rows) < size:
                return found
            after, size = rows[-1][0], min(size * 8, _LARGEST_PAGE)

    def _matches(self, rows: Sequence[Any], most: int) -> list[tuple[Row, SearchItem]]:
        """Return the first rows that fulfil the filter."""
        return list(islice((match for row in rows if (match := self._match(row))), most))

    def _match(self, columns: Sequence[Any]) -> tuple[Row, SearchItem] | None:
        value = decoded(columns[1], columns[2], columns[3])
        if self._test is not None and not self._test(value):
            return None
        row = Row(*columns)
        return row, search_item(row.item_of(value), None)

    def _place(self) -> Program[Place | None]:
        """Return where to look, None when there is nothing to find."""
        place = (yield from self._namespaces()) if self._op.namespace_prefix else EVERYWHERE
        return (yield from self._narrowed(place))

    def _narrowed(self, place: Place | None) -> Program[Place | None]:
        """Narrow a place to the items that the filter may hold for."""
        needed = needed_terms(self._op.filter) if place and self._op.filter else []
        if place is None or not all(needed):
            return None
        return (yield from self._spelling.narrowed(place, needed)) if needed else place

    def _namespaces(self) -> Program[Place | None]:
        """Return the place below the prefix; one namespace, when there is just one, is read along its index."""
        place = below(self._op.namespace_prefix)
        where, parameters = place.items
        sql = f"""SELECT (SELECT min(prefix) FROM twinstep_store_items WHERE {where}),
            (SELECT max(prefix) FROM twinstep_store_items WHERE {where})"""
        first, last = (yield sql, parameters * 2)[0]
        if first is None:
            return None
        return within(first) if first == last else place


def _page(where: Condition, order: str) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that reads a page of items in order of creation, and the first of its parameters.

    The others are the number that the items come after, how many there are at most, and how many of them are left out.
    Which ones they are is found in indexes, whatever the size of values.
    """
    sql = f"""
        SELECT {ITEM} FROM twinstep_store_items JOIN (
            SELECT n AS m FROM twinstep_store_items WHERE {where.sql} AND n > ?
            ORDER BY {order} LIMIT ? OFFSET ?) AS page ON n = m ORDER BY n"""
    return Fresh(sql), where.parameters


def _farness(pair: tuple[Row, SearchItem]) -> float:
    return -(pair[1].score or 0.0)


def _scored(pair: tuple[tuple[Row, SearchItem], float]) -> tuple[Row, SearchItem]:
    (row, found), score = pair
    return row, search_item(found, score)
