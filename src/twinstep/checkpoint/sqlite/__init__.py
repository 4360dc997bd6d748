"""The saver that keeps everything in an SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.rows import CheckpointRow, Commit, Edit, Loaded
from twinstep.checkpoint.sqlite.database import PROGRAM, Database, LockedError, Synchronous
from twinstep.errors import CheckpointStorageError, TwinstepError
from twinstep.serde import Serializer

__all__ = ["SqliteSaver", "Synchronous"]

_READ, _WRITE = "BEGIN", "BEGIN IMMEDIATE"
_PAGE = 4096
_WRITE_BACK = 1000
"""Pages of write-ahead log after which they are copied into the file."""
_SMALL = 16 * 2**20
"""Bytes of a file that can be written anew within a fraction of a second."""


class _Job:
    """A commit that waits for a thread to store it together with others."""

    __slots__ = ("commit", "done", "error")

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.done = False
        self.error: BaseException | None = None


class SqliteSaver(BaseCheckpointSaver):
    """Keeps checkpoints in an SQLite file, for synchronous and asynchronous callers alike.

    One saver may be used from any number of threads and event loops, and one file by any number of processes on the
    same machine. Commits that arrive while another is being stored share the next transaction. The tables are made on
    first use; their names begin with `twinstep_`, so that a file may hold other things too. A saver from
    `from_conn_string` opens the file anew in a forked child; one that was given a connection refuses to work there.

    What a commit that has returned survives depends on `synchronous`: with "NORMAL" the end of the process at any
    moment, `kill -9` included, but after a power loss or a crash of the operating system the last commits may be
    missing (the file stays sound, and what is there is whole); with "FULL" a power loss as well, at the price of one
    flush to disk for each transaction.

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
        super().__init__(serde=serde)
        source = conn if isinstance(conn, sqlite3.Connection) else os.fspath(conn)
        self._db = Database(source, synchronous, busy_timeout)
        self._jobs: deque[_Job] = deque()
        self._pages = 0

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

    def setup(self) -> None:
        """Open the database and make its tables; every other call does so when it is needed.

        Raises:
            CheckpointStorageError: the file cannot be opened, or a newer version of the library made it.
            CheckpointCorruptError: it is no database.
        """
        with self._db.lock:
            self._db.open()

    # ------------------------------------------------------------------ reading

    def load(self, thread_id: str, ns: str, checkpoint_id: str | None = None) -> Loaded:
        """Read the head of a namespace, or one of its checkpoints."""
        with self._db.lock:
            return self._db.transact(_READ, PROGRAM.load(thread_id, ns, checkpoint_id))

    async def aload(self, thread_id: str, ns: str, checkpoint_id: str | None = None) -> Loaded:
        """Do what `load` does: on the spot if nothing is in the way, else in a thread."""
        db = self._db
        if db.flowing and db.lock.acquire(blocking=False):
            try:
                return db.transact(_READ, PROGRAM.load(thread_id, ns, checkpoint_id), wait=False)
            except LockedError:
                pass
            finally:
                db.lock.release()
        return await self._away(self.load, thread_id, ns, checkpoint_id)

    def checkpoints(
        self, thread_id: str, ns: str, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[CheckpointRow]:
        """Return rows of a namespace, newest first, whose id is smaller than `before`."""
        with self._db.lock:
            return self._db.transact(_READ, PROGRAM.checkpoints(thread_id, ns, before, limit))

    def threads(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Return every thread id with its namespaces."""
        with self._db.lock:
            return self._db.transact(_READ, PROGRAM.threads())

    # ------------------------------------------------------------------ commits

    def commit(self, commit: Commit) -> None:
        """Store one transaction, together with those that other threads want stored at this moment."""
        job = _Job(commit)
        self._jobs.append(job)
        self._finish(job)
        if job.error is not None:
            raise job.error

    async def acommit(self, commit: Commit) -> None:
        """Do what `commit` does: on the spot if nothing is in the way and no flush is due, else in a thread."""
        job, db = _Job(commit), self._db
        self._jobs.append(job)
        try:
            if db.flowing and not db.flushing and db.lock.acquire(blocking=False):
                try:
                    self._lead(wait=False)
                except LockedError:
                    pass
                finally:
                    db.lock.release()
            if not job.done:
                await self._away(self._finish, job)
            elif self._pages >= _WRITE_BACK:
                await self._away(self._write_back)
        except BaseException:  # cancelled, for example: what nobody has begun to store is not stored later
            self._withdraw(job)
            raise
        if job.error is not None:
            raise job.error

    def _finish(self, job: _Job) -> None:
        """Wait until a job is done, by another thread or here."""
        try:
            with self._db.lock:
                if not job.done:
                    self._lead()
        except BaseException:
            self._withdraw(job)
            raise
        if self._pages >= _WRITE_BACK:
            self._write_back()

    def _withdraw(self, job: _Job) -> None:
        with suppress(ValueError):
            self._jobs.remove(job)

    def _lead(self, wait: bool = True) -> None:
        """Store all jobs that wait, in one transaction; the caller holds the lock."""
        self._db.begin(_WRITE, wait)
        jobs = []
        while self._jobs:
            jobs.append(self._jobs.popleft())
        try:
            self._store(jobs)
        except Exception:  # one of them cannot be stored, or nothing can: the others must not suffer for it
            for job in jobs:
                job.error = self._stored_alone(job)
        except BaseException as error:
            for job in jobs:
                job.error = CheckpointStorageError(f"The thread that stored commits was stopped by {error!r}.")
            raise
        finally:
            for job in jobs:
                job.done = True

    def _store(self, jobs: Sequence[_Job]) -> None:
        """Run jobs in the transaction that has begun, and end it."""
        db = self._db
        try:
            for job in jobs:
                try:
                    db.run(PROGRAM.commit(job.commit))
                except TwinstepError as error:  # refused before it changed anything
                    job.error = error
            db.execute("COMMIT")
        except BaseException:
            db.rollback()
            raise
        self._pages += sum(_pages(job.commit) for job in jobs)

    def _stored_alone(self, job: _Job) -> Exception | None:
        """Store a job in its own transaction, and return what is wrong with it."""
        try:
            self._db.transact(_WRITE, PROGRAM.commit(job.commit))
        except Exception as error:
            return error
        return None

    def _write_back(self) -> None:
        """Copy the write-ahead log into the file, so that it does not grow for ever."""
        self._pages = 0
        self._db.write_back()

    # ------------------------------------------------------------------ housekeeping

    def edit(self, thread_id: str, epoch: int, edits: Sequence[Edit]) -> None:
        """Rewrite namespaces of a thread in one transaction, on behalf of no run."""
        with self._db.lock:
            self._db.transact(_WRITE, PROGRAM.edit(thread_id, epoch, edits))

    def delete(self, thread_id: str) -> None:
        """Remove a thread with all its namespaces, checkpoints and records."""
        with self._db.lock:
            self._db.transact(_WRITE, PROGRAM.delete(thread_id))

    def erase(self) -> None:
        """Wipe what removed rows left in the file and its log, once no other process reads there.

        A file of more than 16 MB keeps fragments of removed values until `compact` is called.
        """
        with suppress(CheckpointStorageError):  # the rows are gone; their bytes go the next time
            self._db.compact(_SMALL)

    def compact(self) -> None:
        """Write the file anew, without free space and fragments of removed values; other writers wait for it.

        Raises:
            CheckpointStorageError: the database failed, or there is no space for a copy.
        """
        self._db.compact()

    def close(self) -> None:
        """Close the connection, unless it was given; the saver cannot be used afterwards."""
        self._db.close()

    def _forked(self) -> None:
        super()._forked()
        self._jobs.clear()
        self._db.forked()

    def __enter__(self) -> Self:
        self.setup()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self._away(self.setup)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._away(self.close)


def _pages(commit: Commit) -> int:
    """Return how many pages of log a commit takes, roughly."""
    row = commit.checkpoint
    return 3 + (sum(len(each.blob) for each in commit.records) + (len(row.blob) if row else 0)) // _PAGE
