"""Savers on SQL databases: one transaction for all commits that wait at the same moment (group commit).

Whoever finds no other thread at work stores what waits, its own commit and those of others, and tells each how it
ended. Coroutines wait for that without threads of their own: their event loop calls one for all that have come. A
database only has to begin, run and end transactions; `Database` lists what it must do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TypeVar

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.rows import CheckpointRow, Commit, Edit, Known, Loaded
from twinstep.checkpoint.sql import SqlProgram
from twinstep.checkpoint.stand import Stand
from twinstep.errors import CheckpointStorageError, OutcomeUnknownError, TwinstepError
from twinstep.serde import Serializer
from twinstep.sql.schema import Program, Ready
from twinstep.threads import THREADS

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

T = TypeVar("T")


class Database(Protocol):
    """Runs programs of statements in transactions; whoever writes holds `lock`."""

    lock: Lock

    def open(self) -> None:
        """Connect and make the tables, if that has not been done."""

    def begin(self, wait: bool = True) -> bool:
        """Begin a transaction that writes; without `wait`, fail where another process would have to be waited for.

        Returns whether nobody else has written since the last one that `commit` has ended; a database that verifies how
        a namespace stands need not know.
        """
        ...

    def run(self, program: Program[T]) -> T:
        """Run a program in the transaction that has begun."""
        ...

    def commit(self) -> None:
        """End the transaction so that it is stored."""

    def rollback(self) -> None:
        """End the transaction, if there is one, without a trace."""

    def transact(self, program: Program[T], *, write: bool = True) -> T:
        """Run a program in a transaction of its own; one that does not `write` sees one state of the database."""
        ...

    def close(self) -> None:
        """Let connections go that were opened here."""

    def forked(self) -> None:
        """Start over in a forked child, which must not touch its parent's connections."""


_THREADS: Final = 256
_NAMESPACES: Final = 256
"""Of how many threads, and namespaces in each, it is remembered how they stand."""


class Job:
    """A commit that waits for a thread to store it together with others; how its namespace stands afterwards.

    Attributes:
        ended: what a coroutine waits for.
    """

    __slots__ = ("commit", "done", "ended", "error", "stand")

    def __init__(self, commit: Commit) -> None:
        self.commit: Commit = commit
        self.stand: Stand | None = None
        self.done: bool = False
        self.error: BaseException | None = None
        self.ended: Future[None] | None = None


D = TypeVar("D", bound=Database)


