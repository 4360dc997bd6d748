"""The values that users and engine hand to each other.

Everything here is plain data, apart from `interrupt`, which asks a human and waits for the answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Protocol,
    TypedDict,
    TypeVar,
    overload,
    runtime_checkable,
)

from twinstep.arguments import expect, expect_type
from twinstep.errors import InvalidConfigError, OutsideRunError
from twinstep.policies import (
    CachePolicy,
    Retry,
    RetryOn,
    RetryPolicy,
    Timeout,
    TimeoutPolicy,
    TracePolicy,
    default_retry_on,
    omit_payload,
    retry_policies,
)
from twinstep.scope import current_scope

__all__ = [
    "DURABILITIES",
    "NOTHING",
    "ON_CONFLICT",
    "STREAM_MODES",
    "All",
    "CachePolicy",
    "CheckpointPayload",
    "CheckpointStreamPart",
    "CheckpointTask",
    "Checkpointer",
    "Command",
    "CustomStreamPart",
    "DebugPayload",
    "DebugStreamPart",
    "Durability",
    "GraphOutput",
    "Interrupt",
    "MessagesStreamPart",
    "Mismatch",
    "OnConflict",
    "Overwrite",
    "PregelExecutableTask",
    "PregelTask",
    "Retry",
    "RetryOn",
    "RetryPolicy",
    "RunnableConfig",
    "Send",
    "StateSnapshot",
    "StateUpdate",
    "StreamMode",
    "StreamPart",
    "StreamWriter",
    "TaskFuture",
    "TaskPayload",
    "TaskResultPayload",
    "TasksStreamPart",
    "Timeout",
    "TimeoutPolicy",
    "TracePolicy",
    "UpdatesStreamPart",
    "ValuesStreamPart",
    "default_retry_on",
    "ensure_valid_checkpointer",
    "interrupt",
    "omit_payload",
    "retry_policies",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
N = TypeVar("N", bound=Hashable)

Checkpointer = Any  # the class of savers stands on a higher floor
"""A saver; None (that of the caller), True (the same, with memory across calls) or False (nothing is kept)."""
All = Literal["*"]
"""Every node, where a list of node names is expected."""
StreamMode = Literal["values", "updates", "custom", "messages", "tools", "tasks", "checkpoints", "debug"]
STREAM_MODES: tuple[StreamMode, ...] = (
    "values",
    "updates",
    "custom",
    "messages",
    "tools",
    "tasks",
    "checkpoints",
    "debug",
)
Durability = Literal["sync", "async", "exit"]
DURABILITIES: tuple[Durability, ...] = ("sync", "async", "exit")
Mismatch = Literal["error", "rerun", "accept"]
"""What a resumed run does when it asks for something else than was recorded."""
MISMATCHES: tuple[Mismatch, ...] = ("error", "rerun", "accept")
OnConflict = Literal["error", "wait"]
"""What a run does while another one works on its thread."""
ON_CONFLICT: tuple[OnConflict, ...] = ("error", "wait")
StreamWriter = Callable[[Any], None]
"""Sends one value to the `custom` stream."""


class RunnableConfig(TypedDict, total=False):
    """The options of one run that are not its input."""

    configurable: dict[str, Any]
    tags: list[str]
    metadata: dict[str, Any]
    callbacks: Any
    run_id: Any
    run_name: str
    recursion_limit: int
    max_concurrency: int | None


@dataclass(frozen=True, slots=True)
class Send:
    """A packet that runs `node` in the next superstep with `arg` as its whole input.

    Many packets may address one node; they run in parallel and their results are applied in the order of sending.
    """

    node: str
    arg: Any
    timeout: Timeout = field(default=None, kw_only=True, repr=False)

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # the payload is any value, so a packet is not a key


@dataclass(frozen=True, kw_only=True)  # no slots: Python 3.11 cannot make a generic frozen class with them
class Command(Generic[N]):
    """An update and a place to go on, returned by a node, or the input that resumes a run.

    Args:
        graph: None for the graph of the node, `Command.PARENT` for the one that contains it.
        update: what to write: a mapping, a list of `(key, value)` pairs, or an instance of the state class.
        resume: the answer to the one pending question, or a mapping of question ids to answers.
        goto: node name, `Send`, or a sequence of them; added to the static edges of the node.
    """

    graph: str | None = None
    update: Any = None
    resume: Any = field(default_factory=lambda: NOTHING)
    goto: Send | N | Sequence[Any] = ()

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    def __repr__(self) -> str:
        shown = [("graph", self.graph, None), ("update", self.update, None), ("resume", self.resume, NOTHING)]
        parts = [f"{name}={value!r}" for name, value, default in [*shown, ("goto", self.goto, ())] if value != default]
        return f"Command({', '.join(parts)})"


class _Nothing:
    """The type of `NOTHING`, which stands for an argument that was not given."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOTHING"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING: Any = _Nothing()


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question that waits for an answer.

    Attributes:
        value: what the node passed to `interrupt`.
        id: 32 hexadecimal digits; answers may be addressed to it.
        response_schema: JSON schema of the answer, when the node asked for one.
    """

    value: Any
    id: str = ""
    response_schema: dict[str, Any] | None = field(default=None, kw_only=True)

    @property
    def interrupt_id(self) -> str:
        """The older spelling of `id`."""
        return self.id


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Replace the value of a key that has a reducer, instead of folding into it."""

    value: Any


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """One element of `bulk_update_state`: what to write, and as which node."""

    values: Any
    as_node: str | None = None
    task_id: str | None = None


