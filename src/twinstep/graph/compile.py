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
from twinstep.graph.nodes import NodeDef
from twinstep.graph.routes import Router, valid
from twinstep.graph.schema import AnyChannel, Reader, writes_of
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
        trigger = router.targets[node.name][0]
        channels[trigger] = LastValueAfterFinish(Any) if node.defer else EphemeralValue(Any, guard=False)
    joins = _joins(builder, channels)
    readers = {type: schema.reader(builder.channels.keys()) for type, schema in builder.schemas.items()}
    nodes = {START: _start_node(builder, router, keys)}
    for node in builder.nodes.values():
        nodes[node.name] = _node(builder, node, router, joins.get(node.name, ()), readers[node.schema])
    for source, writes in _static(builder, router).items():
        nodes[source].follow = tuple(writes)
    for source in builder.branches:
        type = builder.state_schema if source == START else builder.nodes[source].schema
        nodes[source].branches = _branches(builder, source, router, readers[type])
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
        update=router.results(),
        check_end=_end_check(builder, name),
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
    )


def _end_check(builder: Builder, name: str) -> Callable[[View], None] | None:
    whole = builder.schemas[builder.state_schema]
    return None if whole.managed else end_check(whole.type, whole.reader(builder.channels.keys()), name)


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


def _node(builder: Builder, node: NodeDef, router: Router, joins: Sequence[str], read: Reader) -> NodeSpec:
    schema, defaults = builder.schemas[node.schema], builder.defaults
    child = node.action.fn if isinstance(node.action.fn, Pregel) else None
    spec = NodeSpec(
        node.name,
        node.action,
        read if child is None or schema.is_root else _reader(builder, child) or read,
        router.results(node.name),
        (router.targets[node.name][0], *joins),
        schema.coerce,
        None if child is None else nested_result(child, builder.channels),
        defaults.retry if node.retry is None else node.retry,
        node.cache or defaults.cache,
        node.timeout or defaults.timeout,
        node.metadata,
        node.trace,
        schema.filled,
    )
    handler = node.error_handler or defaults.error_handler
    if handler is not None:
        name = f"__error_handler__{node.name}" if node.error_handler else "__default_error_handler__"
        results = router.results(name)
        spec.error_handler = NodeSpec(
            name, handler, spec.read, results, (), retry=defaults.retry, timeout=defaults.timeout
        )
    return spec


def _reader(builder: Builder, child: Pregel[Any, Any, Any, Any]) -> Reader | None:
    """Return what makes the input of a nested graph that has keys: it is given only those."""
    if child.spec.functional or ROOT in child.spec.channels:
        return None
    wanted = tuple(key for key in builder.channels if key in child.spec.channels)
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
        plain = {k: value for k, value in result.items() if k in keys and k in touched and k not in folding}
        folded = _joined([(key, value) for key, value in written if key in folding], folding) if folding else ()
        return [*plain.items(), *folded] if folded else plain

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


def _static(builder: Builder, router: Router) -> dict[str, list[Write]]:
    """Return the writes of the static edges, by the node they start at."""
    found: dict[str, list[Write]] = {}
    for start, end in sorted(builder.edges):
        if end != END:
            found.setdefault(start, []).append(router.targets[end])
    for starts, end in sorted(builder.waiting_edges):
        for start in starts if end != END else ():
            found.setdefault(start, []).append((_join_name(starts, end), start))
    return found


def _branches(builder: Builder, source: str, router: Router, read: Reader) -> tuple[Branch, ...]:
    return tuple(
        Branch(branch.path, router.choice(source, branch.name, branch.ends), read)
        for branch in builder.branches[source].values()
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