class SqlSaver(BaseCheckpointSaver, Generic[D]):
    """A saver that runs the programs of `twinstep.checkpoint.sql` on a database."""

    def __init__(self, db: D, program: SqlProgram, *, serde: Serializer | None = None) -> None:
        super().__init__(serde=serde)
        self._db = db
        self._program = program
        self._jobs: deque[Job] = deque()
        self._stands: dict[str, dict[str, Stand]] = {}
        self._called: set[AbstractEventLoop] = set()

    def setup(self) -> Ready:
        """Open the database and make its tables; every other call does so when it is needed. May be awaited.

        Raises:
            CheckpointStorageError: it cannot be opened, or a newer version of the library made the tables.
            CheckpointCorruptError: it is no database.
        """
        with self._db.lock:
            self._db.open()
        return Ready()

    async def asetup(self) -> None:
        """Do what `setup` does without blocking the event loop."""
        await self._away(self.setup)

    # ------------------------------------------------------------------ reading

    def load(self, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None) -> Loaded:
        """Read the head of a namespace, or one of its checkpoints."""
        return self._db.transact(self._program.load(thread_id, ns, checkpoint_id, known), write=False)

    def checkpoints(
        self, thread_id: str, ns: str, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[CheckpointRow]:
        """Return rows of a namespace, newest first, whose id is smaller than `before`."""
        return self._db.transact(self._program.checkpoints(thread_id, ns, before, limit), write=False)

    def threads(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Return every thread id with its namespaces."""
        return self._db.transact(self._program.threads(), write=False)

    # ------------------------------------------------------------------ commits

    def commit(self, commit: Commit) -> None:
        """Store one transaction, together with those that other threads want stored at this moment."""
        job = Job(commit)
        self._jobs.append(job)
        try:
            self._finish(job)
        except BaseException:
            self._withdraw(job)
            raise
        if job.error is not None:
            raise job.error

    async def acommit(self, commit: Commit) -> None:
        """Do what `commit` does without blocking the event loop."""
        job = Job(commit)
        self._jobs.append(job)
        try:
            await self._afinish(job)
        except BaseException:  # cancelled, for example: what nobody has begun to store is not stored later
            self._withdraw(job)
            raise
        if job.error is not None:
            raise job.error

    def _finish(self, job: Job) -> None:
        """Wait until a job is done, by another thread or here."""
        with self._db.lock:
            if not job.done:
                self._lead()

    async def _afinish(self, job: Job) -> None:
        """Wait until a job is done by a thread, which the event loop calls unless one is on its way."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        job.ended = loop.create_future()
        if job.done:  # by another thread meanwhile
            return
        if loop not in self._called:
            self._called.add(loop)
            try:
                THREADS.start(partial(self._answer, loop))
            except BaseException:
                self._called.discard(loop)
                raise
        await job.ended

    def _answer(self, loop: AbstractEventLoop) -> None:
        """Store all jobs that wait, in a thread that an event loop has called."""
        THREADS.busy()
        with self._db.lock:
            self._called.discard(loop)  # what comes from now on may come too late
            try:
                if self._jobs:
                    self._lead()
            except BaseException as error:  # none has begun: no thread comes for those that wait on event loops
                jobs = [job for job in self._jobs if job.ended is not None]
                for job in jobs:
                    self._withdraw(job)
                    job.error, job.done = error, True
                _wake(jobs)

    def _withdraw(self, job: Job) -> None:
        with suppress(ValueError):
            self._jobs.remove(job)

    def _lead(self, wait: bool = True) -> None:
        """Store all jobs that wait, in one transaction; the caller holds the lock."""
        jobs: list[Job] = []
        try:
            self._store(jobs, wait)
        except OutcomeUnknownError as error:
            for job in jobs:
                job.error = job.error or error
        except Exception:  # one of them cannot be stored, or nothing can: the others must not suffer for it
            if not jobs:
                raise
            for job in jobs:
                job.error = self._stored_alone(job)
        except BaseException as error:
            for job in jobs:
                job.error = CheckpointStorageError(f"The thread that stored commits was stopped by {error!r}.")
            raise
        finally:
            for job in jobs:
                job.done = True
            _wake(jobs)

    def _store(self, jobs: list[Job], wait: bool) -> None:
        """Take all jobs that wait, once a transaction has begun, and run them in it."""
        db = self._db
        try:
            if not db.begin(wait):
                self._stands.clear()
            while self._jobs:
                jobs.append(self._jobs.popleft())
            if len(jobs) > 1:
                jobs.sort(key=_thread_of)  # so that two processes never wait for each other's threads
            for job in jobs:
                try:
                    job.stand = db.run(self._program.commit(job.commit, self._expected(job.commit)))
                except CheckpointStorageError:  # the database failed
                    raise
                except TwinstepError as error:  # refused before it changed anything
                    job.error = error
            db.commit()
        except BaseException as error:
            if jobs or not isinstance(error, Exception):  # else none has begun
                db.rollback()
            raise
        for job in jobs:
            if job.stand is not None and job.stand.stored is not None:
                self._remember(job.commit, job.stand)

    def _expected(self, commit: Commit) -> Stand | None:
        """Return how a commit's namespace stands, if this saver wrote there last and the commit follows from it."""
        known = self._stands  # a claim changes how every namespace of the thread stands
        spaces = known.pop(commit.thread_id, None) if commit.claim else known.get(commit.thread_id)
        stand = spaces.pop(commit.ns, None) if spaces else None
        return stand if stand is not None and stand.fits(commit) else None

    def _remember(self, commit: Commit, stand: Stand) -> None:
        """Take note of how a namespace stands after a commit."""
        if commit.claim:  # others of the same transaction came before it
            self._stands.pop(commit.thread_id, None)
        self._keep(commit.thread_id, commit.ns, stand)

    def _keep(self, thread_id: str, ns: str, stand: Stand) -> None:
        spaces = self._stands.get(thread_id)
        if spaces is None or len(spaces) > _NAMESPACES:
            spaces = self._stands[thread_id] = {}
            if len(self._stands) > _THREADS:
                del self._stands[next(iter(self._stands))]
        spaces[ns] = stand

    def _stored_alone(self, job: Job) -> Exception | None:
        """Store a job in its own transaction, and return what is wrong with it."""
        try:
            self._db.transact(self._program.commit(job.commit))
        except Exception as error:
            return error
        return None

    # ------------------------------------------------------------------ housekeeping

    def edit(self, thread_id: str, epoch: int, edits: Sequence[Edit]) -> None:
        """Rewrite namespaces of a thread in one transaction, on behalf of no run."""
        with self._db.lock:
            self._db.transact(self._program.edit(thread_id, epoch, edits))

    def delete(self, thread_id: str) -> None:
        """Remove a thread with all its namespaces, checkpoints and records."""
        with self._db.lock:
            self._db.transact(self._program.delete(thread_id))

    def close(self) -> None:
        """Close the connections that were opened here; the saver cannot be used afterwards."""
        self._db.close()

    def _forked(self) -> None:
        super()._forked()
        self._jobs.clear()
        self._stands.clear()
        self._called.clear()
        self._db.forked()

    def __enter__(self) -> Self:
        self.setup()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.asetup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._away(self.close)


def _wake(jobs: Sequence[Job]) -> None:
    """Tell event loops of jobs that are done."""
    waiting = [job.ended for job in jobs if job.ended is not None]
    if not waiting:
        return
    for loop in {ended.get_loop() for ended in waiting}:
        with suppress(RuntimeError):  # it was closed
            loop.call_soon_threadsafe(_end, [ended for ended in waiting if ended.get_loop() is loop])


def _end(waiting: Sequence[Future[None]]) -> None:
    for ended in waiting:
        if not ended.done():
            ended.set_result(None)


def _thread_of(job: Job) -> str:
    return job.commit.thread_id
