"""What the tables of a store have in SQLite only: numbered vectors, and a table of terms."""

from __future__ import annotations

import json
from typing import Final

from twinstep.sql.schema import Program
from twinstep.store.rows import Condition, Place, store_schema

_ON: Final = """CREATE TRIGGER twinstep_store_terms_{} AFTER {} ON twinstep_store_items WHEN OLD.terms IS NOT {} BEGIN
    DELETE FROM twinstep_store_terms
    WHERE prefix = OLD.prefix AND item = OLD.n AND term IN (SELECT value FROM json_each(OLD.terms)); END"""
PUT_TERM: Final = """INSERT OR IGNORE INTO twinstep_store_terms (term, prefix, item)
    SELECT ?, prefix, n FROM twinstep_store_items WHERE prefix = ? AND key = ?"""
"""Not in a trigger, which would have to take the terms of each item out of a list: that takes three times as long."""
SCHEMA: Final = store_schema(
    (
        "ALTER TABLE twinstep_store_items ADD COLUMN terms TEXT",
        """CREATE TABLE twinstep_store_terms (
            term BIGINT NOT NULL, prefix TEXT NOT NULL, item BIGINT NOT NULL, PRIMARY KEY (term, prefix, item))
            WITHOUT ROWID""",
        _ON.format("delete", "DELETE", "NULL"),
        _ON.format("update", "UPDATE OF terms", "NEW.terms"),
        "ALTER TABLE twinstep_store_vectors RENAME TO twinstep_store_vectors_1",
        """CREATE TABLE twinstep_store_vectors (
            v INTEGER PRIMARY KEY AUTOINCREMENT, prefix TEXT NOT NULL, item BIGINT NOT NULL, position INTEGER NOT NULL,
            vector BLOB NOT NULL, UNIQUE (prefix, item, position))""",
        """INSERT INTO twinstep_store_vectors (prefix, item, position, vector)
            SELECT prefix, item, position, vector FROM twinstep_store_vectors_1""",
        "DROP TABLE twinstep_store_vectors_1",
    ),
    json.dumps,
    PUT_TERM,
)
"""No number of a vector is ever used again, so that what has been derived from one can be told from its successor."""

_MANY: Final = 4096
"""So many items with a term are too many to look up each."""
_OF_TERMS = "term IN (SELECT value FROM json_each(?))"


def narrowed(place: Place, needed: list[list[int]]) -> Program[Place | None]:
    """Narrow a place to the items that have one of each list of terms; return None when there is none.

    The rarest is looked up. When even that one leads to many items, a few of them will come soon enough along the
    namespace.
    """
    where, parameters = place.items
    counts = f"""(SELECT count(*) FROM (
        SELECT 1 FROM twinstep_store_terms WHERE {_OF_TERMS} AND {where} LIMIT {_MANY}))"""
    given = [json.dumps(terms) for terms in needed]
    wanted = tuple(each for terms in given for each in (terms, *parameters))
    found = list((yield "SELECT " + ", ".join([counts] * len(given)), wanted)[0])
    rarest = found.index(min(found))
    if not found[rarest]:
        return None
    if found[rarest] == _MANY:
        return place
    sql = f"IN (SELECT item FROM twinstep_store_terms WHERE {_OF_TERMS} AND {where})"
    lookup = given[rarest], *parameters
    return Place(Condition(f"n {sql}", lookup), place.vectors & Condition(f"item {sql}", lookup), place.order)
