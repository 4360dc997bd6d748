"""Where connections come from: one of its own, one that was given, or a pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from select import select as wait_for_data
from typing import Any, Protocol

import psycopg
from psycopg.pq import TransactionStatus

from twinstep.errors import CheckpointStorageError, InvalidConfigError

Conn = psycopg.Connection[Any]

_inherited: list[object] = []
"""What belongs to the parent process: a forked child must neither use nor close it."""


class Source(Protocol):
    """Lends connections, each to one borrower at a time."""

    def connection(self) -> AbstractContextManager[Conn]:
        """Lend a connection that is in no transaction; one that comes back broken is not lent again."""
        ...

    def close(self) -> None:
        """Close what was opened here."""

    def forked(self) -> None:
        """Leave the parent's connections alone in a forked child."""


class Own:
    """Keeps one connection to a server open, and makes another one when it has broken."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._conn: Conn | None = None
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Conn]:
        with self._lock:
            if self._closed:
                raise CheckpointStorageError("The saver was closed; make another one.")
            if self._conn is None or not is_alive(self._conn):
                self._drop()
                self._conn = psycopg.connect(self._conninfo, autocommit=True, client_encoding="utf8")
            try:
                yield self._conn
            finally:
                if self._conn.info.transaction_status != TransactionStatus.IDLE:
                    self._drop()

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
        most: how many connections there may be, any of which may have died while nobody used it.
        close: ends what was opened for the saver.
    """

    def __init__(
        self,
        lend: Callable[[], AbstractContextManager[Conn]],
        most: int = 1,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._lend, self._most, self._close = lend, most, close
        self._refusal = ""

    @contextmanager
    def connection(self) -> Iterator[Conn]:
        if self._refusal:
            raise CheckpointStorageError(f"The saver's connections {self._refusal}.")
        for _ in range(self._most):
            with self._lend() as conn:
                if is_alive(conn):
                    with _in_autocommit(conn):
                        yield conn
                    return
        raise CheckpointStorageError("The connection given to the saver is closed or has broken; give it another one.")

    def close(self) -> None:
        self._refusal = "were given back when it was closed; make another saver"
        self._close()

    def forked(self) -> None:
        self._refusal = "belong to the process that opened them; a forked child needs a saver of its own"


@contextmanager
def _in_autocommit(conn: Conn) -> Iterator[None]:
    """Let transactions begin and end where the saver says so."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        raise CheckpointStorageError(
            "The connection given to the saver is in a transaction of its owner; commit it, or give the saver a "
            "connection of its own."
        )
    before, conn.autocommit = conn.autocommit, True
    try:
        yield
    finally:
        if not before and conn.info.transaction_status == TransactionStatus.IDLE:
            conn.autocommit = False


def is_alive(conn: Conn) -> bool:
    """Tell whether a connection is open, as far as the server has said; costs no round trip."""
    try:
        while not conn.closed and wait_for_data([conn.fileno()], [], [], 0)[0]:
            conn.pgconn.consume_input()  # nobody has asked the server anything: it says good-bye
    except (psycopg.Error, OSError, ValueError):
        return False
    return not conn.closed


def source_of(conn: Any) -> Source:
    """Return the source of connections for what a saver was given.

    Raises:
        InvalidConfigError: it is nothing of the kind.
    """
    if isinstance(conn, str):
        return Own(conn)
    if isinstance(conn, psycopg.Connection):
        return Given(_one_at_a_time(conn))
    if hasattr(conn, "getconn"):  # a pool: psycopg_pool is only imported by those who use it
        return _source_of_pool(conn)
    raise InvalidConfigError(
        f"PostgresSaver needs a connection string, a psycopg.Connection or a psycopg_pool.ConnectionPool, got a value "
        f"of type {type(conn).__name__}. Asynchronous callers are served by the same saver."
    )


def _one_at_a_time(conn: Conn) -> Callable[[], AbstractContextManager[Conn]]:
    lock = threading.Lock()

    @contextmanager
    def lend() -> Iterator[Conn]:
        with lock:
            yield conn

    return lend


def _source_of_pool(pool: Any) -> Source:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    if not isinstance(pool, AsyncConnectionPool):
        return Given(pool.connection, pool.max_size + 1)
    conninfo, kwargs = pool.conninfo, pool.kwargs
    if not isinstance(conninfo, str) or callable(kwargs):
        raise InvalidConfigError(
            "A saver cannot take over an AsyncConnectionPool that computes how to connect; give it a ConnectionPool."
        )
    mine: ConnectionPool[Any] = ConnectionPool(
        conninfo, kwargs=kwargs, min_size=pool.min_size, max_size=pool.max_size, open=True
    )
    return Given(mine.connection, mine.max_size + 1, mine.close)
