"""Every error the library raises, and the control signals that pass through user code.

Errors derive from `TwinstepError` and from the builtin that fits best. Control signals (`GraphBubbleUp` and its
children) derive from `BaseException`, so that `except Exception` in a node cannot swallow a question or a command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

INVALID_ANSWER = "This answer does not fit the question's response_schema; nothing was stored, it can be answered again"
"""Begins the note on the validation error of an answer."""


class ErrorCode(Enum):
    """Stable codes of errors that users look up."""

    GRAPH_RECURSION_LIMIT = "GRAPH_RECURSION_LIMIT"
    INVALID_CONCURRENT_GRAPH_UPDATE = "INVALID_CONCURRENT_GRAPH_UPDATE"
    INVALID_GRAPH_NODE_RETURN_VALUE = "INVALID_GRAPH_NODE_RETURN_VALUE"
    MULTIPLE_SUBGRAPHS = "MULTIPLE_SUBGRAPHS"
    INVALID_CHAT_HISTORY = "INVALID_CHAT_HISTORY"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known name, or an empty string."""
    from difflib import get_close_matches

    near = get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


class TwinstepError(Exception):
    """Base of all errors of this library."""


class GraphRecursionError(TwinstepError, RecursionError):
    """A run used up its supersteps before it reached an end."""


class InvalidUpdateError(TwinstepError, ValueError):
    """A node, task or caller wrote something that the channels do not accept."""


class InvalidMessageError(InvalidUpdateError):
    """A value cannot be read, or sent, as a chat message."""


class EmptyInputError(TwinstepError, ValueError):
    """A run that has nothing to continue was started without input."""


class EmptyChannelError(TwinstepError, LookupError):
    """A channel was read before it was written."""


class GraphValidationError(TwinstepError, ValueError):
    """A graph or entrypoint is built in a way that cannot work."""


class OutsideRunError(TwinstepError, RuntimeError):
    """Something that needs a running graph or entrypoint was called outside of one."""


class NoCheckpointerError(TwinstepError, ValueError):
    """An operation needs a checkpointer and none is set."""


class InvalidConfigError(TwinstepError, ValueError):
    """A config or a call's option has a value that cannot be used."""


class InvalidArgumentError(InvalidConfigError, TypeError):
    """An argument is of a type that cannot be used."""


class CheckpointNotFoundError(TwinstepError, LookupError):
    """A checkpoint id that does not exist on the thread was asked for."""


class CheckpointCorruptError(TwinstepError):
    """A stored record is not what was written: changed, cut off, or in the wrong place."""


class StorageError(TwinstepError):
    """The database of a store, cache or saver refused or failed a read or a write; what was there is untouched."""


class CheckpointStorageError(StorageError):
    """The database refused or failed a read or a write; the earlier checkpoints are untouched."""


class OutcomeUnknownError(CheckpointStorageError):
    """The connection broke while a transaction was being ended: it may be stored, or not.

    The run that wrote it stores nothing more. What goes on with the thread sees which it was.
    """


class EncodingError(TwinstepError, TypeError):
    """A value cannot be stored; the message names its place."""


class UnknownTypeError(TwinstepError, TypeError):
    """A stored value has a type that this program has not registered."""


class ThreadConflictError(TwinstepError):
    """Another run changed the thread first; nothing of this run's last step was stored.

    Attributes:
        thread_id: the thread both runs wanted.
        ours: id of the run that lost, when known.
        theirs: id of the run that holds the thread, when known.
    """

    thread_id: str
    ours: str | None
    theirs: str | None

    def __init__(
        self, message: str, *, thread_id: str = "", ours: str | None = None, theirs: str | None = None
    ) -> None:
        super().__init__(message)
        self.thread_id, self.ours, self.theirs = thread_id, ours, theirs


class NonDeterminismError(TwinstepError):
    """A resumed run asked for something else than the run that was recorded.

    Attributes:
        name: the task, child or question.
        recorded: what the journal holds.
        actual: what the code asks for now.
    """

    name: str
    recorded: Any
    actual: Any

    def __init__(self, message: str, *, name: str = "", recorded: Any = None, actual: Any = None) -> None:
        super().__init__(message)
        self.name, self.recorded, self.actual = name, recorded, actual


class ProgramChangedError(NonDeterminismError):
    """The program lacks what a stored thread needs to go on.

    Attributes:
        missing: the names of the nodes, tasks or state keys that it lacks.
    """

    def __init__(self, message: str, *, missing: Sequence[str] = ()) -> None:
        super().__init__(message, name=missing[0] if missing else "", recorded=tuple(missing))
        self.missing: tuple[str, ...] = tuple(missing)


