"""Programs built by hand: nodes that subscribe to channels and write to channels, without a state schema."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self, get_args

from typing_extensions import TypedDict

from twinstep.channels import BaseChannel, Topic
from twinstep.constants import END, RESERVED, START, TASKS
from twinstep.errors import EmptyInputError, GraphValidationError, InvalidUpdateError, did_you_mean
from twinstep.managed import ManagedValue
from twinstep.pregel.action import Action
from twinstep.pregel.spec import PASS, NodeSpec, ProgramSpec, Transition, View
from twinstep.scope import require_scope
from twinstep.stream.events import Write
from twinstep.types import CachePolicy, RetryPolicy, Send, TimeoutPolicy

AnyChannel = BaseChannel[Any, Any]
Ports = str | Sequence[str]
"""One channel (its bare value) or several (a mapping)."""
RESULT: Any = object()
"""Stands for the node's result, where a write names its value."""


@dataclass(frozen=True, slots=True)
class ChannelWriteEntry:
    """One write that a node makes when it has run.

    Args:
        channel: where to.
        value: what; by default the node's result.
        skip_none: write nothing instead of None.
        mapper: makes the written value from `value`.
    """

    channel: str
    value: Any = RESULT
    skip_none: bool = False
    mapper: Callable[[Any], Any] | None = None

    def writes(self, result: Any) -> list[Write]:
        """Return the write that follows from a node's result, if there is one."""
        value = result if self.value is RESULT else self.value
        if self.mapper is not None:
            value = self.mapper(value)
        return [] if value is None and self.skip_none else [(self.channel, value)]


@dataclass(slots=True)
class PregelNode:
    """A node as `NodeBuilder` describes it.

    Attributes:
        channels: what it reads: one channel (bare value) or several (a mapping of those that have a value).
        triggers: the channels that start it.
        steps: its code, each piece given the result of the one before; none: the input is the result.
        writers: what it writes.
    """

    channels: str | list[str] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)
    steps: list[Action] = field(default_factory=list)
    writers: list[ChannelWriteEntry] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    retry_policy: list[RetryPolicy] = field(default_factory=list)
    cache_policy: CachePolicy | None = None
    timeout: TimeoutPolicy | None = None


