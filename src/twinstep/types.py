"""The values that users and engine hand to each other.

Everything here is plain data, apart from `interrupt`, which asks a human and waits for the answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypedDict,
    TypeVar,
    overload,
    runtime_checkable,
)

from twinstep.errors import InvalidConfigError, OutsideRunError, TwinstepError
from twinstep.scope import current_scope

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
N = TypeVar("N", bound=Hashable)

All = Literal["*"]
"""Every node, where a list of node names is expected."""
StreamMode = Literal["values", "updates", "custom", "messages", "tasks", "checkpoints", "debug"]
STREAM_MODES: tuple[StreamMode, ...] = ("values", "updates", "custom", "messages", "tasks", "checkpoints", "debug")
Durability = Literal["sync", "async", "exit"]
DURABILITIES: tuple[Durability, ...] = ("sync", "async", "exit")
Mismatch = Literal["error", "rerun", "accept"]
"""What a resumed run does when it asks for something else than was recorded."""
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
    timeout: float | timedelta | TimeoutPolicy | None = field(default=None, kw_only=True, repr=False)

    __hash__ = None  # type: ignore[assignment]  # the payload is any value, so a packet is not a key


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


def default_retry_on(error: BaseException) -> bool:
    """Tell whether an error looks temporary.

    Connection, timeout and other operating-system errors, and exceptions of unknown kinds, are retried; mistakes of
    the program (wrong value, type, name, assertion ...) are not. HTTP errors are judged by their status: 408, 425,
    429 and 5xx are temporary.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status in (408, 425, 429) or status >= 500
    if isinstance(error, TwinstepError):
        return isinstance(error, TimeoutError)
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | PermissionError | FileExistsError | IsADirectoryError)
    return isinstance(error, Exception) and not isinstance(error, _PROGRAM_ERRORS)


_PROGRAM_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    LookupError,
    NameError,
    SyntaxError,
    RuntimeError,
    ReferenceError,
    StopIteration,
    StopAsyncIteration,
)

RetryOn = type[BaseException] | Sequence[type[BaseException]] | Callable[[BaseException], bool]


class RetryPolicy(NamedTuple):
    """When and how often a failed node or task is tried again.

    The pause before try `k + 1` is `min(max_interval, initial_interval * backoff_factor ** (k - 1))` seconds; with
    jitter it is drawn between half of that and all of it.

    Args:
        initial_interval: seconds before the second try.
        backoff_factor: growth of the pause from try to try.
        max_interval: longest pause in seconds.
        max_attempts: tries in all, the first included.
        jitter: spread the pauses of many clients.
        retry_on: exception class, sequence of classes, or predicate.
    """

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: RetryOn = default_retry_on

    def matches(self, error: BaseException) -> bool:
        """Tell whether this policy retries the error."""
        rule = self.retry_on
        if isinstance(rule, type):
            return isinstance(error, rule)
        if callable(rule):
            return bool(rule(error))
        return isinstance(error, tuple(rule))


Retry = RetryPolicy | Sequence[RetryPolicy] | None
"""One policy, several (the first that matches an error decides), or none."""


def retry_policies(retry: Retry) -> tuple[RetryPolicy, ...]:
    """Return one or several retry policies as a tuple."""
    several = () if retry is None else (retry,) if isinstance(retry, RetryPolicy) else retry
    if not isinstance(several, Sequence) or not all(isinstance(policy, RetryPolicy) for policy in several):
        raise InvalidConfigError(f"A retry policy is a RetryPolicy or a sequence of them, got {retry!r}.")
    return tuple(several)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Keep the result of a node or task for calls with the same arguments.

    Args:
        key_func: makes the key from the arguments; by default a digest of their encoding.
        ttl: seconds a result stays valid; None = for ever.
    """

    key_func: Callable[..., str | bytes] | None = None
    ttl: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """How long one attempt of a node or task may take.

    Args:
        run_timeout: limit of the whole attempt, in seconds or as a timedelta.
        idle_timeout: limit of the time without a sign of life (a write, a stream chunk, a child task, a heartbeat).
        refresh_on: `auto` counts every sign of life, `heartbeat` only `runtime.heartbeat()`.
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    def __post_init__(self) -> None:
        for name in ("run_timeout", "idle_timeout"):
            value = getattr(self, name)
            seconds = value.total_seconds() if isinstance(value, timedelta) else value
            if seconds is not None and not seconds > 0:
                raise InvalidConfigError(f"{name} must be greater than 0 seconds, got {seconds!r}.")
            object.__setattr__(self, name, seconds)

    @classmethod
    def of(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """Return the policy that a number of seconds, a timedelta or a policy stands for."""
        return value if value is None or isinstance(value, TimeoutPolicy) else cls(run_timeout=value)


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
    scope = current_scope()
    if scope is None:
        raise OutsideRunError("interrupt() was called outside of a run; call it in a node, a task or an entrypoint.")
    return scope.ask(value, response_schema, key, sys._getframe(1).f_code.co_qualname)
