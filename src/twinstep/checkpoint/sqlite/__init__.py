"""The saver that keeps everything in an SQLite file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from twinstep.checkpoint.grouped import Job, SqlSaver
from twinstep.checkpoint.rows import Commit, Known, Loaded
from twinstep.checkpoint.sql import SCHEMA, Dialect, SqlProgram
from twinstep.checkpoint.sqlite.presence import Presence
from twinstep.checkpoint.stand import Stand
from twinstep.errors import CheckpointStorageError
from twinstep.serde import Serializer
from twinstep.sql.schema import Program
from twinstep.sql.sqlite import DIALECT, BusyError, SqliteDatabase, Synchronous

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["SqliteSaver", "Synchronous"]

_DIALECT: Final = Dialect(**vars(DIALECT), head_key=", UNIQUE (thread, ns)")
_PROGRAM: Final = SqlProgram(_DIALECT)
_SHARE = 1024
"""Bytes of a row that change one more page: a quarter of it, as large rows make others move."""
_WRITE_BACK: Final = {"NORMAL": 1000, "FULL": 125}
"""Pages of write-ahead log after which they are copied into the file. Fewer where each commit is flushed: a log that is
written over is flushed up to four times as fast as one that grows."""
_SETTINGS: Final = ("wal_autocheckpoint=8000", "secure_delete=ON")
"""SQLite itself would copy them while a commit waits."""
_SMALL = 16 * 2**20
"""Bytes of a file that can be written anew within a fraction of a second."""


class SqliteSaver(SqlSaver[SqliteDatabase]):
    """Keeps checkpoints in an SQLite file, for synchronous and asynchronous callers alike.

    One saver may be used from any number of threads and event loops, and one file by any number of processes on the
    same machine. Commits that arrive while another is being stored share the next transaction. The tables are made on
    first use; their names begin with `twinstep_`, so that a file may hold other things too. A saver from
    `from_conn_string` opens the file anew in a forked child; one that was given a connection refuses to work there.

    What a commit that has returned survives depends on `synchronous`: with "NORMAL" the end of the process at any
    moment, `kill -9` included, but after a power loss or a crash of the operating system the last commits may be
    missing (the file stays sound, and what is there is whole); with "FULL" a power loss as well, at the price of one
    flush to disk for each transaction.

    On Linux, an empty file `<file>-runs` beside it carries the locks by which other processes see whether a run that
    they wait for still lives (`on_conflict="wait"`).

    Args:
        conn: path of the file, made if it is missing; `":memory:"`; an SQLite `file:` URI; or an open connection, which
            the saver takes over (make it with `check_same_thread=False`).
        serde: encodes the values; the default refuses types that are not registered.
        synchronous: "NORMAL" or "FULL".
        busy_timeout: seconds to wait while another process writes.

    Example:
        >>> with SqliteSaver.from_conn_string(":memory:") as saver:
        ...     saver.get_tuple({"configurable": {"thread_id": "1"}}) is None
        True
    """

    def __init__(
        self,
        conn: str | os.PathLike[str] | sqlite3.Connection,
        *,
        serde: Serializer | None = None,
        synchronous: Synchronous = "NORMAL",
        busy_timeout: float = 5.0,
    ) -> None:
        db = SqliteDatabase(
            conn, SCHEMA, _DIALECT, synchronous=synchronous, busy_timeout=busy_timeout, settings=_SETTINGS
        )
        super().__init__(db, _PROGRAM, serde=serde)
        self.overlaps: bool = synchronous == "FULL"  # waits for the disk; with NORMAL a commit costs less than a thread
        self._pages, self._write_back_after = 0, _WRITE_BACK[synchronous]
        self._presence = Presence(db.file)

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str | os.PathLike[str],
        *,
        serde: Serializer | None = None,
        synchronous: Synchronous = "NORMAL",
        busy_timeout: float = 5.0,
    ) -> Self:
        """Return a saver for a file; use it in `with` or `async with`, or call `close` at the end."""
        return cls(conn_string, serde=serde, synchronous=synchronous, busy_timeout=busy_timeout)

    # ------------------------------------------------------------------ runs of this process

    def enter(self, thread_id: str, run: str) -> None:
        """Note that a run of this process works on a thread, and tell others."""
        super().enter(thread_id, run)
        self._presence.enter(thread_id)

    def leave(self, thread_id: str, run: str) -> None:
        """Note that a run has ended."""
        if self._live.get(thread_id) == run:
            self._presence.leave(thread_id)
        super().leave(thread_id, run)

    def works_on(self, thread_id: str) -> bool | None:
        """Tell whether a run works on a thread, in this process or another one."""
        return super().works_on(thread_id) or self._presence.elsewhere(thread_id)

    def close(self) -> None:
        """Close the file, unless it was given as a connection; the saver cannot be used afterwards."""
        super().close()
        self._presence.close()

    def _forked(self) -> None:
        super()._forked()
        self._presence.close()

    # ------------------------------------------------------------------ transactions

    def load(self, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None) -> Loaded:
        """Read the head of a namespace, which may be remembered, or one of its checkpoints."""
        with self._db.lock:
            return self._load(thread_id, ns, checkpoint_id, known)

    def _load(
        self, thread_id: str, ns: str, checkpoint_id: str | None, known: Known | None, wait: bool = True
    ) -> Loaded:
        db, stand = self._db, self._stands.get(thread_id, {}).get(ns)
        if stand is not None and checkpoint_id is None:
            loaded = stand.loaded(known)
            if loaded is not None and self._stand_so():
                return loaded
        return db.transact(self._read(thread_id, ns, checkpoint_id, known), write=False, wait=wait)

    def _read(self, thread_id: str, ns: str, checkpoint_id: str | None, known: Known | None) -> Program[Loaded]:
        """Read a checkpoint; if it is the head's, take note of how the namespace stands."""
        self._stand_so()
        stand = yield from _PROGRAM.stand(thread_id, ns)
        loaded = yield from _PROGRAM.read(thread_id, ns, stand, checkpoint_id, known)
        if checkpoint_id is None:
            stand.tail.begin(loaded, known)
            self._keep(thread_id, ns, stand)
        return loaded

    def _stand_so(self) -> bool:
        """Tell whether namespaces stand as is remembered, and forget it if somebody else has written."""
        if self._db.untouched():
            return True
        self._stands.clear()
        return False

    async def aload(
        self, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None
    ) -> Loaded:
        """Do what `load` does: on the spot if nothing is in the way, else in a thread."""
        db = self._db
        if db.flowing and db.lock.acquire(blocking=False):
            try:
                return self._load(thread_id, ns, checkpoint_id, known, wait=False)
            except BusyError:
                pass
            finally:
                db.lock.release()
        return await self._away(self.load, thread_id, ns, checkpoint_id, known)

    async def _afinish(self, job: Job) -> None:
        """Store a job on the spot if nothing is in the way and no flush is due, else in a thread."""
        db = self._db
        if db.flowing and not db.flushing and db.lock.acquire(blocking=False):
            try:
                self._lead(wait=False)
            except BusyError:
                pass
            finally:
                db.lock.release()
        if not job.done:
            await super()._afinish(job)
        elif self._pages >= self._write_back_after:
            await self._away(self._write_back)

    def _remember(self, commit: Commit, stand: Stand) -> None:
        super()._remember(commit, stand)
        assert stand.stored is not None
        stand.tail.follow(commit, stand.stored)
        self._pages += _pages(commit)

    def _finish(self, job: Job) -> None:
        super()._finish(job)
        self._tidy()

    def _answer(self, loop: AbstractEventLoop) -> None:
        super()._answer(loop)
        self._tidy()

    def _tidy(self) -> None:
        """Keep the write-ahead log short."""
        if self._pages >= self._write_back_after:
            self._write_back()

    def _write_back(self) -> None:
        """Copy the write-ahead log into the file, so that it does not grow for ever."""
        self._pages = 0
        with suppress(CheckpointStorageError):  # the next call tries again
            self._db.autocommit(_write_back())

    def erase(self) -> None:
        """Wipe what removed rows left in the file and its log, once no other process reads there.

        A file of more than 16 MB keeps fragments of removed values until `compact` is called.
        """
        with suppress(CheckpointStorageError):  # the rows are gone; their bytes go the next time
            self._db.autocommit(_compact(_SMALL))

    def compact(self) -> None:
        """Write the file anew, without free space and fragments of removed values; other writers wait for it.

        Raises:
            CheckpointStorageError: the database failed, or there is no space for a copy.
        """
        self._db.autocommit(_compact())


def _write_back() -> Program[None]:
    yield "PRAGMA wal_checkpoint(PASSIVE)", ()


def _compact(limit: int | None = None) -> Program[None]:
    """Write the file anew, if it is not larger than `limit` bytes.

    SQLite overwrites what it removes, but not the copies it leaves behind when it moves rows between pages.
    """
    pages = (yield "PRAGMA page_count", ())[0][0]
    if limit is None or pages * (yield "PRAGMA page_size", ())[0][0] <= limit:
        yield "VACUUM", ()
    yield "PRAGMA wal_checkpoint(TRUNCATE)", ()


def _pages(commit: Commit) -> int:
    """Return how many pages of log a commit takes, roughly."""
    rows = (commit.earlier, commit.checkpoint, *commit.records)
    return 2 + sum([len(row.blob) for row in rows if row is not None]) // _SHARE