class RecordedError(TwinstepError):
    """A failure of an earlier process whose exception type this process does not know.

    Attributes:
        type_name: the qualified name of the original exception type.
    """

    def __init__(self, message: str, *, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name


class NodeTimeoutError(TwinstepError, TimeoutError):
    """A node or task took longer than its `TimeoutPolicy` allows."""

    node: str
    elapsed: float

    def __init__(
        self,
        node: str,
        elapsed: float,
        *,
        kind: Literal["idle", "run"] = "run",
        idle_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> None:
        self.node, self.elapsed, self.kind = node, elapsed, kind
        self.timeout: float = (idle_timeout if kind == "idle" else run_timeout) or 0.0
        tail = " without making progress" if kind == "idle" else ""
        super().__init__(
            f"'{node}' exceeded its {kind} timeout of {self.timeout:.3f}s{tail} (elapsed: {elapsed:.3f}s)."
        )


class StepTimeoutError(TwinstepError, TimeoutError):
    """A superstep took longer than the graph's `step_timeout` allows; it is not tried again."""

    node: str
    step: int
    timeout: float

    def __init__(self, node: str, step: int, timeout: float) -> None:
        self.node, self.step, self.timeout = node, step, timeout
        super().__init__(
            f"Superstep {step} exceeded step_timeout={timeout:g} s while '{node}' was running; the thread can be "
            "continued with None."
        )


class NodeCancelledError(TwinstepError):
    """A node raised `asyncio.CancelledError` although nobody had cancelled it."""

    def __init__(self, node: str, message: str | None = None) -> None:
        self.node = node
        super().__init__(message or f"Node '{node}' raised asyncio.CancelledError.")


class WorkerLostError(TwinstepError):
    """The process that ran a task ended before the task did.

    Attributes:
        exitcode: of the process; negative for the signal that killed it.
    """

    def __init__(self, exitcode: int | None) -> None:
        self.exitcode = exitcode
        super().__init__(
            f"The process of the task ended (exit code {exitcode}) before it had a result; what it printed may say why."
        )


class UnknownInterruptError(TwinstepError, ValueError):
    """An answer fits no pending question, or fits more than one."""

    interrupt_ids: tuple[str, ...]
    pending_ids: tuple[str, ...]

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["not_pending", "empty_map", "ambiguous"],
        interrupt_ids: Sequence[str] = (),
        pending_ids: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.reason, self.interrupt_ids, self.pending_ids = reason, tuple(interrupt_ids), tuple(pending_ids)


class InvalidNamespaceError(TwinstepError, ValueError):
    """A store namespace is empty or holds a label that is not allowed."""


class TaskNotFound(TwinstepError, LookupError):
    """A task that was to be executed elsewhere does not exist."""


@dataclass(frozen=True, slots=True)
class NodeError:
    """A node's failure, as given to its error handler."""

    node: str
    error: BaseException


class GraphBubbleUp(BaseException):
    """Base of the control signals that travel through user code to the engine."""


class GraphInterrupt(GraphBubbleUp):
    """One or more questions wait for an answer; the engine turns this into the run's result."""

    def __init__(self, interrupts: Sequence[Any] = ()) -> None:
        super().__init__(tuple(interrupts))
        self.interrupts: tuple[Any, ...] = tuple(interrupts)


class NodeInterrupt(GraphInterrupt):
    """The older spelling of a question: raise it with a value instead of calling `interrupt`."""

    def __init__(self, value: Any, id: str | None = None) -> None:
        from twinstep.types import Interrupt

        super().__init__((Interrupt(value=value, id=id or ""),))


class ParentCommand(GraphBubbleUp):
    """Carries each `Command(graph=Command.PARENT)` of a superstep from a child graph to the graph that contains it.

    Attributes:
        command: the first.
        commands: all of them, in the order of their nodes.
    """

    def __init__(self, command: Any, *others: Any) -> None:
        super().__init__(command, *others)
        self.command = command
        self.commands: tuple[Any, ...] = (command, *others)


class GraphDrained(GraphBubbleUp):
    """A run stopped at a superstep boundary because it was asked to; `invoke(None)` continues it."""

    def __init__(self, reason: str = "shutdown") -> None:
        super().__init__(f"Graph drained: {reason}")
        self.reason = reason


def is_invalid_resume(error: BaseException | None) -> bool:
    """Tell whether an error means that an answer did not fit its question's `response_schema`."""
    return any(note.startswith(INVALID_ANSWER) for note in getattr(error, "__notes__", ()))


def causes(error: BaseException) -> set[int]:
    """Return the identities of an error and of all it came from: causes, contexts, members of groups."""
    found: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in found:
            continue
        found.add(id(link))
        waiting += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions
    return found
