"""One SQLite connection: opening it, running programs in transactions, and errors that say what is wrong."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar, get_args
from weakref import WeakSet

from twinstep.errors import InvalidConfigError, TwinstepError, did_you_mean
from twinstep.sql.schema import Dialect, Program, Schema

T = TypeVar("T")
Synchronous = Literal["NORMAL", "FULL"]

MEMORY: Final = ":memory:"
DIALECT: Final = Dialect(serial="INTEGER PRIMARY KEY", blob="BLOB", text="TEXT", clustered=" WITHOUT ROWID")
_FAULTS = (sqlite3.Error, UnicodeError)
"""What the module raises: its own errors, and those of texts that cannot be stored or are damaged."""
_inherited: list[sqlite3.Connection] = []
"""Connections of the parent process: SQLite forbids to use or close them in a forked child."""
_databases: WeakSet[SqliteDatabase] = WeakSet()


class SqliteDatabase:
    """A connection that any number of threads may use, one at a time.

    The file is opened and its tables are made on first use. A forked child opens the file anew.

    Args:
        source: path of the file, `":memory:"`, a `file:` URI, or an open connection (made with
            `check_same_thread=False`), which stays open when the database is closed.
        schema: the tables.
        synchronous: "NORMAL" survives the end of the process at any moment, "FULL" a power loss as well.
        busy_timeout: seconds to wait for another process that writes.
        connect: opens a file with the arguments of `sqlite3.connect`.
        opened: called when the tables are there, before anything else runs on the connection.
    """

    lock: Any

    def __init__(
        self,
        source: str | os.PathLike[str] | sqlite3.Connection,
        schema: Schema,
        *,
        synchronous: Synchronous = "NORMAL",
        busy_timeout: float = 5.0,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        opened: Callable[[], object] | None = None,
    ) -> None:
        if synchronous not in get_args(Synchronous):
            hint = did_you_mean(synchronous, get_args(Synchronous))
            raise InvalidConfigError(f"synchronous must be 'NORMAL' or 'FULL', got {synchronous!r}.{hint}")
        if not 0 <= busy_timeout < 2**31 / 1000:
            raise InvalidConfigError(f"busy_timeout must be a number of seconds of 0 or more, got {busy_timeout!r}.")
        self.schema = schema
        self.lock = threading.RLock()
        self._given = source if isinstance(source, sqlite3.Connection) else None
        self._path = _path_of(source) if isinstance(source, sqlite3.Connection) else os.fspath(source)
        self._synchronous, self._patience = synchronous, busy_timeout
        self._make, self._opened = connect, opened
        self._conn: sqlite3.Connection | None = None
        self._closed = ""
        _databases.add(self)

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Connect and make the tables, if that has not been done.

        Raises:
            TwinstepError: the schema's `failed` or `damaged`: the file cannot be opened, or it is no database.
        """
        with self.lock:
            if self._conn is not None:
                return
            if self._closed:
                raise self.schema.failed(f"The {self.schema.name} database '{self._path}' {self._closed}.")
            try:
                self._connect()
            except BaseException as error:
                self._drop()
                if isinstance(error, _FAULTS):
                    raise self._failure(error) from error
                raise

    def _connect(self) -> None:
        self._conn = conn = self._given or self._make(
            self._path, timeout=self._patience, check_same_thread=False, uri=self._path.startswith("file:")
        )
        conn.isolation_level = None  # transactions begin and end where this module says so
        cursor = conn.cursor()
        cursor.row_factory = None
        self._execute, self._execute_many, self._fetch = cursor.execute, cursor.executemany, cursor.fetchall
        self._to_wal()
        for setting in (f"synchronous={self._synchronous}", "foreign_keys=ON"):
            self._execute(f"PRAGMA {setting}")
        made = self._execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (self.schema.table,)).fetchone()[0]
        if not made or self._version() != len(self.schema.migrations):
            self.transact(self._upgrade())
        if self._opened is not None:
            self._opened()

    def _upgrade(self) -> Program[None]:
        """Make the tables, unless another process was faster."""
        rows = yield "SELECT count(*) FROM sqlite_master WHERE name = ?", (self.schema.table,)
        yield from self.schema.upgrade(DIALECT, bool(rows[0][0]))

    def _version(self) -> int:
        return int(self._execute(f"SELECT version FROM {self.schema.table}").fetchone()[0])

    def _to_wal(self) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:  # two processes that do this at once may fail without waiting
                if _code(error).startswith("SQLITE_READONLY"):
                    return
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    # ------------------------------------------------------------------ running

    def run(self, program: Program[T]) -> T:
        """Run a program that reads with one statement, without a transaction; errors as in `transact`."""
        with self.lock:
            self.open()
            try:
                return self._run(program)
            except _FAULTS as error:
                raise self._failure(error) from error

    def transact(self, program: Program[T], *, write: bool = True) -> T:
        """Run a program in a transaction.

        Raises:
            TwinstepError: the program refused, or the database failed (the schema's `failed` or `damaged`); nothing was
                changed.
        """
        with self.lock:
            self.open()
            try:
                self._execute("BEGIN IMMEDIATE" if write else "BEGIN")
                result = self._run(program)
                self._execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    self._execute("ROLLBACK")
                if isinstance(error, _FAULTS):
                    raise self._failure(error) from error
                raise
            return result

    def _run(self, program: Program[T]) -> T:
        send, rows = program.send, None
        try:
            while True:
                sql, parameters = send(rows)  # type: ignore[arg-type]  # the first time, None
                if type(parameters) is tuple:
                    self._execute(sql, parameters)
                    rows = self._fetch()
                else:
                    self._execute_many(sql, parameters)
                    rows = []
        except StopIteration as stop:
            result: T = stop.value
            return result

    # ------------------------------------------------------------------ ends

    def close(self) -> None:
        """Close the connection, unless it was given; nothing can be done with it afterwards."""
        with self.lock:
            self._drop()
            self._closed = "was closed"

    def _drop(self) -> None:
        if self._conn is not None and self._conn is not self._given:
            self._conn.close()
        self._conn = None

    def _forked(self) -> None:
        """Leave the parent's connection alone in a forked child and make another one when it is needed."""
        if self._given is not None or self._path == MEMORY:
            self._closed = "belongs to the process that opened it; a forked child needs its own"
        if self._conn is not None:
            _inherited.append(self._conn)
        self.lock, self._conn = threading.RLock(), None

    def _failure(self, error: Exception) -> TwinstepError:
        """Return what an error of SQLite means to the user."""
        name = _code(error) or type(error).__name__
        where = f"The {self.schema.name} database '{self._path}'"
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "UnicodeDecodeError")):
            return self.schema.damaged(f"{where} is damaged or no SQLite database ({error}). Restore it from a backup.")
        if _is_busy(error):
            return self.schema.failed(
                f"{where} is locked by another process that did not finish within {self._patience:g} s; nothing was "
                "stored. Try again, or allow more time with busy_timeout."
            )
        mend = next((mend for prefix, mend in _MENDS.items() if name.startswith(prefix)), "Nothing was stored.")
        return self.schema.failed(f"{where} failed: {error} ({name}). {mend}")


_MENDS = {
    "SQLITE_FULL": "Nothing was stored; free some space and try again.",
    "SQLITE_READONLY": "It can be read but not written: check the permissions of the file and its directory.",
    "SQLITE_CANTOPEN": "Check that its directory exists and that this user may read and write there.",
    "SQLITE_IOERR": "Nothing was stored; check the disk and try again.",
    "ProgrammingError": "A connection that is given must stay open and be made with check_same_thread=False.",
}


def _code(error: Exception) -> str:
    """Return SQLite's name of an error; the Python module's own errors have none."""
    return getattr(error, "sqlite_errorname", "")


def _is_busy(error: Exception) -> bool:
    return _code(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _path_of(conn: sqlite3.Connection) -> str:
    return conn.execute("PRAGMA database_list").fetchone()[2] or MEMORY


def _after_fork() -> None:
    for database in list(_databases):
        database._forked()


os.register_at_fork(after_in_child=_after_fork)
