"""From a builder to the program that the engine runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twinstep.channels import (
    EphemeralValue,
    Folding,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
)
from twinstep.constants import END, ROOT, START, TAG_HIDDEN, TASKS
from twinstep.errors import InvalidUpdateError, did_you_mean
from twinstep.graph.nodes import NodeDef, targets
from twinstep.graph.routes import Router, trigger_of, valid
from twinstep.graph.schema import AnyChannel, Schema, writes_of
from twinstep.graph.state import StateGraph
from twinstep.graph.transitions import snapshot, transitions
from twinstep.graph.validation import Check, end_check
from twinstep.pregel.isolation import isolate
from twinstep.pregel.main import Pregel
from twinstep.pregel.spec import PASS, Branch, NodeSpec, ProgramSpec, View
from twinstep.stream.events import Write
from twinstep.types import Send

Builder = StateGraph[Any, Any, Any, Any]


def compile_spec(
    builder: Builder, name: str, interrupt_before: Sequence[str], interrupt_after: Sequence[str]
) -> ProgramSpec:
    """Compile a checked graph."""
    keys = {key: channel.blank() for key, channel in builder.channels.items()}
    for key, channel in keys.items():
        channel.key = key
    router = Router(name, builder.nodes, keys, _checks(builder))
    channels: dict[str, AnyChannel] = {**keys, START: EphemeralValue(builder.input_schema), TASKS: Topic(Send)}
    for node in builder.nodes.values():
        make = LastValueAfterFinish if node.defer else EphemeralValue
        channels[trigger_of(node.name)] = make(Any) if node.defer else EphemeralValue(Any, guard=False)
    joins = _joins(builder, channels)
    nodes = {START: _start_node(builder, router, keys)}
    for node in builder.nodes.values():
        nodes[node.name] = _node(builder, node, router, joins.get(node.name, ()))
    edges = targets(builder.edges)
    for source, spec in nodes.items():
        spec.follow = _follow(builder, source, edges.get(source, ()))
        spec.branches = _branches(builder, source, router)
    all_keys, declared = tuple(keys), snapshot(builder)
    return ProgramSpec(
        name=name,
        nodes=nodes,
        channels=channels,
        keys=all_keys,
        input=_input(builder, router),
        output=_picker(builder.schemas[builder.output_schema].keys),
        output_keys=builder.schemas[builder.output_schema].keys,
        typed=builder.schemas[builder.output_schema].build,
        input_type=builder.input_schema,
        output_type=builder.output_schema,
        transitions=lambda: transitions(declared),
        stream=_picker(all_keys),
        goto=lambda goto: router.goto(goto) if goto else [],
        update=router.results("A command"),
        check_end=_end_check(builder, name),
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
    )


def _end_check(builder: Builder, name: str) -> Callable[[View], None] | None:
    whole = builder.schemas[builder.state_schema]
    return None if whole.managed else end_check(whole.type, whole.reader(frozenset(builder.channels)), name)


def _joins(builder: Builder, channels: dict[str, AnyChannel]) -> dict[str, list[str]]:
    """Add the channels of the joins; return them by the node they start."""
    joins: dict[str, list[str]] = {}
    for starts, end in sorted(builder.waiting_edges):
        if end == END:
            continue
        late = builder.nodes[end].defer
        make = NamedBarrierValueAfterFinish if late else NamedBarrierValue
        channels[_join_name(starts, end)] = make(str, starts, quorum=builder.quorums[starts, end])
        joins.setdefault(end, []).append(_join_name(starts, end))
    return joins


def _join_name(starts: Sequence[str], end: str) -> str:
    return f"join:{'+'.join(start.replace('+', '++') for start in starts)}:{end}"


def _start_node(builder: Builder, router: Router, keys: Mapping[str, AnyChannel]) -> NodeSpec:
    """Make the node that turns the input into the first state."""
    schema = builder.schemas[builder.input_schema]

    def writes(value: Any) -> list[Write]:
        found = [write for write in writes_of(value, keys, defaults=True) if write[0] in schema.channels]
        return found if type(value) is dict else isolate(found)  # a mapping was copied when it came

    return NodeSpec(
        name=START,
        action=PASS,
        read=lambda view: view[START],
        writes=writes,
        triggers=(START,),
        tags=(TAG_HIDDEN,),
    )


def _node(builder: Builder, node: NodeDef, router: Router, joins: Sequence[str]) -> NodeSpec:
    schema = builder.schemas[node.schema]
    child = node.action.fn if isinstance(node.action.fn, Pregel) else None
    defaults = builder.defaults
    spec = NodeSpec(
        name=node.name,
        action=node.action,
        read=_reader(builder, schema, child),
        writes=router.results(f"Node '{node.name}'"),
        result=None if child is None else nested_result(child, builder.channels),
        triggers=(trigger_of(node.name), *joins),
        coerce=schema.coerce,
        retry=defaults.retry if node.retry is None else node.retry,
        cache=node.cache or defaults.cache,
        timeout=node.timeout or defaults.timeout,
        metadata=node.metadata,
        trace=node.trace,
        managed=tuple(schema.managed.items()),
    )
    handler = node.error_handler or defaults.error_handler
    if handler is not None:
        name = f"__error_handler__{node.name}" if node.error_handler else "__default_error_handler__"
        results = router.results(f"Node '{name}'")
        spec.error_handler = NodeSpec(
            name, handler, spec.read, results, (), retry=defaults.retry, timeout=defaults.timeout
        )
    return spec


def _reader(builder: Builder, schema: Schema, child: Pregel[Any, Any, Any, Any] | None) -> Callable[[View], Any]:
    """Return what makes a node's input; a nested graph is given only the keys it has."""
    if child is None or child.spec.functional or schema.is_root:
        return schema.reader(frozenset(builder.channels))
    wanted = tuple(key for key in builder.channels if key in child.spec.channels)
    if ROOT in child.spec.channels:
        return schema.reader(frozenset(builder.channels))
    return lambda view: view.pick(wanted)


