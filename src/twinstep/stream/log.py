"""The event log of a run: who listens, and what they have not taken yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol

from twinstep.neighbours import meet_neighbours
from twinstep.stream.events import Custom, Event, Interrupted, Namespace
from twinstep.stream.modes import FILTERS, LIVE_MODES, NO_CHUNK, Keys, Render, check_modes
from twinstep.types import StreamMode


class Observer(Protocol):
    """Whoever is shown the events of a run.

    Attributes:
        subgraphs: whether those of nested runs are shown too.
        depth: levels of the namespace of the run it was given to.
    """

    subgraphs: bool
    depth: int

    @property
    def kinds(self) -> frozenset[type]:
        """The events it wants."""
        ...

    def offer(self, event: Event) -> None:
        """Take note of an event; may be called from any thread."""
        ...


class Listener:
    """One consumer of a run's events: turns them into chunks and keeps those until they are taken.

    `live` tells whether there may be chunks while a node is still running, `shared` whether there may be some while one
    of several nodes is. `offer` may be called from any thread;
    `wake` is then called, so that a waiting consumer looks again.

    Args:
        modes: one mode (bare chunks) or several (chunks labelled with their mode).
        subgraphs: show events of nested graphs and entrypoints too, and label chunks with their namespace.
        keys: state keys to show.
        base: namespace of the run that is listened to.
        version: `"v1"` for bare chunks and tuples, `"v2"` for mappings with `type`, `ns` and `data`.
    """

    subgraphs: bool
    keys: Keys
    depth: int
    version: str

    def __init__(
        self,
        modes: StreamMode | Sequence[StreamMode],
        *,
        subgraphs: bool = False,
        keys: Keys = None,
        base: Namespace = (),
        version: str = "v1",
    ) -> None:
        self.modes: tuple[StreamMode, ...] = check_modes(modes)
        self.labelled: bool = not isinstance(modes, str)
        self.subgraphs, self.keys, self.depth, self.version = subgraphs, keys, len(base), version
        self.live: bool = subgraphs or not LIVE_MODES.isdisjoint(self.modes)
        self.shared: bool = "updates" in self.modes
        if "messages" in self.modes:
            meet_neighbours()
        self.chunks: deque[Any] = deque()
        self.wake: Callable[[], None] | None = None
        self._renders: dict[type, list[tuple[StreamMode, Render]]] = {}
        for mode in self.modes:
            render, kinds = FILTERS[mode]
            for kind in kinds:
                self._renders.setdefault(kind, []).append((mode, render))

    @property
    def kinds(self) -> frozenset[type]:
        """The events this consumer wants."""
        return frozenset(self._renders)

    def offer(self, event: Event) -> None:
        """Turn an event into chunks, if it concerns this consumer."""
        renders = self._renders.get(type(event))
        if renders is None or (not self.subgraphs and len(event.ns) > self.depth and type(event) is not Custom):
            return
        for mode, render in renders:
            chunk = render(event, self.keys)
            if chunk is not NO_CHUNK:
                self.take(mode, event, chunk)
        if self.wake is not None:
            self.wake()

    def take(self, mode: StreamMode, event: Event, chunk: Any) -> None:
        """Keep a chunk for the consumer."""
        self.chunks.append(self._label(mode, event, chunk))

    def _label(self, mode: StreamMode, event: Event, chunk: Any) -> Any:
        ns = event.ns[self.depth :]
        if self.version == "v2":
            part = {"type": mode, "ns": ns, "data": chunk}
            if mode == "values":
                part["interrupts"] = event.interrupts if isinstance(event, Interrupted) else ()
                if isinstance(event, Interrupted):
                    part["data"] = event.values
            return part
        if self.subgraphs:
            return (ns, mode, chunk) if self.labelled else (ns, chunk)
        return (mode, chunk) if self.labelled else chunk


class Printer(Listener):
    """Prints the chunks of some modes."""

    def take(self, mode: StreamMode, event: Event, chunk: Any) -> None:
        """Print a chunk after the name of its mode."""
        print(f"\x1b[1m[{mode}]\x1b[0m {chunk}")  # noqa: T201


class EventLog:
    """The listeners of a run; a nested run adds its own to those of the run that contains it.

    `wants` is the set of event types anybody listens to, so that an event nobody wants is never made.
    """

    __slots__ = ("_numbers", "listeners", "wants")

    def __init__(self, listeners: tuple[Observer, ...] = (), numbers: Iterator[int] | None = None) -> None:
        self.listeners: tuple[Observer, ...] = listeners
        self._numbers = numbers or count(1)
        self.wants: frozenset[type] = frozenset().union(*(listener.kinds for listener in listeners))

    def nested(self, own: tuple[Observer, ...]) -> EventLog:
        """Return the log of a run inside this one."""
        outer = tuple(listener for listener in self.listeners if listener.subgraphs or Custom in listener.kinds)
        return EventLog((*outer, *own), self._numbers)

    def emit(self, event: Event) -> None:
        """Number an event and show it to everybody who listens."""
        event.seq = next(self._numbers)
        for listener in self.listeners:
            listener.offer(event)


SILENT = EventLog()
"""The log of a run that nobody listens to."""
