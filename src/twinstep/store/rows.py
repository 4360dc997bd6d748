"""How a store lies in tables: the tables that every database has, rows, and conditions on them.

A namespace is one text, each label ended by a dot, so that what is below a prefix is one range of an index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from twinstep.errors import CheckpointCorruptError, StorageError
from twinstep.sql.schema import Program, Schema
from twinstep.store.backend import decoded, item
from twinstep.store.base import Item, Namespace
from twinstep.store.terms import terms_of

_FIRST_VERSION: Final = (
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
)
ITEM: Final = "n, prefix, key, value, created, updated, life"
ALIVE: Final = "(expires IS NULL OR expires > ?)"
_PAGE: Final = 4096


def store_schema(
    second_version: Sequence[str], numbers: Callable[[Sequence[int]], Any], put_term: str | None = None
) -> Schema:
    """Return the tables of one database.

    Args:
        second_version: the statements that add the column `terms`, by which items are found, and an index on it.
        numbers: makes a parameter of a list of numbers.
        put_term: see `Spelling.put_term`.
    """

    def fill() -> Program[None]:
        return _fill_terms(numbers, put_term)

    return Schema(
        "store",
        (_FIRST_VERSION, (*second_version, fill)),
        failed=StorageError,
        damaged=CheckpointCorruptError,
        table="twinstep_store_schema",
        user="store",
    )


def _fill_terms(numbers: Callable[[Sequence[int]], Any], put_term: str | None) -> Program[None]:
    """Note the terms of the items that are there."""
    after = -1
    while True:
        sql = f"SELECT n, prefix, key, value FROM twinstep_store_items WHERE n > ? ORDER BY n LIMIT {_PAGE}"
        rows = yield sql, (after,)
        if not rows:
            return
        after = rows[-1][0]
        terms = [terms_of(decoded(prefix, key, value)) for _, prefix, key, value in rows]
        noted = [(numbers(found), row[0]) for row, found in zip(rows, terms, strict=True) if found]
        if noted:
            yield "UPDATE twinstep_store_items SET terms = ? WHERE n = ?", noted
            if put_term:
                yield put_term, [(term, *row[1:3]) for row, found in zip(rows, terms, strict=True) for term in found]


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
        return item(namespace_of(self.prefix), self.key, value, self.created, self.updated)


class Condition(NamedTuple):
    """A condition on rows, with the parameters in it."""

    sql: str
    parameters: tuple[Any, ...] = ()

    def __and__(self, other: Condition) -> Condition:
        """Return the condition that both hold."""
        return Condition(f"{self.sql} AND {other.sql}", (*self.parameters, *other.parameters))


class Place(NamedTuple):
    """Where to look: what holds for the rows of items, and of vectors, and how to order items by their creation."""

    items: Condition
    vectors: Condition
    order: str = "n"


EVERYWHERE: Final = Place(Condition("TRUE"), Condition("TRUE"))


def within(prefix: str) -> Place:
    """Return the place that is one namespace, given as its text."""
    condition = Condition("prefix = ?", (prefix,))
    return Place(condition, condition)


def below(prefix: Namespace) -> Place:
    """Return the place that is all namespaces below a prefix."""
    # "/" is the character after ".". The sum keeps databases from walking through the whole table in the order of n.
    text = text_of(prefix)
    condition = Condition("prefix >= ? AND prefix < ?", (text, text[:-1] + "/"))
    return Place(condition, condition, "n + 0")


def text_of(namespace: Namespace) -> str:
    """Return the text that stands for a namespace."""
    return "".join([label + "." for label in namespace])


def namespace_of(prefix: str) -> Namespace:
    """Return the namespace that a text stands for."""
    return tuple(prefix[:-1].split("."))
