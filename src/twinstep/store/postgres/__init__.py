"""The store that keeps everything in a PostgreSQL database."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from sys import byteorder
from typing import TYPE_CHECKING, Any, Self

from twinstep.errors import InvalidConfigError, StorageError
from twinstep.sql.postgres import PostgresDatabase
from twinstep.sql.schema import Program
from twinstep.sql.source import Conn, PoolConfig
from twinstep.store.database import DatabaseStore
from twinstep.store.expiry import TTLConfig
from twinstep.store.postgres.approximate import KEYS, Approximate, approximate_index
from twinstep.store.postgres.base import PostgresIndexConfig
from twinstep.store.rows import Condition, Place, store_schema
from twinstep.store.spelling import Spelling
from twinstep.store.sql import StoreProgram, claim
from twinstep.store.vectors import IndexConfig, from_blob

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

__all__ = ["AsyncPostgresStore", "PoolConfig", "PostgresStore"]


def _to_text(vector: bytes) -> str:
    return "[" + ",".join([f"{number:.9g}" for number in from_blob(vector)]) + "]"


def _array(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _from_pgvector(column: bytes) -> bytes:
    """Return the bytes of a vector in pgvector's binary format: two 16-bit numbers, then 32-bit ones, big-endian."""
    if byteorder == "big":
        return from_blob(bytes(column[4:])).tobytes()
    vector = array("f", column[4:])
    vector.byteswap()
    return vector.tobytes()


def _narrowed(place: Place, needed: list[list[int]]) -> Program[Place | None]:
    """Narrow a place to the items that have one of each list of terms."""
    items, vectors, _ = place
    for terms in needed:
        some = _array(terms)
        items &= Condition("terms && ?::bigint[]", (some,))
        vectors &= Condition("item IN (SELECT n FROM twinstep_store_items WHERE terms && ?::bigint[])", (some,))
    yield from ()
    return Place(items, vectors, place.order)


_SCHEMA = store_schema(
    (
        "ALTER TABLE twinstep_store_items ADD COLUMN terms BIGINT[]",
        # without the list of what is to be added to it some day, through which every search would have to go
        "CREATE INDEX twinstep_store_items_terms ON twinstep_store_items USING gin (terms) WITH (fastupdate = off)",
    ),
    _array,
)
_PLAIN = Spelling(
    among="= ANY(?)",
    numbers=_array,
    narrowed=_narrowed,
    for_update=" FOR UPDATE",
    lock="SELECT pg_advisory_xact_lock(hashtext('twinstep_store_items'))",
    number="?::bigint",
    vector="?::bytea",
    far=True,
)
_WITH_EXTENSION = replace(
    _PLAIN,
    vector="?::vector",
    distance="vector <#> ?::vector",
    similarity=lambda distance: -distance,
    to_column=_to_text,
    from_column=_from_pgvector,
)


class PostgresStore(DatabaseStore):
    """Keeps items in PostgreSQL, for synchronous and asynchronous callers alike.

    One store may be used from any number of threads and event loops, and one database by any number of processes. The
    tables, whose names begin with `twinstep_store_`, are made on first use. A connection that was lost is made again by
    the next call. Asynchronous calls run in threads; with `pool_config` several run at once. Statements that come again
    and again are prepared, as psycopg's `prepare_threshold` says; behind a pooler that hands out connections for one
    transaction each, set that to None: `pool_config={"kwargs": {"prepare_threshold": None}}`.

    Searches by meaning are computed by pgvector if the database had it (or could make the extension) when the first
    store with an index was opened, else here; the order of results and their scores are the same. They find all that
    is near, unless `index` has an `ann_index_config`.

    Args:
        conn: a connection string; or a `psycopg.Connection` or `psycopg_pool.ConnectionPool`, which stays open when the
            store is closed.
        index: makes values searchable by meaning, see `twinstep.store.postgres.base.PostgresIndexConfig`.
        ttl: how long items live, see `twinstep.store.expiry.TTLConfig`.
        pool_config: makes a pool of connections from a connection string; without it there is one.
    """

    _plain = _PLAIN
    _index_keys = KEYS

    def __init__(
        self,
        conn: str | Conn | ConnectionPool[Any],
        *,
        index: IndexConfig | PostgresIndexConfig | None = None,
        ttl: TTLConfig | None = None,
        pool_config: PoolConfig | None = None,
    ) -> None:
        super().__init__(index=index, ttl=ttl)
        self._approximate = None if index is None else approximate_index(index)
        self._db = PostgresDatabase(conn, _SCHEMA, pool=pool_config, opened=self._opened)

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,
        pool_config: PoolConfig | None = None,
        index: IndexConfig | PostgresIndexConfig | None = None,
        ttl: TTLConfig | None = None,
    ) -> Self:
        """Return a store for a database; use it in `with` or `async with`, or call `close` at the end.

        `pipeline` has no effect: writes of a batch are always sent together.
        """
        return cls(conn_string, index=index, ttl=ttl, pool_config=pool_config)

    def _opened(self) -> None:
        db, dims = self._db, self._index.dims if self._index else None
        if dims is not None and not db.transact(claim(None)):
            self._use_pgvector()
        indexed = db.transact(claim(dims))
        spelling = _WITH_EXTENSION if db.transact(_column_type()) == "vector" else _PLAIN
        if self._approximate is not None:
            self._use_index(spelling, self._approximate)
            spelling = replace(spelling, table=self._approximate)
        self._sql = StoreProgram(spelling, self._expiry, indexed)

    def _use_index(self, spelling: Spelling, index: Approximate) -> None:
        """See that the database has the index that it was asked for."""
        if spelling.distance is None:
            raise InvalidConfigError(
                "The store's 'ann_index_config' needs pgvector, which the database did not have when the first store "
                "with an index was opened, or this user could not make (CREATE EXTENSION vector). Make it and put the "
                "items into a new store, or leave 'ann_index_config' out: then distances are computed here."
            )
        self._db.transact(index.create())

    def _use_pgvector(self) -> None:
        """Keep vectors, of which there are none yet, in the type of pgvector if the database has it."""
        with suppress(StorageError):  # not installed on the server, or not allowed: distances are computed in Python
            self._db.transact(_change_type())


def _change_type() -> Program[None]:
    yield "CREATE EXTENSION IF NOT EXISTS vector", ()
    yield "ALTER TABLE twinstep_store_vectors DROP COLUMN vector", ()
    yield "ALTER TABLE twinstep_store_vectors ADD COLUMN vector vector NOT NULL", ()


def _column_type() -> Program[str]:
    rows = yield (
        """SELECT format_type(atttypid, NULL) FROM pg_attribute
            WHERE attrelid = 'twinstep_store_vectors'::regclass AND attname = 'vector' AND NOT attisdropped""",
        (),
    )
    return str(rows[0][0])


AsyncPostgresStore = PostgresStore
"""The name that asynchronous programs look for; one class serves both kinds of callers."""
