"""The stream modes: what each of them shows of an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from twinstep.constants import INTERRUPT, METADATA, ROOT
from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.stream.events import (
    CheckpointCommitted,
    Custom,
    Event,
    Interrupted,
    Message,
    TaskFinished,
    TaskStarted,
    ToolCalled,
    ValuesChanged,
    Write,
)
from twinstep.types import STREAM_MODES, StreamMode

NO_CHUNK: Any = object()
"""Stands for an event that a mode has nothing to show of."""

Keys = str | Sequence[str] | None
"""State keys a consumer asked for: one (bare value), several (mapping), or all."""


def check_modes(modes: StreamMode | Sequence[StreamMode]) -> tuple[StreamMode, ...]:
    """Return the modes as a tuple, each once.

    Raises:
        InvalidConfigError: a mode does not exist.
    """
    if not isinstance(modes, str | Sequence):
        raise InvalidConfigError(f"Unknown stream_mode {modes!r}; it is a mode or a list of modes.")
    several = (modes,) if isinstance(modes, str) else tuple(modes)
    for mode in several:
        if mode not in STREAM_MODES:
            known = ", ".join(STREAM_MODES)
            raise InvalidConfigError(
                f"Unknown stream_mode {mode!r}; the modes are {known}." + did_you_mean(mode, STREAM_MODES)
            )
    return tuple(dict.fromkeys(several))


def _values(event: Event, keys: Keys) -> Any:
    if isinstance(event, ValuesChanged):
        return event.values
    assert isinstance(event, Interrupted)
    if not event.interrupts:
        return NO_CHUNK
    if isinstance(event.values, dict):
        return {**event.values, INTERRUPT: event.interrupts}
    return {INTERRUPT: event.interrupts}


def _updates(event: Event, keys: Keys) -> Any:
    if isinstance(event, Interrupted):
        return {INTERRUPT: event.interrupts}
    assert isinstance(event, TaskFinished)
    if event.error is not None or event.interrupts:
        return NO_CHUNK
    chunk = {event.name: event.writes[0][1] if event.plain else as_update(event.writes, keys)}
    if event.cached:
        chunk[METADATA] = {"cached": True}
    return chunk


def as_update(writes: list[Write], keys: Keys = None) -> Any:
    """Return a node's writes as the update they came from; several writes to one key give a list of updates."""
    if isinstance(keys, str):
        picked = [value for key, value in writes if key == keys]
        return picked[-1] if picked else None
    if keys is not None:
        writes = [write for write in writes if write[0] in keys]
    if not writes:
        return None
    if writes[0][0] == ROOT:
        return writes[0][1] if len(writes) == 1 else [value for _, value in writes]
    update = dict(writes)
    return update if len(update) == len(writes) else [{key: value} for key, value in writes]


def as_result(writes: list[Write]) -> dict[str, Any]:
    """Return writes by channel; several writes to one channel appear under `$writes`."""
    grouped: dict[str, list[Any]] = {}
    for key, value in writes:
        grouped.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else {"$writes": values} for key, values in grouped.items()}


def _custom(event: Event, keys: Keys) -> Any:
    assert isinstance(event, Custom)
    return event.value


def _messages(event: Event, keys: Keys) -> Any:
    assert isinstance(event, Message)
    return event.message, event.metadata


def _tools(event: Event, keys: Keys) -> Any:
    assert isinstance(event, ToolCalled)
    return event.data


def _tasks(event: Event, keys: Keys) -> Any:
    if isinstance(event, TaskStarted):
        start = {"id": event.id, "name": event.name, "input": event.input, "triggers": event.triggers}
        return {**start, "metadata": event.metadata} if event.metadata else start
    assert isinstance(event, TaskFinished)
    result = as_result(event.writes)
    return {
        "id": event.id,
        "name": event.name,
        "error": event.error,
        "result": result if event.trace is None else event.trace(result),
        "interrupts": [{"value": i.value, "id": i.id, "response_schema": i.response_schema} for i in event.interrupts],
    }


def _checkpoints(event: Event, keys: Keys) -> Any:
    assert isinstance(event, CheckpointCommitted)
    return event.payload


_DEBUG_TYPES = {TaskStarted: "task", TaskFinished: "task_result", CheckpointCommitted: "checkpoint"}


def _debug(event: Event, keys: Keys) -> Any:
    payload = event.payload if isinstance(event, CheckpointCommitted) else _tasks(event, keys)
    stamp = datetime.now(UTC).isoformat()
    return {"step": event.step, "timestamp": stamp, "type": _DEBUG_TYPES[type(event)], "payload": payload}


Render = Callable[[Event, Keys], Any]
FILTERS: dict[str, tuple[Render, tuple[type, ...]]] = {
    "values": (_values, (ValuesChanged, Interrupted)),
    "updates": (_updates, (TaskFinished, Interrupted)),
    "custom": (_custom, (Custom,)),
    "messages": (_messages, (Message,)),
    "tools": (_tools, (ToolCalled,)),
    "tasks": (_tasks, (TaskStarted, TaskFinished)),
    "checkpoints": (_checkpoints, (CheckpointCommitted,)),
    "debug": (_debug, (TaskStarted, TaskFinished, CheckpointCommitted)),
}
"""For each mode: how it shows an event, and the events it looks at."""

LIVE_MODES = frozenset({"custom", "messages", "tools", "tasks", "debug"})
"""Modes that have something to show while a node is still running."""
