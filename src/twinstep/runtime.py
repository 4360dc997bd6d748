"""What a node may know about its run: `Runtime`, and `get_runtime` to reach it from anywhere below the node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

from twinstep.scope import require_scope
from twinstep.types import StreamWriter

ContextT = TypeVar("ContextT")


def _ignore(*_: Any) -> None:
    """Take anything and do nothing."""


class RunControl:
    """Asks a run to stop at its next superstep boundary; usable from any thread, for one run."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.drain_reason: str | None = None

    @property
    def drain_requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self._event.is_set()

    def request_drain(self, reason: str = "shutdown") -> None:
        """Ask the run to stop; it raises `GraphDrained` and can be continued with `invoke(None, config)`."""
        self.drain_reason = reason
        self._event.set()


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """Where the running code is, and which attempt this is.

    `idempotency_key` is the same at every attempt and every resume of one task, and different for any other: give it
    to services that recognise repeated requests.
    """

    checkpoint_id: str | None
    checkpoint_ns: str
    task_id: str
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    node_first_attempt_time: float | None = None

    @property
    def idempotency_key(self) -> str:
        """A key for this task of this run."""
        return self.task_id

    def patch(self, **overrides: Any) -> ExecutionInfo:
        """Return a copy with some fields replaced."""
        return replace(self, **overrides)


@dataclass(frozen=True, slots=True)
class BaseUser:
    """The user of a server that runs the graph."""

    identity: str
    display_name: str = ""
    is_authenticated: bool = True
    permissions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server that runs the graph."""

    assistant_id: str
    graph_id: str
    user: BaseUser | None = None


@dataclass(frozen=True, kw_only=True)
class Runtime(Generic[ContextT]):
    """What a run offers to its nodes and tasks.

    Attributes:
        context: what the caller passed as `context`, as the context schema's type.
        store: the long-term memory, if the graph has one.
        stream_writer: sends a value to the `custom` stream.
        heartbeat: tells an idle timeout that the node is alive.
        previous: the value the entrypoint saved in its last run on this thread.
        execution_info: ids and attempt of the running task.
        server_info: the server, when there is one.
        control: asks the run to stop.
    """

    context: ContextT = None  # type: ignore[assignment]
    store: Any = None
    stream_writer: StreamWriter = field(default=_ignore)
    heartbeat: Callable[[], None] = field(default=_ignore)
    previous: Any = None
    execution_info: ExecutionInfo | None = None
    server_info: ServerInfo | None = None
    control: RunControl | None = None

    @property
    def drain_requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """Why the run was asked to stop."""
        return self.control.drain_reason if self.control is not None else None

    def merge(self, other: Runtime[ContextT]) -> Runtime[ContextT]:
        """Return this runtime with what `other` has set."""
        given = {field.name: getattr(other, field.name) for field in fields(self)}
        return replace(self, **{k: v for k, v in given.items() if v is not None and v is not _ignore})

    def override(self, **changes: Any) -> Runtime[ContextT]:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def patch_execution_info(self, **changes: Any) -> Runtime[ContextT]:
        """Return a copy with some fields of `execution_info` replaced."""
        info = self.execution_info or ExecutionInfo(None, "", "")
        return replace(self, execution_info=info.patch(**changes))


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:
    """Return the runtime of the calling node or task; `context_schema` only tells the type checker.

    Raises:
        OutsideRunError: called outside of a run.
    """
    runtime: Runtime[ContextT] = require_scope("get_runtime()").runtime()
    return runtime