class NodeBuilder:
    """Describe a node of a hand-made program: what it subscribes to, what it does, what it writes.

    Example:
        >>> from twinstep.channels import EphemeralValue, LastValue
        >>> from twinstep.pregel import NodeBuilder, Pregel
        >>> double = NodeBuilder().subscribe_only("a").do(lambda text: 2 * text).write_to("b")
        >>> app = Pregel(
        ...     nodes={"double": double},
        ...     channels={"a": EphemeralValue(str), "b": LastValue(str)},
        ...     input_channels=["a"],
        ...     output_channels=["b"],
        ... )
        >>> app.invoke({"a": "foo"})
        {'b': 'foofoo'}
    """

    def __init__(self) -> None:
        self._node = PregelNode()

    def subscribe_only(self, channel: str) -> Self:
        """Start the node when a channel is updated, and give it the bare value.

        Raises:
            GraphValidationError: the node reads other channels already.
        """
        if self._node.channels:
            raise GraphValidationError(
                f"subscribe_only('{channel}'): the node reads {self._node.channels!r} already; use subscribe_to for "
                "several channels."
            )
        self._node.channels = channel
        self._node.triggers.append(channel)
        return self

    def subscribe_to(self, *channels: str, read: bool = True) -> Self:
        """Start the node when one of the channels is updated; give it a mapping of those that have a value.

        Args:
            read: False: they only start the node.

        Raises:
            GraphValidationError: the node is subscribed to a single channel.
        """
        if read:
            self.read_from(*channels)
        self._node.triggers += [name for name in channels if name not in self._node.triggers]
        return self

    def read_from(self, *channels: str) -> Self:
        """Give the node these channels too, without being started by them.

        Raises:
            GraphValidationError: the node is subscribed to a single channel.
        """
        if isinstance(self._node.channels, str):
            raise GraphValidationError(
                f"The node is given the bare value of '{self._node.channels}' (subscribe_only), so it cannot read "
                f"{', '.join(channels)} as well; use subscribe_to for all of them."
            )
        self._node.channels += [name for name in channels if name not in self._node.channels]
        return self

    def do(self, node: Any) -> Self:
        """Run a function, coroutine function, compiled graph or runnable; further ones get the result before."""
        self._node.steps.append(Action(node))
        return self

    def write_to(self, *channels: str | ChannelWriteEntry, **values: Any) -> Self:
        """Write the result to channels.

        Args:
            channels: names, or entries that say more.
            values: by channel: a function of the result, or a constant.
        """
        self._node.writers += [name if isinstance(name, ChannelWriteEntry) else _entry(name) for name in channels]
        for name, value in values.items():
            self._node.writers.append(_entry(name, mapper=value) if callable(value) else _entry(name, value))
        return self

    def meta(self, *tags: str, **metadata: Any) -> Self:
        """Add tags and metadata, as streams and drawings show them."""
        self._node.tags += tags
        self._node.metadata.update(metadata)
        return self

    def add_retry_policies(self, *policies: RetryPolicy) -> Self:
        """Try the node again when it fails; the first policy that matches an error decides."""
        self._node.retry_policy += policies
        return self

    def add_cache_policy(self, policy: CachePolicy) -> Self:
        """Keep its result for the same input."""
        self._node.cache_policy = policy
        return self

    def set_timeout(self, timeout: float | timedelta | TimeoutPolicy | None) -> Self:
        """Limit how long an attempt may take."""
        self._node.timeout = TimeoutPolicy.of(timeout)
        return self

    def build(self) -> PregelNode:
        """Return the node."""
        return self._node

    def __or__(self, other: Any) -> Self:
        return self.write_to(*other.entries) if isinstance(other, _Writes) else self.do(other)


def _entry(channel: str, value: Any = RESULT, mapper: Any = None) -> ChannelWriteEntry:
    return ChannelWriteEntry(channel, value, mapper=mapper)


@dataclass(frozen=True, slots=True)
class _Writes:
    """What `Channel.write_to` returns, to be joined to a node with a bar."""

    entries: tuple[ChannelWriteEntry, ...]


class Channel:
    """The older spelling of `NodeBuilder`: `Channel.subscribe_to("a") | function | Channel.write_to("b")`."""

    @staticmethod
    def subscribe_to(channels: Ports, *, tags: Sequence[str] = ()) -> NodeBuilder:
        """Begin a node that one channel (bare value) or several (a mapping) start."""
        node = NodeBuilder().meta(*tags)
        return node.subscribe_only(channels) if isinstance(channels, str) else node.subscribe_to(*channels)

    @staticmethod
    def write_to(*channels: str | ChannelWriteEntry, **values: Any) -> _Writes:
        """Write the result; see `NodeBuilder.write_to`."""
        return _Writes(tuple(NodeBuilder().write_to(*channels, **values).build().writers))


