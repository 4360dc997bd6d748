"""The saver contract: what a backend must do to carry the journal.

A backend implements six methods on opaque rows: `load`, `commit` and `checkpoints` for runs, `threads`, `edit` and
`delete` for housekeeping. Each asynchronous form is derived unless the backend has a better one.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from twinstep.checkpoint.kept import Kept
from twinstep.checkpoint.rows import CheckpointRow, Commit, Edit, Known, Loaded
from twinstep.errors import ThreadConflictError
from twinstep.forked import when_forked
from twinstep.serde import Serializer
from twinstep.threads import in_thread

T = TypeVar("T")
NEAR: Final = 64
"""Rows from parent to parent that are followed to find a checkpoint that is known."""


class Journal(ABC):
    """The part of a saver that the engine uses.

    All methods may be called from any thread. A `commit` that returns is stored at the backend's promised level; one
    that raises has stored nothing.

    Args:
        serde: encodes the values; the default refuses types that are not registered.
    """

    blocking: bool = True
    """Whether calls may wait for I/O; if not, asynchronous callers use the plain methods directly."""

    overlaps: bool = False
    """Whether a commit mostly waits for a disk or a server, so that it pays to run the next superstep meanwhile
    (durability `async`)."""

    def __init__(self, *, serde: Serializer | None = None) -> None:
        self.serde: Serializer = serde or Serializer()
        self.kept: Kept[Any] = Kept()
        self._live: dict[str, str] = {}
        self._left: dict[str, str] = {}
        self._live_lock = threading.Lock()
        when_forked(self._forked)

    # ------------------------------------------------------------------ the backend

    @abstractmethod
    def load(self, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None) -> Loaded:
        """Read the head of a namespace, or one of its checkpoints.

        A thread or checkpoint that does not exist is no error: `Loaded.rows` is empty.

        Args:
            thread_id, ns: the namespace.
            checkpoint_id: the checkpoint; None for the head.
            known: when it is an ancestor of the checkpoint (or that itself), at most `NEAR` rows away, and its joint
                exists, the rows before it may be left out (`Loaded.since`).

        Raises:
            CheckpointCorruptError: the stored rows contradict each other.
            CheckpointStorageError: the database failed.
        """

    @abstractmethod
    def commit(self, commit: Commit) -> None:
        """Store one transaction.

        Raises:
            ThreadConflictError: the epoch, its holder or the head is not the expected one, or one of its joints is
                gone; nothing was stored.
            CheckpointStorageError: the database failed; nothing was stored.
        """

    @abstractmethod
    def checkpoints(
        self, thread_id: str, ns: str, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[CheckpointRow]:
        """Return rows of a namespace, newest first, whose id is smaller than `before`."""

    @abstractmethod
    def threads(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Return every thread id with its namespaces."""

    @abstractmethod
    def edit(self, thread_id: str, epoch: int, edits: Sequence[Edit]) -> None:
        """Rewrite namespaces of a thread in one transaction, on behalf of no run.

        The thread is created when `epoch` is 0, and removed when no namespace of it is left.

        Raises:
            ThreadConflictError: the thread's epoch or a head is not the expected one; nothing was changed.
            CheckpointStorageError: the database failed; nothing was changed.
        """

    @abstractmethod
    def delete(self, thread_id: str) -> None:
        """Remove a thread with all its namespaces, checkpoints and records."""

    def erase(self) -> None:  # noqa: B027  (most backends have nothing to do here)
        """Wipe the bytes that removed rows leave behind, where removing them does not; called after housekeeping."""

    # ------------------------------------------------------------------ asynchronous forms

    async def aload(
        self, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None
    ) -> Loaded:
        """Do what `load` does without blocking the event loop."""
        return await self._away(self.load, thread_id, ns, checkpoint_id, known)

    async def acommit(self, commit: Commit) -> None:
        """Do what `commit` does without blocking the event loop."""
        await self._away(self.commit, commit)

    async def acheckpoints(
        self, thread_id: str, ns: str, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[CheckpointRow]:
        """Do what `checkpoints` does without blocking the event loop."""
        return await self._away(lambda: self.checkpoints(thread_id, ns, before=before, limit=limit))

    async def _away(self, fn: Callable[..., T], *args: Any) -> T:
        """Call a method without blocking the event loop."""
        if not self.blocking:
            return fn(*args)
        return await in_thread(fn, *args)

    # ------------------------------------------------------------------ runs of this process

    def enter(self, thread_id: str, run: str) -> None:
        """Note that a run of this process works on a thread.

        Raises:
            ThreadConflictError: another run of this process already does.
        """
        with self._live_lock:
            other = self._live.setdefault(thread_id, run)
            if other == run:
                self._left.pop(thread_id, None)
        if other != run:
            raise ThreadConflictError(
                f"Thread '{thread_id}' is busy: run '{other}' is still working on it, so run '{run}' was not started. "
                "Wait for it to end, or use another thread_id.",
                thread_id=thread_id,
                ours=run,
                theirs=other,
            )

    def leave(self, thread_id: str, run: str) -> None:
        """Note that a run has ended."""
        with self._live_lock:
            if self._live.get(thread_id) == run:
                del self._live[thread_id]

    def abandon(self, thread_id: str, run: str) -> None:
        """Note that a run has ended without storing that it has."""
        with self._live_lock:
            self._left[thread_id] = run

    def has_left(self, thread_id: str, run: str) -> bool:
        """Tell whether a run is known to have ended, whatever is stored of it."""
        return self._left.get(thread_id) == run

    def works_on(self, thread_id: str) -> bool | None:
        """Tell whether a run works on a thread; None: none of this process, and of others it is not known."""
        return True if thread_id in self._live else None

    def _forked(self) -> None:
        """Start over in a forked child, where no run and no thread of the parent goes on."""
        self.kept = Kept()
        self._live_lock = threading.Lock()
        self._live, self._left = {}, {}


def conflict(commit: Commit, holder: str | None) -> ThreadConflictError:
    """Return the error of a commit whose epoch or head is not the expected one."""
    if holder == commit.run:
        detail = "its checkpoints changed underneath it"
    else:
        detail = f"run '{holder}' has taken the thread over" if holder else "the thread was deleted"
    return ThreadConflictError(
        f"Run '{commit.run}' can no longer write to thread '{commit.thread_id}': {detail}. Nothing of its last step "
        "was stored; read the thread's state and start again from there.",
        thread_id=commit.thread_id,
        ours=commit.run,
        theirs=holder,
    )


def edit_conflict(thread_id: str, holder: str | None) -> ThreadConflictError:
    """Return the error of an edit of a thread that has changed since it was read."""
    detail = f"run '{holder}' wrote to it" if holder else "it was created or deleted"
    return ThreadConflictError(
        f"Thread '{thread_id}' changed while it was being reorganised ({detail}); nothing was changed. Try again when "
        "no run works on it.",
        thread_id=thread_id,
        theirs=holder,
    )