def nested_result(
    child: Pregel[Any, Any, Any, Any], keys: Mapping[str, AnyChannel]
) -> Callable[[Sequence[Write], Any], Any]:
    """Return what makes the update of a node from what the nodes of the graph nested in it wrote, and its output.

    The child's keys that do not exist here, or that its nodes have not written, are left out. Where both sides fold,
    the child began with our value, so its output would count that twice: the update is what its nodes wrote.
    """
    folding = {
        key: channel
        for key, channel in keys.items()
        if isinstance(channel, Folding) and isinstance(child.spec.channels.get(key), Folding)
    }

    def update(written: Sequence[Write], result: Any) -> Any:
        if not isinstance(result, dict) or ROOT in keys:
            return result
        touched = result.keys() if child.spec.functional else {key for key, _ in written}
        plain = [(k, value) for k, value in result.items() if k in keys and k in touched and k not in folding]
        return [*plain, *_joined([(key, value) for key, value in written if key in folding], folding)]

    return update


def _joined(writes: Sequence[Write], folding: Mapping[str, AnyChannel]) -> list[Write]:
    """Return writes with the lists for one key put together, where the reducer would do just that."""
    lists: dict[str, list[Any]] = {}
    found: list[Write] = []
    for key, value in writes:
        if type(value) is not list or getattr(folding[key], "operator", None) is not operator.add:
            found.append((key, value))
        elif key in lists:
            lists[key].extend(value)
        else:
            lists[key] = list(value)
            found.append((key, lists[key]))
    return found


def _follow(builder: Builder, source: str, edges: Sequence[str]) -> tuple[Write, ...]:
    """Return the writes of a node's static edges."""
    writes: list[Write] = [(trigger_of(end), None) for end in edges if end != END]
    for starts, end in sorted(builder.waiting_edges):
        if source in starts and end != END:
            writes.append((_join_name(starts, end), source))
    return tuple(writes)


def _branches(builder: Builder, source: str, router: Router) -> tuple[Branch, ...]:
    type = builder.state_schema if source == START else builder.nodes[source].schema
    read = builder.schemas[type].reader(frozenset(builder.channels))
    return tuple(
        Branch(branch.path, router.choice(source, branch.name, branch.ends), read)
        for branch in builder.branches.get(source, {}).values()
    )


def _checks(builder: Builder) -> dict[str, Check]:
    """Return what validates written values; of several schemas that have a key, the first decides."""
    checks: dict[str, Check | None] = {}
    for schema in builder.schemas.values():
        own = schema.checks()
        for key in schema.keys:
            checks.setdefault(key, own.get(key))
    return {key: check for key, check in checks.items() if check is not None}


def _input(builder: Builder, router: Router) -> Callable[[Any], list[Write]]:
    """Return what turns a run's input into writes, refusing what is no input."""
    schema, keys = builder.schemas[builder.input_schema], router.keys
    checks = {**router.checks, **schema.checks()}

    def writes(value: Any) -> list[Write]:
        if schema.is_root:
            return [(START, value)]
        found = writes_of(value, keys, defaults=True)
        for key, _ in found:
            if key not in keys and key not in builder.managed:
                raise InvalidUpdateError(
                    f"Input key '{key}' is not in {schema.name} ({', '.join(schema.keys)})."
                    + did_you_mean(key, schema.keys)
                )
        return [(START, dict(valid(found, checks, router.graph)) if checks else value)]

    return writes


def _picker(keys: Sequence[str]) -> Callable[[View], Any]:
    if ROOT in keys:
        return lambda view: view.value(ROOT)
    return lambda view: view.pick(keys)
