"""The store that keeps everything in an SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import suppress
from dataclasses import replace
from typing import Self

from twinstep.errors import StorageError
from twinstep.sql.schema import Program
from twinstep.sql.sqlite import SqliteDatabase, Synchronous
from twinstep.store.database import DatabaseStore
from twinstep.store.expiry import TTLConfig
from twinstep.store.spelling import Spelling
from twinstep.store.sql import StoreProgram, claim
from twinstep.store.sqlite.extension import connect, has_vectors
from twinstep.store.sqlite.tables import PUT_TERM, SCHEMA, narrowed
from twinstep.store.sqlite.vector_table import Vec0Table
from twinstep.store.vectors import IndexConfig

__all__ = ["AsyncSqliteStore", "SqliteStore"]

_PLAIN = Spelling(among="IN (SELECT value FROM json_each(?))", numbers=json.dumps, narrowed=narrowed, put_term=PUT_TERM)
_WITH_EXTENSION = replace(
    _PLAIN,
    distance="vec_distance_l2(vector, ?)",
    similarity=lambda distance: 1 - distance * distance / 2,  # of unit vectors
)


class SqliteStore(DatabaseStore):
    """Keeps items in an SQLite file, for synchronous and asynchronous callers alike.

    One store may be used from any number of threads and event loops, and one file by any number of processes on the
    same machine, also beside a `SqliteSaver`: the names of its tables begin with `twinstep_store_`. They are made on
    first use. What a call that has returned has written survives the end of the process at any moment; with
    `synchronous="FULL"` a power loss as well.

    Searches by meaning are computed by sqlite-vec where it can be loaded (extra `vectors`), else here; the order of
    results and their scores are the same. With it the file holds the vectors twice, once in a form that is searched
    faster; processes without it read and write the file nevertheless.

    Args:
        conn: path of the file, made if it is missing; `":memory:"`; an SQLite `file:` URI; or an open connection (made
            with `check_same_thread=False`), which stays open when the store is closed.
        index: makes values searchable by meaning, see `twinstep.store.vectors.IndexConfig`.
        ttl: how long items live, see `twinstep.store.expiry.TTLConfig`.
        synchronous: "NORMAL" or "FULL".
        busy_timeout: seconds to wait while another process writes.

    Example:
        >>> with SqliteStore.from_conn_string(":memory:") as store:
        ...     store.put(("users", "42"), "likes", {"food": "soup", "since": (2024, 5)})
        ...     store.search(("users",), filter={"food": {"$in": ["soup", "rice"]}})[0].value
        {'food': 'soup', 'since': (2024, 5)}
    """

    _plain = _PLAIN

    def __init__(
        self,
        conn: str | os.PathLike[str] | sqlite3.Connection,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        synchronous: Synchronous = "NORMAL",
        busy_timeout: float = 5.0,
    ) -> None:
        super().__init__(index=index, ttl=ttl)
        self._db = SqliteDatabase(
            conn,
            SCHEMA,
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            connect=connect if index is not None else sqlite3.connect,
            opened=self._opened,
        )

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str | os.PathLike[str],
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        synchronous: Synchronous = "NORMAL",
        busy_timeout: float = 5.0,
    ) -> Self:
        """Return a store for a file; use it in `with` or `async with`, or call `close` at the end."""
        return cls(conn_string, index=index, ttl=ttl, synchronous=synchronous, busy_timeout=busy_timeout)

    def _opened(self) -> None:
        dims = self._index.dims if self._index else None
        indexed, spelling = self._db.autocommit(claim(dims)), _PLAIN
        if dims is not None and has_vectors(self._db):
            # a search reads all vectors: without a copy of each page it takes half the time
            self._db.autocommit(_map_file())
            spelling = replace(_WITH_EXTENSION, table=self._vector_table(dims))
        self._sql = StoreProgram(spelling, self._expiry, indexed)

    def _vector_table(self, dims: int) -> Vec0Table | None:
        """Return the copy of the vectors, made if that is possible."""
        table = Vec0Table()
        with suppress(StorageError):  # the file may only be read, or another process writes for long
            self._db.transact(table.create(dims))
        return table if self._db.autocommit(table.exists()) else None


def _map_file() -> Program[None]:
    yield f"PRAGMA mmap_size = {2**30}", ()


AsyncSqliteStore = SqliteStore
"""The name that asynchronous programs look for; one class serves both kinds of callers."""