class PregelTask(NamedTuple):
    """A task of the next superstep, as `get_state` shows it.

    `error` is the exception itself, `result` the mapping of writes of a finished task, and `state` the child graph's
    config (or its snapshot, with `subgraphs=True`).
    """

    id: str
    name: str
    path: tuple[Any, ...]
    error: BaseException | None = None
    interrupts: tuple[Interrupt, ...] = ()
    state: Any = None
    result: Any = None


class StateSnapshot(NamedTuple):
    """A thread's state at one checkpoint."""

    values: Any
    next: tuple[str, ...]
    config: RunnableConfig
    metadata: dict[str, Any] | None = None
    created_at: str | None = None
    parent_config: RunnableConfig | None = None
    tasks: tuple[PregelTask, ...] = ()
    interrupts: tuple[Interrupt, ...] = ()


class TaskPayload(TypedDict):
    """What `tasks` chunks show when a task begins; `metadata` only where the node has some."""

    id: str
    name: str
    input: Any
    triggers: tuple[str, ...]
    metadata: NotRequired[dict[str, Any]]


class TaskResultPayload(TypedDict):
    """What `tasks` chunks show when a task ends: its writes by state key, or why there are none."""

    id: str
    name: str
    error: BaseException | None
    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


class CheckpointTask(TypedDict):
    """A task that is due, as `checkpoints` chunks show it."""

    id: str
    name: str
    interrupts: tuple[Interrupt, ...]
    state: StateSnapshot | RunnableConfig | None
    result: NotRequired[Any]
    error: NotRequired[BaseException]


class CheckpointPayload(TypedDict):
    """What `checkpoints` chunks show: the state after a superstep, and what is due next."""

    config: RunnableConfig | None
    parent_config: RunnableConfig | None
    values: Any
    metadata: dict[str, Any]
    next: list[str]
    tasks: list[CheckpointTask]


class DebugPayload(TypedDict):
    """What `debug` chunks show: a payload of `tasks` or `checkpoints`, with its superstep and ISO time."""

    step: int
    timestamp: str
    type: Literal["checkpoint", "task", "task_result"]
    payload: TaskPayload | TaskResultPayload | CheckpointPayload


class ValuesStreamPart(TypedDict):
    """A `values` part of `stream(..., version="v2")`; `ns` is the namespace of the nested graph, `()` for the root."""

    type: Literal["values"]
    ns: tuple[str, ...]
    data: Any
    interrupts: tuple[Interrupt, ...]


class UpdatesStreamPart(TypedDict):
    """An `updates` part: the update by the name of its node."""

    type: Literal["updates"]
    ns: tuple[str, ...]
    data: dict[str, Any]


class MessagesStreamPart(TypedDict):
    """A `messages` part: a message or a piece of one, and where it comes from."""

    type: Literal["messages"]
    ns: tuple[str, ...]
    data: tuple[Any, dict[str, Any]]


class CustomStreamPart(TypedDict):
    """A `custom` part: what a node wrote to the stream."""

    type: Literal["custom"]
    ns: tuple[str, ...]
    data: Any


class CheckpointStreamPart(TypedDict):
    """A `checkpoints` part."""

    type: Literal["checkpoints"]
    ns: tuple[str, ...]
    data: CheckpointPayload


class TasksStreamPart(TypedDict):
    """A `tasks` part."""

    type: Literal["tasks"]
    ns: tuple[str, ...]
    data: TaskPayload | TaskResultPayload


class DebugStreamPart(TypedDict):
    """A `debug` part."""

    type: Literal["debug"]
    ns: tuple[str, ...]
    data: DebugPayload


