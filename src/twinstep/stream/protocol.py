"""From the event log to the events of a run stream: the same modes, as mappings that say what they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from typing import Any, Literal, NotRequired, TypedDict

from twinstep.stream.events import Event, Interrupted, Namespace, RunFinished, RunStarted
from twinstep.stream.log import Listener
from twinstep.types import StreamMode

SubgraphStatus = Literal["started", "completed", "failed", "interrupted", "drained"]


class EventParams(TypedDict):
    """Where and when an event happened, and what its mode shows of it."""

    namespace: list[str]
    timestamp: int
    data: Any
    interrupts: NotRequired[tuple[Any, ...]]


class ProtocolEvent(TypedDict):
    """One event of a run stream.

    `method` is a stream mode, `lifecycle`, or `custom:name` for the items of a named channel. `seq` is the number of
    the event in the log of the root's run: views of one event share it, so that it names a point to go on from.
    """

    type: Literal["event"]
    method: str
    params: EventParams
    seq: int


class LifecyclePayload(TypedDict):
    """That a nested run has started, or how it ended."""

    event: SubgraphStatus
    namespace: list[str]
    graph_name: NotRequired[str]
    trigger_call_id: NotRequired[str]


def protocol_event(method: str, ns: Sequence[str], data: Any, seq: int) -> ProtocolEvent:
    """Make an event of now."""
    stamp = time.time_ns() // 1_000_000
    return {
        "type": "event",
        "method": method,
        "params": {"namespace": list(ns), "timestamp": stamp, "data": data},
        "seq": seq,
    }


def parent_of(ns: Namespace) -> Namespace:
    """Return the namespace of the run around a nested one; a number counts the calls of one task."""
    return ns[:-2] if ns[-1].isdigit() else ns[:-1]


def lies_in(ns: Namespace, path: Namespace) -> bool:
    """Tell whether a namespace is that of a run or of one nested in it; further calls of its task are beside it."""
    rest = ns[len(path) :]
    return ns[: len(path)] == path and not (rest and rest[0].isdigit())


class ProtocolListener(Listener):
    """Keeps protocol events, and the starts and ends of runs as they are, for a run stream."""

    def __init__(self, modes: Sequence[StreamMode]) -> None:
        super().__init__(tuple(modes), subgraphs=True)

    @property
    def kinds(self) -> frozenset[type]:
        """The events it wants."""
        return super().kinds | {RunStarted, RunFinished}

    def offer(self, event: Event) -> None:
        """Turn an event into protocol events."""
        if isinstance(event, RunStarted | RunFinished):
            event = copy(event)  # others are shown it too
            event.ns = event.ns[self.depth :]
            self.chunks.append(event)
            if self.wake is not None:
                self.wake()
            return
        super().offer(event)

    def take(self, mode: StreamMode, event: Event, chunk: Any) -> None:
        """Keep a chunk as a protocol event."""
        data = event.values if mode == "values" and isinstance(event, Interrupted) else chunk
        made = protocol_event(mode, event.ns[self.depth :], data, event.seq)
        if mode == "values":
            made["params"]["interrupts"] = event.interrupts if isinstance(event, Interrupted) else ()
        self.chunks.append(made)
