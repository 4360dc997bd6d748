"""What the front-ends compile to: a program of nodes and channels, in the form the engine runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinstep.channels import MISSING, BaseChannel, BinaryOperatorAggregate
from twinstep.constants import START, TAG_HIDDEN, TASKS
from twinstep.errors import ProgramChangedError, did_you_mean
from twinstep.managed import ManagedValue
from twinstep.pregel.action import Action
from twinstep.pregel.isolation import CONTAINERS, Contents
from twinstep.pregel.past import BRANCH, JOIN, NO_PAST, Past
from twinstep.stream.events import Write
from twinstep.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy

Transition = tuple[str, str, str | None, bool]
"""From one node to another, with a label, and whether a choice leads there."""


class View(dict[str, Any]):
    """The available values of the state keys, and the input while it is there.

    Attributes:
        contents: of the values that are containers. Who reads gets copies of these as its own, so that what
            it does to them in place stays there.
    """

    contents: Mapping[str, Contents] = {}

    def put(self, key: str, value: Any, begins: Contents | None = None) -> None:
        """Show a value; of a list, `begins` is what is known of its first items."""
        self[key] = value
        if type(value) in CONTAINERS:
            self.contents = {**self.contents, key: Contents() if begins is None else begins.grown()}
        elif key in self.contents:
            self._forget(key)

    def drop(self, key: str) -> None:
        """Show a value no longer."""
        self.pop(key, None)
        if key in self.contents:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self.contents = {name: known for name, known in self.contents.items() if name != key}

    def copy(self) -> View:
        """Return an independent view of the same values."""
        new = View(self)
        new.contents = self.contents
        return new

    def whole(self, but: Collection[str] = ()) -> dict[str, Any]:
        """Return the values of all state keys; those of some are not needed, hence not copied."""
        values: dict[str, Any] = {**self}
        values.pop(START, None)
        return self._own(values, but) if self.contents else values

    def pick(self, keys: Collection[str]) -> dict[str, Any]:
        """Return the values of some keys, as far as they are available."""
        return self._own({key: self[key] for key in keys if key in self})

    def value(self, key: str) -> Any:
        """Return the value of a key, or None."""
        value: Any = self.get(key)
        return self.contents[key].copy(value) if key in self.contents else value

    def _own(self, values: dict[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
        for key, known in self.contents.items():
            if key in values and key not in but:
                values[key] = known.copy(values[key])
        return values


class Preview(View):
    """A view that shows other values for some keys; the others are looked up below it, not copied."""

    __slots__ = ("below",)

    def __init__(self, below: View) -> None:
        self.below: View = below

    def whole(self, but: Collection[str] = ()) -> dict[str, Any]:
        values = self.below.whole({*but, *self.keys()} if but else self.keys())
        values.update(super().whole(but) if self.contents else self)
        return values

    def pick(self, keys: Collection[str]) -> dict[str, Any]:
        below, top = self.below, self.keys()
        if self.contents or below.contents or type(below) is Preview:
            mine = {key for key in keys if key in top}
            values = {**below.pick([key for key in keys if key not in mine]), **super().pick(mine)}
            return {key: values[key] for key in keys if key in values}
        return {key: self[key] if key in top else below[key] for key in keys if key in top or key in below}

    def value(self, key: str) -> Any:
        return super().value(key) if key in self.keys() else self.below.value(key)

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, default) if key in self.keys() else self.below.get(key, default)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self.below

    def __missing__(self, key: str) -> Any:
        return self.below[key]


PASS = Action(lambda input: input)
"""The action of a node that returns its input; the engine does not call it."""


@dataclass(slots=True)
class Branch:
    """A choice made after a node has run.

    Args:
        path: user code that looks at the state and names where to go.
        route: turns what `path` returned into writes.
        read: makes what `path` is given from the state.
    """

    path: Action
    route: Callable[[Any], list[Write]]
    read: Callable[[View], Any]


@dataclass(slots=True)
class NodeSpec:
    """One node, ready to run.

    Args:
        name: unique in the graph.
        action: the user's code.
        read: makes the node's input from the state.
        writes: turns what the code returned into writes of state keys (and of triggers, for a `Command`).
        triggers: channels that start the node when they are updated.
        coerce: makes the node's input from the payload of a `Send`.
        result: for a nested graph: makes the result from what its nodes wrote and what it returned.
        trace: what the streams that trace it show of its input and writes.
        managed: keys of its input that the engine fills in.
        follow: writes made whenever the node has run: its static edges.
        branches: choices made after it has run.
        plain: whether the result is a return value and not an update of state keys.
        error_handler: runs in its place when it has failed for good.
        consumes: those of its triggers that take note of having started it.
    """

    name: str
    action: Action
    read: Callable[[View], Any]
    writes: Callable[[Any], list[Write]]
    triggers: tuple[str, ...]
    coerce: Callable[[Any], Any] | None = None
    result: Callable[[Sequence[Write], Any], Any] | None = None
    retry: tuple[RetryPolicy, ...] = ()
    cache: CachePolicy | None = None
    timeout: TimeoutPolicy | None = None
    metadata: dict[str, Any] | None = None
    trace: TracePolicy | None = None
    managed: tuple[tuple[str, ManagedValue], ...] = ()
    follow: tuple[Write, ...] = ()
    branches: tuple[Branch, ...] = ()
    plain: bool = False
    error_handler: NodeSpec | None = None
    tags: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()

    @property
    def hidden(self) -> bool:
        """Whether streams leave the node out."""
        return TAG_HIDDEN in self.tags


@dataclass(slots=True)
class ProgramSpec:
    """A whole graph or entrypoint, ready to run.

    Args:
        name: shown in errors and drawings.
        nodes: by name.
        channels: templates by name: the state keys and the engine's own.
        keys: the state keys: what nodes see and checkpoints show as values.
        input: turns a run's input into writes.
        output: makes the run's result from the state.
        stream: makes the values shown in `values` chunks and snapshots from the state.
        input_keys, output_keys, stream_keys: the channels of the input, of the result and of `values` chunks: one (its
            bare value) or several.
        fading: whether output keys may vanish; a run then returns what they were when one was last written.
        typed: turns the result into an instance of the output schema.
        goto, update: turn the parts of a `Command` given as input into writes.
        input_type, output_type: schemas of input and result.
        transitions: lists what may be taken, for drawings.
        functional: whether it is an entrypoint.
        check_end: refuses a state that a run would end with; raises.
        triggers: the nodes that each channel starts.
        late, consumable: channels of these kinds.
        past: how it reads what earlier versions of it have stored.
        shared: channels whose values are seen from outside the engine; kept: those of them that are stored.
        initial: channels that may have a value before anything is written to them, in order.
        growing: channels whose lists no code of the user gets at, and most updates only add to.
        starts_alone: whether the first superstep only turns the input into the first state, without code of the user.
    """

    name: str
    nodes: dict[str, NodeSpec]
    channels: dict[str, BaseChannel[Any, Any]]
    keys: tuple[str, ...]
    input: Callable[[Any], list[Write]]
    output: Callable[[View], Any]
    stream: Callable[[View], Any]
    goto: Callable[[Any], list[Write]]
    update: Callable[[Any], list[Write]]
    typed: Callable[[Any], Any] = lambda value: value
    input_keys: str | tuple[str, ...] = START
    output_keys: str | tuple[str, ...] = ()
    stream_keys: str | tuple[str, ...] = ()
    fading: bool = False
    input_type: Any = Any
    output_type: Any = Any
    transitions: Callable[[], Iterable[Transition]] = tuple
    functional: bool = False
    check_end: Callable[[View], None] | None = None
    interrupt_before: Sequence[str] = ()
    interrupt_after: Sequence[str] = ()
    triggers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    late: tuple[str, ...] = ()
    consumable: tuple[str, ...] = ()
    past: Past = NO_PAST
    shared: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    initial: tuple[str, ...] = ()
    growing: frozenset[str] = frozenset()
    starts_alone: bool = False

    def __post_init__(self) -> None:
        for name, template in self.channels.items():
            template.key = name
        triggers: dict[str, list[str]] = {TASKS: []}
        for name in sorted(self.nodes):
            for trigger in self.nodes[name].triggers:
                triggers.setdefault(trigger, []).append(name)
        self.triggers = {trigger: tuple(names) for trigger, names in triggers.items()}
        self.stream_keys = self.stream_keys or self.keys
        self.late = tuple(name for name, channel in self.channels.items() if channel.late)
        self.consumable = tuple(name for name, channel in self.channels.items() if channel.consumable)
        for name in {node for trigger in self.consumable for node in self.triggers.get(trigger, ())}:
            node = self.nodes[name]
            node.consumes = tuple(trigger for trigger in node.triggers if trigger in self.consumable)
        self.shared = frozenset((*self.keys, START))
        self.kept = frozenset(name for name in self.shared if name in self.channels and self.channels[name].saved)
        self.initial = tuple(
            name
            for name, channel in self.channels.items()
            if channel.peek() is not MISSING or type(channel).from_checkpoint is not BaseChannel.from_checkpoint
        )
        self.growing = frozenset(
            name
            for name, channel in self.channels.items()
            if type(channel) is BinaryOperatorAggregate and channel.keeps_items
        )
        start = self.nodes.get(START)
        self.starts_alone = (
            start is not None and start.action is PASS and not start.branches and self.input_keys == START
        )

    def check_present(
        self, foreign: Collection[str], updated: Collection[str], packets: Collection[Any], where: object
    ) -> None:
        """Check that a program has what a thread needs to go on.

        Args:
            foreign: names of the channels that have a value in the thread and do not exist in the program.
            updated: those that may start a node; empty when what is due is dropped.
            packets: the `Send` packets that are due.

        Raises:
            ProgramChangedError: it has not.
        """
        due = [name for name in updated if name not in self.triggers]
        if not due and not foreign and not packets:
            return
        keys = sorted(name for name in foreign if not name.startswith((BRANCH, JOIN)))
        nodes = {name.rpartition(":")[2] for name in (*due, *foreign) if name.startswith((BRANCH, JOIN)) and updated}
        nodes |= {name for name in due if not name.startswith((BRANCH, JOIN))}
        nodes |= {packet.node for packet in packets if packet.node not in self.nodes}
        if not keys and not nodes:
            return
        known = [*self.keys, *(name for name in self.nodes if not self.nodes[name].hidden)]
        parts = [f"state key '{key}'" for key in keys] + [f"node '{node}', which is due" for node in sorted(nodes)]
        first = [*keys, *sorted(nodes)][0]
        raise ProgramChangedError(
            f"'{self.name}' lacks what {where} needs: {'; '.join(parts)}. For what has another name now pass "
            f"renamed={{'{first}': 'new name'}}, for what is no longer wanted renamed={{'{first}': None}}."
            + did_you_mean(first, known),
            missing=(*keys, *sorted(nodes)),
        )
