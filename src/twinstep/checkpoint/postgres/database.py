"""A PostgreSQL database: programs in transactions of few round trips, and errors that say what is wrong.

Statements go to the server as text with their parameters written into it by psycopg (the simple query protocol):
several of them travel together, and none leaves a prepared statement behind, which a pooler could not keep. A program's
writes wait until it reads again or ends, so a commit takes two round trips: one that reads how the thread stands, one
that writes and ends the transaction. Where it is foreseen what the first would read, the server checks that before it
writes, and a commit takes one.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg import abc, errors
from psycopg.adapt import Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from twinstep.checkpoint.sql import SCHEMA, Dialect, SqlProgram
from twinstep.errors import (
    CheckpointCorruptError,
    CheckpointStorageError,
    InvalidConfigError,
    OutcomeUnknownError,
    TwinstepError,
)
from twinstep.sql.postgres import DIALECT, native
from twinstep.sql.schema import Program
from twinstep.sql.source import Conn, PerConnection, Source

T = TypeVar("T")

PROGRAM = SqlProgram(Dialect(**vars(DIALECT), head_key=", UNIQUE (thread, n)", by_name=True, verifies=True))

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {}"
_FAULTS = (psycopg.Error, UnicodeError)


class Session:
    """One transaction on a connection."""

    def __init__(self, conn: Conn, transformer: abc.Transformer, begin: str) -> None:
        self._conn, self._transformer = conn, transformer
        self._literal = transformer.as_literal
        self._unsent = [begin.encode()]
        self._writes = begin != _READ

    def run(self, program: Program[T]) -> T:
        """Run a program, sending what it writes together with the next read."""
        send, unsent, write = program.send, self._unsent, self._written
        rows: Any = None
        try:
            while True:
                statement = send(rows)
                if isinstance(statement, list):
                    unsent += [write(sql, tuple(parameters)) for sql, parameters in statement]
                    rows = self._read(len(statement))
                    continue
                sql, parameters = statement
                if type(parameters) is tuple:
                    unsent.append(write(sql, parameters))
                    rows = self._read(1)[0]
                else:
                    unsent += [write(sql, each) for each in parameters]
                    rows = None
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _written(self, sql: str, parameters: tuple[Any, ...]) -> bytes:
        """Return a statement with its parameters quoted in it."""
        return _template(sql) % tuple(map(self._literal, parameters))

    def commit(self) -> None:
        """End the transaction so that it is stored.

        Raises:
            OutcomeUnknownError: the connection broke before the server said whether it is.
        """
        self._unsent.append(b"COMMIT")
        try:
            self._send()
        except psycopg.OperationalError as error:
            if not (self._conn.closed and self._writes):
                raise
            raise OutcomeUnknownError(
                f"The connection to PostgreSQL broke while a commit was being stored ({error}): it may be stored, or "
                "not. The next call connects anew and sees which; a run that goes on there loses nothing."
            ) from error

    def rollback(self) -> None:
        """End the transaction without a trace."""
        self._unsent[:] = [b"ROLLBACK"]
        with suppress(psycopg.Error):  # the connection has broken: the server does the same
            self._send()

    def _read(self, n: int) -> list[list[Any]]:
        """Send what waits, and return the rows of each of the last `n` statements."""
        found = []
        for result in self._send()[-n:]:
            self._transformer.set_pgresult(result)
            found.append(self._transformer.load_rows(0, result.ntuples, tuple))
        self._transformer.set_pgresult(None)  # whose bytes would be kept with it
        return found

    def _send(self) -> list[PGresult]:
        """Send what waits, and return the results of the statements.

        This is what a cursor does for text without parameters, in a fifth of the time.
        """
        text = b";".join(self._unsent)
        self._unsent.clear()
        pgconn = self._conn.pgconn
        pgconn.send_query(text)
        results: list[PGresult] = self._conn.wait(execute(pgconn))
        if results[-1].status == ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(results[-1])
        return results


@lru_cache(1024)
def _template(sql: str) -> bytes:
    text: str = native(sql)
    return text.encode()


class Database:
    """A database that any number of threads may read, and one at a time write: whoever holds `lock`.

    Args:
        source: lends connections.
        lock_timeout: seconds to wait for another process that writes.
    """

    lock: threading.Lock

    def __init__(self, source: Source, lock_timeout: float) -> None:
        if not 0 < lock_timeout < 2**31 / 1000:
            raise InvalidConfigError(f"lock_timeout must be a number of seconds of more than 0, got {lock_timeout!r}.")
        self.lock = threading.Lock()
        self._source = source
        self._patience = lock_timeout
        self._write = _WRITE.format(max(1, int(lock_timeout * 1000)))
        self._ready = False
        self._transformers: PerConnection[abc.Transformer] = PerConnection(Transformer)
        self._lent: AbstractContextManager[Conn] | None = None
        self._session: Session | None = None

    def open(self) -> None:
        """Connect and make the tables, if that has not been done.

        Raises:
            CheckpointStorageError: the server cannot be reached, or the tables cannot be made.
        """
        if self._ready:
            return
        if self._transact(_READ, SCHEMA.version(DIALECT)) < len(SCHEMA.migrations):
            self._transact(self._write, SCHEMA.upgrade(PROGRAM._dialect))
        self._ready = True

    # ------------------------------------------------------------------ transactions

    def begin(self, wait: bool = True) -> bool:
        """Begin a transaction that writes; the server sees itself whether what is expected of it still holds."""
        self.open()
        lent = self._source.connection()
        try:
            self._session = self._begun(lent.__enter__(), self._write)
        except _FAULTS as error:
            raise self.failure(error) from error
        self._lent = lent
        return True

    def _begun(self, conn: Conn, begin: str) -> Session:
        """Return a transaction on a connection, with what turned its values into text and back before."""
        return Session(conn, self._transformers.of(conn), begin)

    def run(self, program: Program[T]) -> T:
        """Run a program in the transaction that has begun."""
        assert self._session is not None
        return self._session.run(program)

    def commit(self) -> None:
        """End the transaction so that it is stored."""
        assert self._session is not None
        self._session.commit()
        self._give_back()

    def rollback(self) -> None:
        """End the transaction without a trace."""
        if self._session is not None:
            self._session.rollback()
            self._give_back()

    def _give_back(self) -> None:
        lent, self._session, self._lent = self._lent, None, None
        if lent is not None:
            lent.__exit__(None, None, None)

    def transact(self, program: Program[T], *, write: bool = True) -> T:
        """Run a program in a transaction of its own; one that does not `write` sees one state of the database."""
        self.open()
        return self._transact(self._write if write else _READ, program)

    def _transact(self, begin: str, program: Program[T]) -> T:
        try:
            with self._source.connection() as conn:
                session = self._begun(conn, begin)
                try:
                    result = session.run(program)
                    session.commit()
                except BaseException:
                    session.rollback()
                    raise
                return result
        except _FAULTS as error:
            raise self.failure(error) from error

    def compact(self) -> None:
        """Write the tables anew without the bytes of removed rows.

        Raises:
            CheckpointStorageError: the database failed.
        """
        self.open()
        try:
            with self._source.connection() as conn:
                conn.execute("VACUUM (FULL) twinstep_threads, twinstep_heads, twinstep_checkpoints, twinstep_records")
        except _FAULTS as error:
            raise self.failure(error) from error

    # ------------------------------------------------------------------ ends

    def close(self) -> None:
        """Let connections go that were opened here."""
        self._transformers.clear()
        self._source.close()

    def forked(self) -> None:
        """Start over in a forked child."""
        self.lock, self._lent, self._session = threading.Lock(), None, None
        self._source.forked()

    def failure(self, error: Exception) -> TwinstepError:
        """Return what an error of the server or the driver means to the user."""
        if isinstance(error, UnicodeError | errors.DataError | errors.ProgramLimitExceeded):
            return InvalidConfigError(f"PostgreSQL cannot store an id: {error}.")
        if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
            return CheckpointCorruptError(f"The PostgreSQL database is damaged ({error}). Restore it from a backup.")
        if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected):
            return CheckpointStorageError(
                f"Another process that writes to the thread did not finish within {self._patience:g} s; nothing was "
                "stored. Try again, or allow more time with lock_timeout."
            )
        code = f" ({error.sqlstate})" if isinstance(error, psycopg.Error) and error.sqlstate else ""
        mend = next((mend for kind, mend in _MENDS if isinstance(error, kind)), "Nothing was stored.")
        return CheckpointStorageError(f"PostgreSQL failed: {str(error).strip()}{code}. {mend}")


_MENDS: tuple[tuple[type[Exception], str], ...] = (
    (
        errors.InsufficientPrivilege,
        "Give this user the rights on the tables, or call setup() as one who may make them.",
    ),
    (errors.ReadOnlySqlTransaction, "The server only reads (a replica, perhaps); connect to one that writes."),
    (errors.UndefinedTable, "The tables were removed, or the search_path changed; make another saver."),
    (errors.DiskFull, "Nothing was stored; free some space and try again."),
    (psycopg.OperationalError, "Nothing was stored; the next call connects anew."),
)
