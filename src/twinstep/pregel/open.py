"""Opening a run: from a config and the options of a call to a `Run`, at the root or nested in a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.validate import address
from twinstep.constants import DEFAULT_RECURSION_LIMIT, NS_END, NS_SEP
from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.neighbours import meet_neighbours
from twinstep.pregel.compiled import Compiled, known_option, merged, names_of
from twinstep.pregel.run import Run
from twinstep.pregel.task import Task
from twinstep.pregel.workers import lend_gate
from twinstep.runtime import RunControl
from twinstep.scope import SCOPE
from twinstep.stream import SILENT, Observer, Printer
from twinstep.stream.log import EventLog
from twinstep.types import DURABILITIES, NOTHING, ON_CONFLICT, Durability, OnConflict, RunnableConfig, StreamMode
from twinstep.warnings import TwinstepWarning, deprecate, warn


@dataclass(slots=True)
class Options:
    """What a caller may choose for one run."""

    context: Any = NOTHING
    output_keys: str | Sequence[str] | None = None
    interrupt_before: Sequence[str] | None = None
    interrupt_after: Sequence[str] | None = None
    durability: Durability | None = None
    control: RunControl | None = None
    print_mode: StreamMode | Sequence[StreamMode] = ()
    on_conflict: OnConflict | None = None
    checkpoint_during: bool | None = None


class RunOptions(TypedDict, total=False):
    """The options of a run that do not change the type of what it returns; see `Pregel.invoke`."""

    interrupt_before: Sequence[str] | None
    interrupt_after: Sequence[str] | None
    durability: Durability | None
    control: RunControl | None
    on_conflict: OnConflict | None
    print_mode: StreamMode | Sequence[StreamMode]
    checkpoint_during: bool | None


DEFAULTS = Options()


def open_call(
    graph: Compiled[Any, Any, Any, Any],
    config: RunnableConfig | None,
    options: Options = DEFAULTS,
    listeners: tuple[Observer, ...] = (),
) -> tuple[Run, str | None]:
    """Make the run of a call, and the id of the checkpoint it starts from, if the config names one.

    Raises:
        InvalidConfigError: the config or an option cannot be used.
    """
    printed = options.print_mode or graph.print_mode
    if printed:
        listeners = (*listeners, Printer(printed))
    scope = SCOPE.get()
    parent = scope if isinstance(scope, Task) and not _independent(graph, config, scope) else None
    config = merged(graph.config, parent.run.config if parent is not None else None, config)
    limit = checked(config)
    callbacks = config.get("callbacks")
    if callbacks:
        from twinstep.stream.callbacks import callback_listeners

        meet_neighbours()
        known = parent.run.log.listeners if parent is not None else ()
        listeners = (*listeners, *callback_listeners(callbacks, known))
    if options.control is not None and not isinstance(options.control, RunControl):
        raise InvalidConfigError(f"control= takes a RunControl, got {options.control!r}.")
    if options.checkpoint_during is not None:
        options.durability = _spelled_during(options)
    if options.durability is not None:
        known_option("durability", options.durability, DURABILITIES)
        if parent is None and graph.checkpointer is None:
            warn(TwinstepWarning(f"'durability' has no effect: '{graph.name}' has no checkpointer."))
    before = _names(graph, options.interrupt_before, graph.spec.interrupt_before)
    after = _names(graph, options.interrupt_after, graph.spec.interrupt_after)
    make = _nested if parent is not None else _root
    run, checkpoint_id = make(graph, config, options, listeners, limit, before, after, parent)
    run.mismatch, run.step_timeout = graph.on_mismatch, graph.step_timeout
    if parent is not None and parent.run.edited:
        run.mark_edited()
    run.on_conflict, run.conflict_timeout = graph.on_conflict, graph.conflict_timeout
    if options.on_conflict is not None:
        run.on_conflict = known_option("on_conflict", options.on_conflict, ON_CONFLICT)
    run.memory = graph.spec.functional and run.saver is None and any(node.retry for node in graph.spec.nodes.values())
    if options.output_keys is not None:
        run.show = graph.selector(options.output_keys)
    return run, checkpoint_id


def _spelled_during(options: Options) -> Durability:
    """Return the durability that `checkpoint_during` stands for.

    Raises:
        InvalidConfigError: both are given, or it is no truth value.
    """
    if options.durability is not None:
        raise InvalidConfigError("Both durability= and checkpoint_during=, its older spelling, are given: drop it.")
    deprecate("checkpoint_during=", "durability=")
    return "async" if known_option("checkpoint_during", options.checkpoint_during, (True, False)) else "exit"


OPTIONS = frozenset(RunnableConfig.__annotations__)
KINDS = (("configurable", (dict, Mapping)), ("metadata", (dict, Mapping)), ("tags", (list, tuple)))


def checked(config: RunnableConfig) -> int:
    """Return the recursion limit of a config that can be used.

    Raises:
        InvalidConfigError: it has an unknown key, or a value that cannot be used.
    """
    if not config:
        return DEFAULT_RECURSION_LIMIT
    if not OPTIONS.issuperset(config):
        unknown = next(key for key in config if key not in OPTIONS)
        raise InvalidConfigError(
            f"Unknown config key {unknown!r} ({', '.join(sorted(OPTIONS))}); own values go into 'configurable'."
            + did_you_mean(unknown, OPTIONS)
        )
    limit = config.get("recursion_limit", DEFAULT_RECURSION_LIMIT)
    for name, value in (("recursion_limit", limit), ("max_concurrency", config.get("max_concurrency") or 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidConfigError(f"{name} must be an integer of at least 1, got {value!r}.")
    if config.get("max_concurrency") == 0:
        raise InvalidConfigError("max_concurrency must be an integer of at least 1, got 0; None means no limit.")
    for name, kind in KINDS:
        if name in config and not isinstance(config.get(name), kind):
            raise InvalidConfigError(
                f"config['{name}'] cannot be {config.get(name)!r}; a config looks like {{'configurable': "
                "{'thread_id': '1'}, 'tags': ['a'], 'metadata': {'user': 'b'}}."
            )
    return limit


def _independent(graph: Compiled[Any, Any, Any, Any], config: RunnableConfig | None, scope: Task) -> bool:
    """Tell whether a call inside a run addresses another thread, so that it is a run of its own."""
    if not config:
        return False
    thread = (config.get("configurable") or {}).get("thread_id")
    return thread is not None and str(thread) != scope.run.root.thread_id and isinstance(graph.checkpointer, Journal)


def _root(
    graph: Compiled[Any, Any, Any, Any],
    config: RunnableConfig,
    options: Options,
    listeners: tuple[Observer, ...],
    limit: int,
    before: Sequence[str],
    after: Sequence[str],
    parent: Task | None,
) -> tuple[Run, str | None]:
    saver = graph.saver
    thread, ns, checkpoint_id = address(config) if saver is not None else (None, "", None)
    run = Run(
        graph.spec,
        config,
        thread_id=thread,
        saver=saver,
        store=graph.store,
        cache=graph.cache,
        context=graph.checked_context(None if options.context is NOTHING else options.context),
        log=EventLog(listeners) if listeners else SILENT,
        control=options.control,
        durability=options.durability or "async",
        limit=limit,
        interrupt_before=before,
        interrupt_after=after,
    )
    if ns and checkpoint_id is not None:
        run.goal, checkpoint_id = (ns, checkpoint_id), None
    return run, checkpoint_id


def _nested(
    graph: Compiled[Any, Any, Any, Any],
    config: RunnableConfig,
    options: Options,
    listeners: tuple[Observer, ...],
    limit: int,
    before: Sequence[str],
    after: Sequence[str],
    parent: Task | None,
) -> tuple[Run, str | None]:
    assert parent is not None
    parent.check_wanted(graph.spec.name)
    outer = parent.run
    run = Run(
        graph.spec,
        config,
        root=outer.root,
        parent=parent,
        ns=_child_ns(graph, parent),
        saver=None if graph.checkpointer is False else outer.saver,
        store=graph.store if graph.store is not None else outer.store,
        cache=graph.cache if graph.cache is not None else outer.cache,
        context=(
            graph.inherited_context(outer.context)
            if options.context is NOTHING
            else graph.checked_context(options.context)
        ),
        log=outer.log.nested(listeners) if outer.log is not SILENT or listeners else SILENT,
        control=options.control or outer.control,
        durability=outer.durability,
        limit=limit,
        interrupt_before=before,
        interrupt_after=after,
    )
    run.remembers = graph.checkpointer is True
    parent.written = run.written
    lend_gate(parent)
    for own in listeners:
        own.depth = len(run.ns_path)
    return run, None


def _child_ns(graph: Compiled[Any, Any, Any, Any], parent: Task) -> str:
    """Return the namespace of the next run nested in a task; one that remembers has the same for every task."""
    base = parent.child_ns() if parent.run.saver is not None or parent.run.log is not SILENT else parent.name
    if graph.checkpointer is True:
        base = NS_SEP.join(level.partition(NS_END)[0] for level in base.split(NS_SEP))
    n = parent.occurrence(("child",))
    return f"{base}{NS_SEP}{n}" if n else base


def _names(graph: Compiled[Any, Any, Any, Any], given: Sequence[str] | None, default: Sequence[str]) -> Sequence[str]:
    """Return node names for breakpoints.

    Raises:
        InvalidConfigError: a name is no node.
    """
    if given is None:
        return default
    names = names_of("interrupt_before and interrupt_after", given)
    for name in names:
        if name != "*" and name not in graph.spec.nodes:
            known = [node for node in graph.spec.nodes if not graph.spec.nodes[node].hidden]
            raise InvalidConfigError(
                f"Interrupt node '{name}' not found in '{graph.spec.name}' (nodes: {', '.join(known)})."
                + did_you_mean(name, known)
            )
    return names
