"""Where connections to PostgreSQL come from: one of its own, one that was given, or a pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from select import select as wait_for_data
from typing import Any, Generic, Protocol, TypedDict, TypeVar

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus

from twinstep.errors import InvalidConfigError, TwinstepError

T = TypeVar("T")
Conn = psycopg.Connection[Any]

_CONNECTIONS = 256
"""For so many at most something is kept."""
_inherited: list[object] = []
"""What belongs to the parent process: a forked child must neither use nor close it."""


class PoolConfig(TypedDict, total=False):
    """How many connections are held.

    Keys:
        min_size: so many are kept open; 1 when left out.
        max_size: so many at most; no more than `min_size` when left out or None.
        kwargs: further arguments of `psycopg.connect`.
    """

    min_size: int
    max_size: int | None
    kwargs: dict[str, Any]


class Source(Protocol):
    """Lends connections, each to one borrower at a time; raises the error it was made with when it cannot."""

    def connection(self) -> AbstractContextManager[Conn]:
        """Lend a connection that is in no transaction; one that comes back broken is not lent again."""
        ...

    def close(self) -> None:
        """Close what was opened here."""

    def forked(self) -> None:
        """Leave the parent's connections alone in a forked child."""


class Own:
    """Keeps one connection to a server open, and makes another one when it has broken."""

    def __init__(self, conninfo: str, failed: type[TwinstepError]) -> None:
        self._conninfo, self._failed = conninfo, failed
        self._conn: Conn | None = None
        self._lock = threading.Lock()
        self._closed = False

    def connection(self) -> AbstractContextManager[Conn]:
        return self

    def __enter__(self) -> Conn:
        self._lock.acquire()
        try:
            return self._open()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *error: object) -> None:
        if self._conn is not None and self._conn.pgconn.transaction_status != TransactionStatus.IDLE:
            self._drop()
        self._lock.release()

    def _open(self) -> Conn:
        if self._closed:
            raise self._failed("The connection to PostgreSQL was closed here; make another one.")
        if self._conn is None or not is_alive(self._conn):
            self._drop()
            self._conn = psycopg.connect(self._conninfo, autocommit=True, client_encoding="utf8")
        return self._conn

    def close(self) -> None:
        with self._lock:
            self._drop()
            self._closed = True

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    def forked(self) -> None:
        _inherited.append(self._conn)
        self._lock, self._conn = threading.Lock(), None


class Given:
    """Lends connections of the caller, set up as they are needed here and given back as they were.

    Args:
        lend: gives out a connection.
        failed: raised when there is none to lend.
        most: how many connections there may be, any of which may have died while nobody used it.
        close: ends what was opened for this source.
    """

    def __init__(
        self,
        lend: Callable[[], AbstractContextManager[Conn]],
        failed: type[TwinstepError],
        most: int = 1,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._lend, self._failed, self._most, self._close = lend, failed, most, close
        self._refusal = ""

    @contextmanager
    def connection(self) -> Iterator[Conn]:
        if self._refusal:
            raise self._failed(f"The connections to PostgreSQL {self._refusal}.")
        for _ in range(self._most):
            with self._lend() as conn:
                if is_alive(conn):
                    with self._in_autocommit(conn):
                        yield conn
                    return
        raise self._failed("The connection that was given is closed or has broken; give another one.")

    def close(self) -> None:
        self._refusal = "were given back when this was closed; give them again"
        self._close()

    def forked(self) -> None:
        self._refusal = "belong to the process that opened them; a forked child needs its own"

    @contextmanager
    def _in_autocommit(self, conn: Conn) -> Iterator[None]:
        """Let transactions begin and end where the borrower says so."""
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            raise self._failed(
                "The connection that was given is in a transaction of its owner; commit it, or give another connection."
            )
        before, conn.autocommit = conn.autocommit, True
        try:
            yield
        finally:
            if not before and conn.pgconn.transaction_status == TransactionStatus.IDLE:
                conn.autocommit = False


class PerConnection(Generic[T]):
    """What is made once for each connection and kept, as long as there are not too many."""

    def __init__(self, make: Callable[[Conn], T]) -> None:
        self._make = make
        self._made: dict[tuple[Conn, bytes | None], T] = {}

    def of(self, conn: Conn) -> T:
        """Return that of a connection; another one when its owner has changed the encoding."""
        key = conn, conn.pgconn.parameter_status(b"client_encoding")
        found = self._made.get(key)
        if found is None:
            for each in [*self._made]:
                if each[0].closed or len(self._made) >= _CONNECTIONS:
                    self._made.pop(each, None)
            found = self._made[key] = self._make(conn)
        return found

    def clear(self) -> None:
        """Keep nothing."""
        self._made.clear()


def is_alive(conn: Conn) -> bool:
    """Tell whether a connection is open; costs a round trip only if the server has said something unasked."""
    try:
        if conn.closed or not wait_for_data([conn.fileno()], [], [], 0)[0]:
            return not conn.closed
        return conn.pgconn.exec_(b"").status == ExecStatus.EMPTY_QUERY  # mostly it has said good-bye
    except (psycopg.Error, OSError, ValueError):
        return False


def source_of(conn: Any, failed: type[TwinstepError], pool: PoolConfig | None = None) -> Source:
    """Return the source of connections for what a user gave.

    Args:
        conn: a connection string, a connection or a pool. Of an asynchronous pool only the settings are used.
        failed: what the source raises when it has no connection to lend.
        pool: how many connections are held for a connection string; one when left out.

    Raises:
        InvalidConfigError: it is nothing of the kind.
    """
    if isinstance(conn, str):
        return Own(conn, failed) if pool is None else _pool_of(conn, failed, pool)
    if isinstance(conn, psycopg.Connection):
        return Given(_one_at_a_time(conn), failed)
    if hasattr(conn, "getconn"):  # a pool: psycopg_pool is only imported by those who use it
        return _source_of_pool(conn, failed)
    raise InvalidConfigError(
        f"Expected a connection string, a psycopg.Connection or a psycopg_pool.ConnectionPool, got a value of type "
        f"{type(conn).__name__}. Asynchronous callers are served by them too."
    )


def _one_at_a_time(conn: Conn) -> Callable[[], AbstractContextManager[Conn]]:
    lock = threading.Lock()

    @contextmanager
    def lend() -> Iterator[Conn]:
        with lock:
            yield conn

    return lend


def _source_of_pool(pool: Any, failed: type[TwinstepError]) -> Source:
    from psycopg_pool import AsyncConnectionPool

    if not isinstance(pool, AsyncConnectionPool):
        return Given(pool.connection, failed, pool.max_size + 1)
    conninfo, kwargs = pool.conninfo, pool.kwargs
    if not isinstance(conninfo, str) or callable(kwargs):
        raise InvalidConfigError(
            "An AsyncConnectionPool that computes how to connect cannot be taken over; give a ConnectionPool."
        )
    config: PoolConfig = {"min_size": pool.min_size, "max_size": pool.max_size, "kwargs": dict(kwargs or {})}
    return _pool_of(conninfo, failed, config)


def _pool_of(conninfo: str, failed: type[TwinstepError], config: PoolConfig) -> Source:
    """Return a source with a pool of its own."""
    from psycopg_pool import ConnectionPool

    least = config.get("min_size", 1)
    most = config.get("max_size") or max(least, 1)
    try:
        mine = ConnectionPool(conninfo, kwargs=config.get("kwargs"), min_size=least, max_size=most, open=True)
    except ValueError as error:
        raise InvalidConfigError(f"The pool cannot be made with {config!r}: {error}.") from error
    return Given(mine.connection, failed, most + 1, mine.close)
