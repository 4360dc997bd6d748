"""Loading sqlite-vec, which computes distances of vectors inside SQLite."""

from __future__ import annotations

import ctypes
import sqlite3
from collections.abc import Callable

from twinstep.errors import StorageError
from twinstep.sql.schema import Database, Program


def connect(path: str, *, timeout: float, check_same_thread: bool, uri: bool) -> sqlite3.Connection:
    """Open a database like `sqlite3.connect`, with the functions of sqlite-vec where it can be loaded."""

    def plain() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=timeout, check_same_thread=check_same_thread, uri=uri)

    try:
        import sqlite_vec
    except ImportError:
        return plain()
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        return _connect_with(sqlite_vec.loadable_path(), plain)
    conn = plain()
    try:
        conn.enable_load_extension(True)
        sqlite_vec.load(conn)
        conn.enable_load_extension(False)
    except sqlite3.Error:  # this SQLite loads nothing: distances are computed in Python
        pass
    return conn


def _connect_with(extension: str, plain: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """Open a database in a Python that was built without `enable_load_extension`.

    SQLite itself takes an entry point that it calls for each new connection
    (https://sqlite.org/c3ref/auto_extension.html).
    """
    import _sqlite3

    try:
        sqlite = ctypes.CDLL(_sqlite3.__file__)  # the names of the library that the module is linked with
        entry = ctypes.cast(ctypes.CDLL(f"{extension}.so").sqlite3_vec_init, ctypes.c_void_p)
        register, cancel = sqlite.sqlite3_auto_extension, sqlite.sqlite3_cancel_auto_extension
    except (AttributeError, OSError):
        return plain()
    register(entry)
    try:
        return plain()
    finally:
        cancel(entry)


def has_vectors(db: Database) -> bool:
    """Tell whether a connection has the functions of sqlite-vec."""
    try:
        db.autocommit(_version())
    except StorageError:
        return False
    return True


def _version() -> Program[None]:
    yield "SELECT vec_version()", ()
