"""The event alphabet: everything a run tells about itself.

Each event carries the namespace it happened in (`()` for the root, one `"name:task id"` per level below) and the
superstep. The stream modes are filters over these events; nothing else is ever emitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from twinstep.types import Interrupt

Namespace = tuple[str, ...]
Write = tuple[str, Any]


@dataclass(slots=True)
class TaskStarted:
    """A node or task begins its first attempt."""

    ns: Namespace
    step: int
    id: str
    name: str
    input: Any
    triggers: tuple[str, ...]
    metadata: dict[str, Any] | None = None


@dataclass(slots=True)
class TaskFinished:
    """A node or task has ended; its outcome is on record when the run has a checkpointer."""

    ns: Namespace
    step: int
    id: str
    name: str
    writes: list[Write]
    plain: bool
    """Whether the one write is a return value (task, entrypoint) and not an update of state keys."""
    error: BaseException | None = None
    interrupts: tuple[Interrupt, ...] = ()
    cached: bool = False
    hidden: bool = False


@dataclass(slots=True)
class ValuesChanged:
    """The state after a superstep (or after the input)."""

    ns: Namespace
    step: int
    values: Any


@dataclass(slots=True)
class Custom:
    """User code wrote a value to the stream."""

    ns: Namespace
    step: int
    value: Any


@dataclass(slots=True)
class Message:
    """A model produced a message, or a piece of one."""

    ns: Namespace
    step: int
    message: Any
    metadata: dict[str, Any]


@dataclass(slots=True)
class Interrupted:
    """The run stops: at questions, or (with none) at a static breakpoint."""

    ns: Namespace
    step: int
    interrupts: tuple[Interrupt, ...]
    values: Any = None


@dataclass(slots=True)
class CheckpointCommitted:
    """A checkpoint is on record."""

    ns: Namespace
    step: int
    payload: dict[str, Any]


@dataclass(slots=True)
class RunFinished:
    """A run (the root's or a child's) has ended."""

    ns: Namespace
    step: int
    status: Literal["done", "interrupted", "failed"]


Event = TaskStarted | TaskFinished | ValuesChanged | Custom | Message | Interrupted | CheckpointCommitted | RunFinished
