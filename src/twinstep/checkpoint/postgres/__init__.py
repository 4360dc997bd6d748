"""The saver that keeps everything in a PostgreSQL database; it needs the extra `twinstep[postgres]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from twinstep.checkpoint.grouped import SqlSaver
from twinstep.checkpoint.postgres.database import PROGRAM, Database
from twinstep.errors import CheckpointStorageError
from twinstep.serde import Serializer
from twinstep.sql.source import Conn, source_of

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

__all__ = ["PostgresSaver"]


class PostgresSaver(SqlSaver[Database]):
    """Keeps checkpoints in a PostgreSQL database, for synchronous and asynchronous callers alike.

    One saver may be used from any number of threads and event loops, one database by any number of processes and
    machines. Commits that arrive while another is being stored share the next transaction; a commit takes one round
    trip where this saver wrote last, else two. An asynchronous caller never waits on its event loop: the work is done
    in a thread. The tables are made on first use, by one process at a time; their names begin with `twinstep_`, and
    they go where the connection's `search_path` says. No state is left in a session and no statement is prepared, so a
    pooler may stand in between that hands out connections for one transaction each.

    What a commit that has returned survives is what the server promises: with its default settings, the end of the
    process, of the server, and a power loss. When the connection breaks, the commit in flight raises
    `CheckpointStorageError`, and the next call connects anew. A saver from `from_conn_string` does so in a forked child
    too; one that was given a connection or a pool refuses to work there.

    Args:
        conn: a connection string, for which one connection is kept open; an open psycopg connection, which the saver
            takes over; or a `psycopg_pool.ConnectionPool`, so that reads do not wait for each other. Of an
            `AsyncConnectionPool` only the settings are used, for a pool of the saver's own.
        serde: encodes the values; the default refuses types that are not registered.
        lock_timeout: seconds to wait while another process writes to the same thread.

    Raises:
        InvalidConfigError: an argument cannot be used.
    """

    def __init__(
        self, conn: str | Conn | ConnectionPool[Any], *, serde: Serializer | None = None, lock_timeout: float = 30.0
    ) -> None:
        super().__init__(Database(source_of(conn, CheckpointStorageError), lock_timeout), PROGRAM, serde=serde)
        self.overlaps: bool = True

    @classmethod
    def from_conn_string(cls, conn_string: str, *, serde: Serializer | None = None, lock_timeout: float = 30.0) -> Self:
        """Return a saver for a database; use it in `with` or `async with`, or call `close` at the end."""
        return cls(conn_string, serde=serde, lock_timeout=lock_timeout)

    def compact(self) -> None:
        """Write the tables anew, without the space and the bytes of removed rows; other callers wait for it.

        The server's own copies are its own affair: its log (until the segments are reused), archives, replicas and
        backups.

        Raises:
            CheckpointStorageError: the database failed, or this user does not own the tables.
        """
        self._db.compact()
