"""One SQLite connection: opening it, running programs in transactions, and errors that say what is wrong."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from twinstep.errors import InvalidConfigError, StorageError, TwinstepError, did_you_mean
from twinstep.forked import when_forked
from twinstep.sql.schema import Dialect, Program, Schema

T = TypeVar("T")
Synchronous = Literal["NORMAL", "FULL"]

MEMORY: Final = ":memory:"
DIALECT: Final = Dialect(
    serial="INTEGER PRIMARY KEY",
    blob="BLOB",
    text="TEXT",
    clustered=" WITHOUT ROWID",
    found="SELECT 1 FROM sqlite_master WHERE name = ?",
)
_READ, _WRITE = "BEGIN", "BEGIN IMMEDIATE"
_FAULTS = (sqlite3.Error, UnicodeError)
"""What the module raises: its own errors, and those of texts that cannot be stored or are damaged."""
_inherited: list[sqlite3.Connection] = []
"""Connections of the parent process: SQLite forbids to use or close them in a forked child."""


class BusyError(StorageError):
    """Another process is in the way of a transaction that was not to wait."""


class SqliteDatabase:
    """A connection that any number of threads may use, one at a time: whoever holds `lock`.

    The file is opened and its tables are made on first use; one that may only be read can be read. A forked child opens
    the file anew.

    Args:
        source: path of the file, `":memory:"`, a `file:` URI, or an open connection (made with
            `check_same_thread=False`), which stays open when the database is closed.
        schema: the tables.
        dialect: what else the statements that make them spell in SQLite's way.
        synchronous: "NORMAL" survives the end of the process at any moment, "FULL" a power loss as well.
        busy_timeout: seconds to wait for another process that writes.
        settings: further pragmas of the connection.
        connect: opens a file with the arguments of `sqlite3.connect`.
        opened: called when the tables are there, before anything else runs on the connection.
    """

    lock: Any

    def __init__(
        self,
        source: str | os.PathLike[str] | sqlite3.Connection,
        schema: Schema,
        dialect: Dialect = DIALECT,
        *,
        synchronous: Synchronous = "NORMAL",
        busy_timeout: float = 5.0,
        settings: tuple[str, ...] = (),
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        opened: Callable[[], object] | None = None,
    ) -> None:
        if synchronous not in get_args(Synchronous):
            hint = did_you_mean(synchronous, get_args(Synchronous))
            raise InvalidConfigError(f"synchronous must be 'NORMAL' or 'FULL', got {synchronous!r}.{hint}")
        if not 0 <= busy_timeout < 2**31 / 1000:
            raise InvalidConfigError(f"busy_timeout must be a number of seconds of 0 or more, got {busy_timeout!r}.")
        self.schema: Schema = schema
        self._dialect = dialect
        self.lock = threading.RLock()
        self._given = source if isinstance(source, sqlite3.Connection) else None
        self._path = _path_of(source) if isinstance(source, sqlite3.Connection) else os.fspath(source)
        self._synchronous, self._patience = synchronous, int(busy_timeout * 1000)
        self._settings, self._make, self._opened = settings, connect, opened
        self._conn: sqlite3.Connection | None = None
        self._closed = self._mode = ""
        self._waits = True
        self._version, self._seen = 0, (-1, 0)
        when_forked(self.forked)

    @property
    def file(self) -> str | None:
        """The path of the file; None when there is none, or it is only known to SQLite."""
        return None if self._path == MEMORY or self._path.startswith("file:") else self._path

    @property
    def flowing(self) -> bool:
        """Tell whether the database is open and readers and a writer do not wait for each other."""
        return self._mode in ("wal", "memory")

    @property
    def flushing(self) -> bool:
        """Tell whether each transaction waits for the disk."""
        return self._mode != "memory" and self._synchronous == "FULL"

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
            except _FAULTS as error:
                if not _code(error).startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) or not self._connect_read_only():
                    raise self._failure(error) from error

    def _connect(self) -> None:
        try:
            self._use(self._given or self._made(self._path, uri=self._path.startswith("file:")))
            mode = self._to_wal()
            for setting in (f"synchronous={self._synchronous}", *self._settings):
                self._execute(f"PRAGMA {setting}")
            self._prepare()
        except BaseException:
            self._drop()
            raise
        self._mode = mode

    def _connect_read_only(self) -> bool:
        """Open a file that may only be read, and tell whether that worked."""
        if self._given is not None or not Path(self._path).is_file():
            return False
        log, modes = Path(self._path + "-wal"), ["mode=ro"]
        if not (log.exists() and log.stat().st_size):
            modes.append("mode=ro&immutable=1")  # where SQLite may make no log, it must take the file for unchanging
        for mode in modes:
            try:
                self._use(self._made(f"{Path(self._path).absolute().as_uri()}?{mode}", uri=True))
                self._prepare()
            except BaseException as error:
                self._drop()
                if not isinstance(error, _FAULTS):
                    raise
            else:
                return True
        return False

    def _made(self, name: str, uri: bool) -> sqlite3.Connection:
        return self._make(name, timeout=self._patience / 1000, check_same_thread=False, uri=uri)

    def _use(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        conn.isolation_level = None  # transactions begin and end where this module says so
        conn.text_factory = str
        cursor = conn.cursor()
        cursor.row_factory = None
        self._execute, self._execute_many, self._fetch = cursor.execute, cursor.executemany, cursor.fetchall
        self._waits = False
        self._wait(True)

    def _to_wal(self) -> str:
        """Let readers and a writer not wait for each other, and return the mode that the file is in."""
        deadline = time.monotonic() + self._patience / 1000
        while True:
            try:
                return str(self._execute("PRAGMA journal_mode=WAL").fetchone()[0])
            except sqlite3.OperationalError as error:  # two processes that do this at once may fail without waiting
                if _code(error).startswith("SQLITE_READONLY"):
                    return ""
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def _prepare(self) -> None:
        version = self.run(self.schema.version(self._dialect))
        if version < len(self.schema.migrations):
            self.transact(self.schema.upgrade(self._dialect))
        if self._opened is not None:
            self._opened()

    # ------------------------------------------------------------------ transactions

    def begin(self, wait: bool = True) -> bool:
        """Begin a transaction; the caller holds the lock until `commit` or `rollback` ends it.

        Returns what `untouched` does.

        Raises:
            BusyError: another process is in the way, and it was not to `wait`.
            TwinstepError: the schema's `failed` or `damaged`.
        """
        self._begin(_WRITE, wait)
        return self.untouched()

    def untouched(self) -> bool:
        """Tell whether nobody has written since this was asked last, but for what `commit` has ended.

        That is: no other connection, of whatever process, and nobody else who uses this one. Inside a transaction it is
        told of what the transaction sees, and stays true until that ends.
        """
        conn = self._conn
        if conn is None:
            return False
        self._execute("PRAGMA data_version")
        self._version, seen = self._fetch()[0][0], self._seen
        self._seen = self._version, conn.total_changes
        return seen == self._seen

    def _begin(self, statement: str, wait: bool) -> None:
        if self._conn is None:
            self.open()
        try:
            if wait is not self._waits:
                self._wait(wait)
            self._execute(statement)
        except _FAULTS as error:
            raise self._failure(error) from error

    def _wait(self, wait: bool) -> None:
        self._execute(f"PRAGMA busy_timeout={self._patience if wait else 0}")
        self._waits = wait

    def run(self, program: Program[T]) -> T:
        """Run a program in the transaction that has begun; errors of SQLite come out as they are."""
        send, execute, fetch = program.send, self._execute, self._fetch
        rows: Any = None
        try:
            while True:
                statement: Any = send(rows)
                if type(statement) is list:
                    rows = [execute(*each).fetchall() for each in statement]
                    continue
                sql, parameters = statement
                if type(parameters) is tuple:
                    execute(sql, parameters)
                    rows = fetch()
                elif len(parameters) == 1:
                    execute(sql, parameters[0])
                    rows = []
                else:
                    self._execute_many(sql, parameters)
                    rows = []
        except StopIteration as stop:
            result: T = stop.value
            return result

    def commit(self) -> None:
        """End the transaction so that it is stored."""
        self._execute("COMMIT")
        assert self._conn is not None
        self._seen = self._version, self._conn.total_changes

    def rollback(self) -> None:
        """End the transaction without a trace, unless SQLite has done so already."""
        with suppress(sqlite3.Error):
            self._execute("ROLLBACK")

    def transact(self, program: Program[T], *, write: bool = True, wait: bool = True) -> T:
        """Run a program in a transaction of its own.

        Raises:
            BusyError: another process is in the way, and it was not to `wait`.
            TwinstepError: the program refused, or the database failed (the schema's `failed` or `damaged`); nothing was
                changed.
        """
        with self.lock:
            self._begin(_WRITE if write else _READ, wait)
            try:
                result = self.run(program)
                self._execute("COMMIT")
            except BaseException as error:
                self.rollback()
                if isinstance(error, _FAULTS):
                    raise self._failure(error) from error
                raise
            return result

    def autocommit(self, program: Program[T]) -> T:
        """Run a program each statement of which is a transaction in itself; errors as in `transact`."""
        with self.lock:
            self.open()
            try:
                self._wait(True)
                return self.run(program)
            except _FAULTS as error:
                raise self._failure(error) from error

    # ------------------------------------------------------------------ ends

    def close(self) -> None:
        """Close the connection, unless it was given; nothing can be done with it afterwards."""
        with self.lock:
            self._drop()
            self._closed = "was closed"

    def _drop(self) -> None:
        self._mode = ""
        if self._conn is not None and self._conn is not self._given:
            self._conn.close()
        self._conn = None

    def forked(self) -> None:
        """Leave the parent's connection alone in a forked child and make another one when it is needed."""
        if self._given is not None or self._path == MEMORY:
            self._closed = (
                f"belongs to the process that opened it; a forked child needs a {self.schema.user} of its own"
            )
        if self._conn is not None:
            _inherited.append(self._conn)
        self.lock, self._conn, self._mode = threading.RLock(), None, ""

    def _failure(self, error: Exception) -> TwinstepError:
        """Return what an error of SQLite means to the user."""
        name = _code(error) or type(error).__name__
        where = f"The {self.schema.name} database '{self._path}'"
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "UnicodeDecodeError")):
            return self.schema.damaged(f"{where} is damaged or no SQLite database ({error}). Restore it from a backup.")
        if isinstance(error, UnicodeError):
            return InvalidConfigError(f"{where} cannot store a text: {error}.")
        if _is_busy(error):
            return (self.schema.failed if self._waits else BusyError)(
                f"{where} is locked by another process that did not finish within {self._patience / 1000:g} s; nothing "
                "was stored. Try again, or allow more time with busy_timeout."
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
    return os.fsdecode(conn.execute("PRAGMA database_list").fetchone()[2]) or MEMORY
