"""One SQLite connection: opening it, running programs in transactions, and errors that say what is wrong."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from twinstep.checkpoint.sql import MIGRATIONS, Dialect, Program, SqlProgram, check_version
from twinstep.errors import (
    CheckpointCorruptError,
    CheckpointStorageError,
    InvalidConfigError,
    TwinstepError,
    did_you_mean,
)

T = TypeVar("T")
Synchronous = Literal["NORMAL", "FULL"]

MEMORY = ":memory:"
PROGRAM = SqlProgram(
    Dialect(
        param="?",
        serial="INTEGER PRIMARY KEY",
        blob="BLOB",
        clustered=" WITHOUT ROWID",
        head_key=", UNIQUE (thread, ns)",
        by_name=False,
        lock="",
        tables="SELECT 1 FROM sqlite_master WHERE name = 'twinstep_schema'",
    )
)

_READ, _WRITE = "BEGIN", "BEGIN IMMEDIATE"

_PAGES = 8000
"""Pages of write-ahead log after which SQLite itself writes them back; `SqliteSaver` does so earlier."""
_FAULTS = (sqlite3.Error, UnicodeError)
"""What the module raises: its own errors, and those of texts that cannot be stored or are damaged."""
_inherited: list[sqlite3.Connection] = []
"""Connections of the parent process: SQLite forbids to use or close them in a forked child."""


class LockedError(CheckpointStorageError):
    """Another process is writing to the database."""


class Database:
    """A connection that one thread at a time may use: whoever holds `lock`.

    Args:
        source: path of the file, `":memory:"`, a `file:` URI, or a connection to take over.
        synchronous: how safe a commit is, see `SqliteSaver`.
        busy_timeout: seconds to wait for another process that writes.
    """

    lock: threading.Lock
    ready: bool
    execute: Callable[..., sqlite3.Cursor]

    def __init__(self, source: str | sqlite3.Connection, synchronous: str, busy_timeout: float) -> None:
        if synchronous not in get_args(Synchronous):
            hint = did_you_mean(synchronous, get_args(Synchronous))
            raise InvalidConfigError(f"synchronous must be 'NORMAL' or 'FULL', got {synchronous!r}.{hint}")
        if not 0 <= busy_timeout < 2**31 / 1000:
            raise InvalidConfigError(f"busy_timeout must be a number of seconds of 0 or more, got {busy_timeout!r}.")
        self.lock = threading.Lock()
        self.ready = False
        self._given = None if isinstance(source, str) else source
        self._path = source if isinstance(source, str) else _path_of(source) or MEMORY
        self._synchronous, self._patience = synchronous, int(busy_timeout * 1000)
        self._conn: sqlite3.Connection | None = None
        self._closed = ""
        self._mode = ""

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
            CheckpointStorageError: the file cannot be opened, or the connection is closed.
            CheckpointCorruptError: it is no database.
        """
        if self.ready:
            return
        if self._closed:
            raise CheckpointStorageError(f"The checkpoint database '{self._path}' {self._closed}.")
        try:
            self._connect()
        except _FAULTS as error:
            self._drop()
            if not _code(error).startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) or not self._connect_read_only():
                raise self.failure(error) from error
        except BaseException:
            self._drop()
            raise
        self.ready = True

    def _connect(self) -> None:
        self._use(self._given or self._made(self._path, uri=self._path.startswith("file:")))
        deadline = time.monotonic() + self._patience / 1000
        while True:
            try:
                mode = self.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:  # two processes that do this at once may fail without waiting
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        for setting in (f"synchronous={self._synchronous}", f"wal_autocheckpoint={_PAGES}", "secure_delete=ON"):
            self.execute(f"PRAGMA {setting}")
        self._migrate()
        self._mode = mode

    def _connect_read_only(self) -> bool:
        """Open a file that may only be read, and tell whether that worked."""
        if self._given is not None or not Path(self._path).is_file():
            return False
        log = Path(self._path + "-wal")
        modes = ["mode=ro"]
        if not (
            log.exists() and log.stat().st_size
        ):  # where SQLite may make no log, it must take the file for unchanging
            modes.append("mode=ro&immutable=1")
        for mode in modes:
            try:
                self._use(self._made(f"{Path(self._path).absolute().as_uri()}?{mode}", uri=True))
                self._migrate()
            except _FAULTS:
                self._drop()
            else:
                return True
        return False

    def _made(self, name: str, uri: bool) -> sqlite3.Connection:
        return sqlite3.connect(
            name, timeout=self._patience / 1000, isolation_level=None, check_same_thread=False, uri=uri
        )

    def _use(self, conn: sqlite3.Connection) -> None:
        conn.isolation_level = None  # transactions begin and end where this module says so
        conn.text_factory = str
        cursor = conn.cursor()
        cursor.row_factory = None
        self._conn = conn
        self.execute, self._execute_many, self._fetch = cursor.execute, cursor.executemany, cursor.fetchall
        self._waits = False
        self._wait(True)

    def _migrate(self) -> None:
        version = self.run(PROGRAM.version())
        check_version(version)
        if version < len(MIGRATIONS):
            self.execute(_WRITE)
            try:
                self.run(PROGRAM.migrate())
                self.execute("COMMIT")
            except BaseException:
                self.rollback()
                raise

    # ------------------------------------------------------------------ transactions

    def begin(self, wait: bool = True, statement: str = _WRITE) -> None:
        """Begin a transaction; without `wait`, it fails at once where another process would have to be waited for.

        Raises:
            LockedError: another process writes (for longer than `busy_timeout`).
            CheckpointStorageError: the database failed.
        """
        self.open()
        try:
            self._wait(wait)
            self.execute(statement)
        except _FAULTS as error:
            raise self.failure(error) from error

    def _wait(self, wait: bool) -> None:
        if wait is not self._waits:
            self.execute(f"PRAGMA busy_timeout={self._patience if wait else 0}")
            self._waits = wait

    def run(self, program: Program[T]) -> T:
        """Run a program in the transaction that has begun."""
        send, execute, fetch = program.send, self.execute, self._fetch
        rows: Any = None
        try:
            while True:
                sql, parameters = send(rows)
                if type(parameters) is tuple:
                    execute(sql, parameters)
                    rows = fetch()
                else:
                    self._execute_many(sql, parameters)
                    rows = []
        except StopIteration as stop:
            result: T = stop.value
            return result

    def commit(self) -> None:
        """End a transaction so that it is stored."""
        self.execute("COMMIT")

    def read(self, program: Program[T]) -> T:
        """Run a program that changes nothing."""
        with self.lock:
            return self._transact(program, _READ)

    def read_now(self, program: Program[T]) -> T:
        """Do what `read` does if nothing is in the way; the caller holds the lock.

        Raises:
            LockedError: another process would have to be waited for.
        """
        return self._transact(program, _READ, wait=False)

    def write(self, program: Program[T]) -> T:
        """Run a program in a transaction of its own; the caller holds the lock.

        Raises:
            TwinstepError: it was refused, or the database failed; nothing was changed.
        """
        return self._transact(program, _WRITE)

    def _transact(self, program: Program[T], statement: str, wait: bool = True) -> T:
        self.begin(wait, statement)
        try:
            result = self.run(program)
            self.commit()
        except BaseException as error:
            self.rollback()
            if isinstance(error, _FAULTS):
                raise self.failure(error) from error
            raise
        return result

    def rollback(self) -> None:
        """End a transaction without a trace, unless SQLite has done so already."""
        with suppress(sqlite3.Error):
            self.execute("ROLLBACK")

    def write_back(self) -> None:
        """Copy the write-ahead log into the file; if that fails, the next call tries again."""
        with self.lock, suppress(sqlite3.Error):
            if self.ready and self._mode == "wal":
                self._wait(True)
                self.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def compact(self, limit: int | None = None) -> None:
        """Write the file anew without the bytes of removed rows, if it is not larger than `limit` bytes.

        SQLite overwrites what it removes, but not the copies it leaves behind when it moves rows between pages.

        Raises:
            CheckpointStorageError: the database failed.
        """
        with self.lock:
            self.open()
            try:
                self._wait(True)
                pages = self.execute("PRAGMA page_count").fetchone()[0]
                if limit is None or pages * self.execute("PRAGMA page_size").fetchone()[0] <= limit:
                    self.execute("VACUUM")
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except _FAULTS as error:
                raise self.failure(error) from error

    # ------------------------------------------------------------------ ends

    def close(self) -> None:
        """Close the connection, unless it was given; nothing can be done with it afterwards."""
        with self.lock:
            self._drop()
            self._closed = "was closed"

    def _drop(self) -> None:
        self.ready, self._mode = False, ""
        if self._conn is not None and self._conn is not self._given:
            self._conn.close()
        self._conn = None

    def forked(self) -> None:
        """Leave the parent's connection alone in a forked child and make another one when it is needed."""
        if self._given is not None or self._path == MEMORY:
            self._closed = "belongs to the process that opened it; a forked child needs a saver of its own"
        if self._conn is not None:
            _inherited.append(self._conn)
        self.lock, self._conn, self.ready, self._mode = threading.Lock(), None, False, ""

    def failure(self, error: Exception) -> TwinstepError:
        """Return what an error of SQLite means to the user."""
        name = _code(error) or type(error).__name__
        where = f"The checkpoint database '{self._path}'"
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "UnicodeDecodeError")):
            return CheckpointCorruptError(
                f"{where} is damaged or no SQLite database ({error}). Restore it from a backup."
            )
        if isinstance(error, UnicodeError):
            return InvalidConfigError(f"{where} cannot store an id: {error}.")
        if _is_busy(error):
            return LockedError(
                f"{where} is locked by another process that did not finish within {self._patience / 1000:g} s; nothing "
                "was stored. Try again, or allow more time with busy_timeout."
            )
        mend = next((mend for prefix, mend in _MENDS.items() if name.startswith(prefix)), "Nothing was stored.")
        return CheckpointStorageError(f"{where} failed: {error} ({name}). {mend}")


_MENDS = {
    "SQLITE_FULL": "Nothing was stored; free some space and try again.",
    "SQLITE_READONLY": "It can be read but not written: check the permissions of the file and its directory.",
    "SQLITE_CANTOPEN": "Check that its directory exists and that this user may write there.",
    "SQLITE_IOERR": "Nothing was stored; check the disk and try again.",
    "ProgrammingError": "A connection that is given must stay open and be made with check_same_thread=False.",
}


def _code(error: Exception) -> str:
    """Return SQLite's name of an error; the Python module's own errors have none."""
    return getattr(error, "sqlite_errorname", "")


def _is_busy(error: Exception) -> bool:
    return _code(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _path_of(conn: sqlite3.Connection) -> str:
    path: str = conn.execute("PRAGMA database_list").fetchone()[2]
    return path