# ---------------------------------------------------------------------- from nodes and channels to the program


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a program is made of by hand; see `Pregel`."""

    name: str
    nodes: Mapping[str, PregelNode | NodeBuilder]
    channels: Mapping[str, Any]
    input_channels: Ports
    output_channels: Ports
    stream_channels: Ports | None
    interrupt_before: Sequence[str]
    interrupt_after: Sequence[str]
    retry: tuple[RetryPolicy, ...]
    cache: CachePolicy | None


def program(parts: Parts) -> ProgramSpec:
    """Compile nodes and channels.

    Raises:
        GraphValidationError: a name does not exist, or nothing can ever start.
    """
    managed = {name: found for name, kind in parts.channels.items() if (found := _managed(kind)) is not None}
    channels: dict[str, AnyChannel] = {TASKS: Topic(Send)}
    for name, channel in parts.channels.items():
        if name not in managed:
            channels[name] = _channel(name, channel)
    nodes = {name: n.build() if isinstance(n, NodeBuilder) else n for name, n in parts.nodes.items()}
    keys = tuple(name for name in channels if name != TASKS)
    _check(parts, nodes, keys, (*keys, *managed))
    stream = parts.stream_channels if parts.stream_channels is not None else keys
    return ProgramSpec(
        name=parts.name,
        nodes={name: _node(parts, name, node, managed) for name, node in nodes.items()},
        channels=channels,
        keys=keys,
        input=functools.partial(_input, parts.name, parts.input_channels),
        output=picker(parts.output_channels),
        stream=picker(stream),
        goto=functools.partial(_goto, parts.name, nodes),
        update=lambda update: list(update.items() if isinstance(update, Mapping) else update),
        input_keys=_port(parts.input_channels),
        output_keys=_port(parts.output_channels),
        stream_keys=_port(stream),
        input_type=_type_of(f"{parts.name}Input", parts.input_channels, channels),
        output_type=_type_of(f"{parts.name}Output", parts.output_channels, channels),
        transitions=lambda: _transitions(parts, nodes),
        fading=any(channels[name].transient for name in _several(parts.output_channels)),
        interrupt_before=parts.interrupt_before,
        interrupt_after=parts.interrupt_after,
    )


def _type_of(name: str, ports: Ports, channels: Mapping[str, AnyChannel]) -> Any:
    """Return the type of what goes through channels: that of one, or a mapping of several."""
    if isinstance(ports, str):
        return channels[ports].typ
    types = {port: channels[port].typ for port in ports}
    return TypedDict(name, types, total=False)  # type: ignore[operator]  # made at run time


def _transitions(parts: Parts, nodes: Mapping[str, PregelNode]) -> Iterator[Transition]:
    """Yield an edge to each node from those that write to a channel it subscribes to, with start and end."""
    for name, node in nodes.items():
        if not set(node.triggers).isdisjoint(_several(parts.input_channels)):
            yield START, name, None, False
        if any(entry.channel in _several(parts.output_channels) for entry in node.writers):
            yield name, END, None, False
        for other, writer in nodes.items():
            if any(entry.channel in node.triggers for entry in writer.writers):
                yield other, name, None, False


def _managed(kind: Any) -> ManagedValue | None:
    return next((part for part in (kind, *get_args(kind)) if isinstance(part, ManagedValue)), None)


def _channel(name: str, channel: Any) -> AnyChannel:
    if name in RESERVED:
        raise GraphValidationError(f"Channel '{name}' is used by the engine; choose another name.")
    if not isinstance(channel, BaseChannel):
        raise GraphValidationError(f"Channel '{name}' is no channel but {channel!r}; write e.g. LastValue(str).")
    return channel.blank()


def _node(parts: Parts, name: str, node: PregelNode, managed: Mapping[str, ManagedValue]) -> NodeSpec:
    return NodeSpec(
        name=name,
        action=_action(node.steps, name),
        read=picker(node.channels),
        writes=lambda result: [write for entry in node.writers for write in entry.writes(result)],
        triggers=tuple(node.triggers),
        retry=tuple(node.retry_policy) or parts.retry,
        cache=node.cache_policy or parts.cache,
        timeout=node.timeout,
        tags=tuple(node.tags),
        metadata=dict(node.metadata) or None,
        managed=tuple((key, managed[key]) for key in _several(node.channels) if key in managed),
    )


def _action(steps: Sequence[Action], name: str) -> Action:
    """Return several pieces of code as one."""
    if len(steps) < 2:
        return steps[0] if steps else PASS
    run = _arun_steps if any(step.is_async for step in steps) else _run_steps
    action = Action(functools.partial(run, tuple(steps)))
    action.name = name
    return action


def _run_steps(steps: Sequence[Action], value: Any) -> Any:
    scope = require_scope("A node")
    for step in steps:
        run = step.fn.invoke if step.is_runnable else step.fn
        value = run(value, **step.kwargs(scope))
    return value


async def _arun_steps(steps: Sequence[Action], value: Any) -> Any:
    scope = require_scope("A node")
    for step in steps:
        run = step.fn.ainvoke if step.is_runnable else step.fn
        value = run(value, **step.kwargs(scope))
        if step.is_runnable or step.is_async:
            value = await value
    return value


def _several(ports: Ports) -> Sequence[str]:
    return (ports,) if isinstance(ports, str) else ports


def _port(ports: Ports) -> str | tuple[str, ...]:
    return ports if isinstance(ports, str) else tuple(ports)


def picker(ports: Ports) -> Callable[[View], Any]:
    """Return the function that picks channels from a view: one (its bare value) or several (a mapping)."""
    if isinstance(ports, str):
        return lambda view: view.value(ports)
    names = tuple(ports)
    return lambda view: view.pick(names)


def _input(program: str, ports: Ports, value: Any) -> list[Write]:
    """Return the writes of a run's input.

    Raises:
        InvalidUpdateError: it is no mapping, or names what is no input channel.
        EmptyInputError: it holds nothing.
    """
    if isinstance(ports, str):
        return [(ports, value)]
    if not isinstance(value, Mapping):
        raise InvalidUpdateError(f"The input of '{program}' is a mapping of {', '.join(ports)}; got {value!r}.")
    for key in value:
        if key not in ports:
            raise InvalidUpdateError(
                f"'{key}' is no input channel of '{program}' ({', '.join(ports)})." + did_you_mean(key, ports)
            )
    if not value:
        raise EmptyInputError(f"'{program}' received no input for {', '.join(ports)}.")
    return list(value.items())


def _goto(program: str, nodes: Mapping[str, PregelNode], goto: Any) -> list[Write]:
    """Return the writes of a command's destinations.

    Raises:
        InvalidUpdateError: a destination is no packet for a node of the program.
    """
    several = goto if isinstance(goto, list | tuple) else (goto,)
    for one in several:
        if not isinstance(one, Send):
            raise InvalidUpdateError(
                f"goto={one!r}: '{program}' starts its nodes by channels; use Send(node, input) or update=."
            )
        if one.node not in nodes:
            raise InvalidUpdateError(
                f"Send to unknown node '{one.node}' in '{program}'." + did_you_mean(one.node, nodes)
            )
    return [(TASKS, one) for one in several]


def _check(parts: Parts, nodes: Mapping[str, PregelNode], keys: Sequence[str], readable: Sequence[str]) -> None:
    if not nodes:
        raise GraphValidationError(f"'{parts.name}' has no nodes.")
    for name, node in nodes.items():
        if name in RESERVED or "|" in name or ":" in name:
            raise GraphValidationError(f"Node '{name}': the name is reserved, or holds one of the signs | and :.")
        if not node.triggers:
            raise GraphValidationError(f"Node '{name}' subscribes to no channel, so nothing can start it.")
        for channel in _several(node.channels):
            _known(f"Node '{name}' reads", channel, readable)
        for channel in node.triggers:
            _known(f"Node '{name}' subscribes to", channel, keys)
        for entry in node.writers:
            if entry.channel != TASKS:
                _known(f"Node '{name}' writes to", entry.channel, keys)
    for what, ports in (("Input", parts.input_channels), ("Output", parts.output_channels)):
        for channel in _several(ports):
            _known(f"{what} channels name", channel, keys)
    for channel in _several(parts.stream_channels or ()):
        _known("Stream channels name", channel, keys)
    started = {channel for node in nodes.values() for channel in node.triggers}
    if started.isdisjoint(_several(parts.input_channels)):
        raise GraphValidationError(
            f"No node of '{parts.name}' subscribes to an input channel ({', '.join(_several(parts.input_channels))})."
        )
    for name in (*parts.interrupt_before, *parts.interrupt_after):
        if name != "*" and name not in nodes:
            raise GraphValidationError(f"Interrupt node `{name}` not found." + did_you_mean(name, nodes))


def _known(who: str, channel: str, known: Sequence[str]) -> None:
    if channel not in known:
        raise GraphValidationError(
            f"{who} channel '{channel}', which does not exist (channels: {', '.join(known)})."
            + did_you_mean(channel, known)
        )