StreamPart = (
    ValuesStreamPart
    | UpdatesStreamPart
    | MessagesStreamPart
    | CustomStreamPart
    | CheckpointStreamPart
    | TasksStreamPart
    | DebugStreamPart
)
"""Any part of `stream(..., version="v2")`, told apart by `type`."""


@runtime_checkable
class PregelExecutableTask(Protocol):
    """A task of the running superstep, as the engine holds it."""

    @property
    def id(self) -> str:
        """The task's id: the same at every resume."""
        ...

    name: str
    path: tuple[Any, ...]
    triggers: tuple[str, ...]
    retry: tuple[RetryPolicy, ...]
    cache: CachePolicy | None
    timeout: TimeoutPolicy | None


def ensure_valid_checkpointer(checkpointer: Checkpointer) -> Checkpointer:
    """Return a checkpointer that can be used: a saver, True, False or None.

    Raises:
        InvalidConfigError: it is something else.
    """
    from twinstep.checkpoint.journal import Journal

    if checkpointer is not None and not isinstance(checkpointer, bool | Journal):
        raise InvalidConfigError(
            "Invalid checkpointer: expected a saver (BaseCheckpointSaver), True, False or None, got "
            f"{type(checkpointer).__name__}."
        )
    return checkpointer


@dataclass(frozen=True)
class GraphOutput(Generic[T]):
    """The result of `invoke(..., version="v2")`: the value, and the questions that stopped the run."""

    value: T
    interrupts: tuple[Interrupt, ...] = ()

    def __getitem__(self, key: Any) -> Any:
        value: Any = self.value
        return value[key]


@runtime_checkable
class TaskFuture(Protocol[T_co]):
    """The handle of a running task.

    `result()` waits in synchronous code (and runs the task on the spot when no worker has begun it); `await` waits in
    asynchronous code. It can be given to `asyncio.gather` and `as_completed`, or to `concurrent.futures.as_completed`
    and `wait` when the task was called in synchronous code.
    """

    def result(self) -> T_co:
        """Return the result, or raise the task's error."""
        ...

    def exception(self) -> BaseException | None:
        """Return the task's error, or None."""
        ...

    def done(self) -> bool:
        """Tell whether the task has ended."""
        ...

    def cancel(self) -> bool:
        """Give the task up when it has not begun."""
        ...

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None:
        """Call `fn` with this handle at the end."""
        ...

    def __await__(self) -> Generator[Any, Any, T_co]: ...


@overload
def interrupt(value: Any, *, response_schema: type[T], key: str | None = None) -> T: ...
@overload
def interrupt(value: Any, *, response_schema: Mapping[str, Any] | None = None, key: str | None = None) -> Any: ...
def interrupt(value: Any, *, response_schema: Any = None, key: str | None = None) -> Any:
    """Ask a question and return its answer.

    The first call stops the run: the caller gets the question under `"__interrupt__"`. `Command(resume=answer)` runs
    the node (or entrypoint) again from its start; this call then returns the answer. A question is known by `key`, or
    by the asking function, the question itself and how often it was asked: an answer never reaches another question.

    Args:
        value: the question: any value that can be stored.
        response_schema: type of the answer (pydantic model, dataclass, TypedDict, ...), validated on resume; or a JSON
            schema, passed on to the caller unchecked.
        key: names the question when its text changes from run to run.

    Raises:
        OutsideRunError: called outside of a node, task or entrypoint.
        NoCheckpointerError: the run has no checkpointer, so that it could never be resumed.
        NonDeterminismError: an earlier answered question was not asked again before this new one.

    Example:
        >>> from twinstep.checkpoint.memory import InMemorySaver
        >>> from twinstep.func import entrypoint
        >>> from twinstep.types import Command, interrupt
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def order(item: str) -> str:
        ...     return f"{item}: {interrupt('how many?')}"
        >>> thread = {"configurable": {"thread_id": "1"}}
        >>> order.invoke("tea", thread)["__interrupt__"][0].value
        'how many?'
        >>> order.invoke(Command(resume=3), thread)
        'tea: 3'
    """
    if response_schema is not None and not isinstance(response_schema, Mapping):
        expect_type("interrupt(response_schema=...)", response_schema)
    expect("interrupt(key=...)", key, str, "a name")
    scope = current_scope()
    if scope is None:
        raise OutsideRunError("interrupt() was called outside of a run; call it in a node, a task or an entrypoint.")
    return scope.ask(value, response_schema, key, sys._getframe(1).f_code.co_qualname)
