"""The event alphabet: everything a run tells about itself.

Each event carries the namespace it happened in (`()` for the root, one `"name:task id"` per level below), the superstep
and a sequence number. The stream modes are filters over these events; nothing else is ever emitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from twinstep.ids import path_id
from twinstep.types import Interrupt

Namespace = tuple[str, ...]
Write = tuple[str, Any]


@dataclass(slots=True)
class BaseEvent:
    """What every event has: the namespace, the superstep, and its number within the run, from 1."""

    ns: Namespace
    step: int
    seq: int = field(default=0, init=False)


@dataclass(slots=True)
class RunStarted(BaseEvent):
    """A run (the root's or a nested one) begins, or goes on where it had stopped."""

    run_id: str
    name: str
    resumed: bool
    checkpoint_id: str | None = None


@dataclass(slots=True)
class SuperstepStarted(BaseEvent):
    """The due nodes begin."""

    nodes: tuple[str, ...]


@dataclass(slots=True)
class SuperstepFinished(BaseEvent):
    """What the nodes wrote is applied, and stored."""


@dataclass(slots=True)
class TaskEvent(BaseEvent):
    """What the events of a node or task have: its place in the run, and its name."""

    path: tuple[Any, ...]
    name: str

    @property
    def id(self) -> str:
        """The task's id."""
        return path_id(self.path)


@dataclass(slots=True)
class TaskStarted(TaskEvent):
    """A node or task begins its first attempt."""

    input: Any
    triggers: tuple[str, ...]
    metadata: dict[str, Any] | None = None


@dataclass(slots=True)
class TaskFinished(TaskEvent):
    """A node or task has ended; its outcome is on record when the run has a checkpointer."""

    writes: list[Write]
    plain: bool
    """Whether the one write is a return value (task, entrypoint) and not an update of state keys."""
    error: BaseException | None = None
    interrupts: tuple[Interrupt, ...] = ()
    cached: bool = False
    trace: Callable[[Any], Any] | None = None
    """Makes what traces show of the writes."""


@dataclass(slots=True)
class ValuesChanged(BaseEvent):
    """The state after a superstep (or after the input)."""

    values: Any


@dataclass(slots=True)
class Custom(BaseEvent):
    """User code wrote a value to the stream."""

    value: Any


@dataclass(slots=True)
class Message(BaseEvent):
    """A model produced a message, or a piece of one."""

    message: Any
    metadata: dict[str, Any]


@dataclass(slots=True)
class ToolCalled(BaseEvent):
    """Something happens to a model's call of a tool: it starts, tells a piece of its output, ends or fails."""

    data: dict[str, Any]


@dataclass(slots=True)
class Interrupted(BaseEvent):
    """The run stops: at questions, or (with none) at a static breakpoint."""

    interrupts: tuple[Interrupt, ...]
    values: Any = None
    status: Literal["pending", "interrupt_before", "interrupt_after"] = "pending"
    checkpoint_id: str | None = None


@dataclass(slots=True)
class CheckpointCommitted(BaseEvent):
    """A checkpoint is on record."""

    payload: dict[str, Any]


@dataclass(slots=True)
class RunFinished(BaseEvent):
    """A run (the root's or a child's) has ended."""

    status: Literal["done", "interrupted", "failed", "drained"]
    error: BaseException | None = None
    output: Any = None


Event = (
    RunStarted
    | SuperstepStarted
    | TaskStarted
    | TaskFinished
    | SuperstepFinished
    | ValuesChanged
    | Custom
    | Message
    | ToolCalled
    | Interrupted
    | CheckpointCommitted
    | RunFinished
)
