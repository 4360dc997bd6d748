"""A cache in an SQLite file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from twinstep.cache.base import FullKey, Namespace, Serde
from twinstep.cache.shared import SharedCache, text
from twinstep.errors import StorageError
from twinstep.sql.schema import Program, Schema
from twinstep.sql.sqlite import SqliteDatabase

__all__ = ["SqliteCache"]

V = TypeVar("V")
SCHEMA: Final = Schema(
    "cache",
    (
        (
            """CREATE TABLE twinstep_cache (
                ns {text} NOT NULL, key {text} NOT NULL, expires DOUBLE PRECISION, value {blob} NOT NULL,
                PRIMARY KEY (ns, key)){clustered}""",
            "CREATE INDEX twinstep_cache_expires ON twinstep_cache (expires) WHERE expires IS NOT NULL",
        ),
    ),
    failed=StorageError,
    damaged=StorageError,
    table="twinstep_cache_schema",
    user="cache",
)


class SqliteCache(SharedCache[V]):
    """Keep values in an SQLite file until they expire or are cleared, for all processes of a machine.

    Safe to use from several threads and event loops. Expired values are removed by later writes.

    Args:
        path: of the file, made if it is missing; `":memory:"` keeps the values in this process.
        serde: turns values into bytes and back; `twinstep.serde.Serializer()` when left out.

    Example:
        >>> with SqliteCache(path=":memory:") as cache:
        ...     cache.set({(("square",), "3"): (9, 60)})
        ...     cache.get([(("square",), "3"), (("square",), "4")])
        {(('square',), '3'): 9}
    """

    def __init__(self, *, path: str | os.PathLike[str], serde: Serde | None = None) -> None:
        super().__init__(serde=serde)
        self._db = SqliteDatabase(path, SCHEMA)

    def _fetch(self, keys: Sequence[FullKey]) -> Mapping[FullKey, bytes]:
        program = _fetch(keys, time.time())
        return self._db.autocommit(program) if len(keys) == 1 else self._db.transact(program, write=False)

    def _keep(self, rows: Mapping[FullKey, tuple[bytes, float | None]]) -> None:
        self._db.transact(_keep(rows, time.time()))

    def _forget(self, namespaces: Sequence[Namespace] | None) -> None:
        self._db.transact(_forget(namespaces))

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fetch(keys: Sequence[FullKey], now: float) -> Program[dict[FullKey, bytes]]:
    found = {}
    sql = "SELECT value FROM twinstep_cache WHERE ns = ? AND key = ? AND (expires IS NULL OR expires > ?)"
    for key in keys:
        for (value,) in (yield sql, (text(key[0]), text(key[1]), now)):
            found[key] = value
    return found


def _keep(rows: Mapping[FullKey, tuple[bytes, float | None]], now: float) -> Program[None]:
    yield "DELETE FROM twinstep_cache WHERE expires <= ?", (now,)
    sql = """INSERT INTO twinstep_cache (ns, key, expires, value) VALUES (?, ?, ?, ?)
        ON CONFLICT (ns, key) DO UPDATE SET expires = excluded.expires, value = excluded.value"""
    yield (
        sql,
        [(text(ns), text(key), None if ttl is None else now + ttl, data) for (ns, key), (data, ttl) in rows.items()],
    )


def _forget(namespaces: Sequence[Namespace] | None) -> Program[None]:
    if namespaces is None:
        yield "DELETE FROM twinstep_cache", ()
    else:
        yield "DELETE FROM twinstep_cache WHERE ns = ?", [(text(ns),) for ns in namespaces]
