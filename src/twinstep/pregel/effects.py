"""The effects: the closed alphabet in which programs ask a driver to do something in the world.

A program is a generator that yields effects and is sent their results; it performs no I/O, reads no clock and never
waits. `drive_sync` and `drive_async` are the two interpreters. The helpers at the end give programs exact types:
`loaded = yield from load(...)`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.rows import CheckpointRow, Commit, Known, Loaded
from twinstep.pregel.action import Action
from twinstep.types import TimeoutPolicy

if TYPE_CHECKING:
    from concurrent.futures import Future

    from twinstep.pregel.task import NodeTask, Task

T = TypeVar("T")

SPARING: Final = "what it belongs to has failed"
"""The message of a cancellation that lets threads come to their end: they cannot be stopped anyway, and what they have
done is put on record. Any other cancellation leaves them behind."""


@dataclass(slots=True)
class Call:
    """Run user code of a task and return its result.

    `timeout` limits it; `inline` tells that it is quick, so that an event loop runs it in place also when it is
    synchronous.
    """

    action: Action
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    task: Task
    timeout: TimeoutPolicy | None = None
    inline: bool = False


@dataclass(slots=True)
class RunTasks:
    """Run the tasks of a superstep, in parallel where there are several; their outcomes are set on them.

    When one fails, those that have not begun are left out and those that can be cancelled are.
    """

    tasks: Sequence[NodeTask]


@dataclass(slots=True)
class Join:
    """Wait for the tasks that a task has started and not waited for.

    Returns their errors, each with whether somebody has seen it. `cancel`: give up those that have not begun, or can
    be cancelled; with `spare`, threads may come to their end.
    """

    futures: Sequence[Any]
    cancel: bool
    spare: bool = True


@dataclass(slots=True)
class Wait:
    """Wait until a future of another thread is done."""

    future: Future[None]


@dataclass(slots=True)
class Sleep:
    """Wait a number of seconds."""

    seconds: float


@dataclass(slots=True)
class Load:
    """Read a checkpoint."""

    saver: Journal
    thread_id: str
    ns: str
    checkpoint_id: str | None
    known: Known | None


@dataclass(slots=True)
class Store:
    """Store one transaction."""

    saver: Journal
    commit: Commit


@dataclass(slots=True)
class StoreBeside:
    """Begin to store one transaction and go on at once; returns the future of its end."""

    saver: Journal
    commit: Commit


@dataclass(slots=True)
class History:
    """Read the rows of a namespace, newest first."""

    saver: Journal
    thread_id: str
    ns: str
    before: str | None
    limit: int | None


@dataclass(slots=True)
class CacheGet:
    """Read one value from a cache; None when it is not there, else a 1-tuple."""

    cache: Any
    key: tuple[tuple[str, ...], str]


@dataclass(slots=True)
class CachePut:
    """Keep one value in a cache for `ttl` seconds."""

    cache: Any
    key: tuple[tuple[str, ...], str]
    value: Any
    ttl: float | None


Effect = Call | RunTasks | Join | Wait | Sleep | Load | Store | StoreBeside | History | CacheGet | CachePut
Program = Generator[Effect, Any, T]


def load(
    saver: Journal, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None
) -> Program[Loaded]:
    """Read a checkpoint and what belongs to it."""
    loaded: Loaded = yield Load(saver, thread_id, ns, checkpoint_id, known)
    return loaded


def history(
    saver: Journal, thread_id: str, ns: str, before: str | None = None, limit: int | None = None
) -> Program[Sequence[CheckpointRow]]:
    """Read rows of a namespace, newest first."""
    rows: Sequence[CheckpointRow] = yield History(saver, thread_id, ns, before, limit)
    return rows
