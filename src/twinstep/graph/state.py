"""`StateGraph`: the builder of graphs whose nodes communicate through a shared state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, Generic, Self, Unpack

from twinstep.arguments import expect, expect_several, expect_type
from twinstep.checkpoint.base import Journal
from twinstep.constants import END, NS_END, NS_SEP, RESERVED, ROOT, START
from twinstep.errors import GraphValidationError, did_you_mean
from twinstep.graph.annotations import destinations_of, first_parameter_type, hints_of_code, literals
from twinstep.graph.nodes import BranchDef, Join, Node, NodeDef, NodeDefaults
from twinstep.graph.schema import AnyChannel, Schema
from twinstep.managed import ManagedValue
from twinstep.pregel import Pregel
from twinstep.pregel.action import Action, is_as_written
from twinstep.pregel.compiled import ThreadOptions, check_renamed, names_of
from twinstep.pregel.executors import Where, placed
from twinstep.serde import register_schema_types
from twinstep.stream.transformers import check_transformers
from twinstep.types import (
    All,
    CachePolicy,
    Retry,
    Timeout,
    TimeoutPolicy,
    TracePolicy,
    retry_policies,
)
from twinstep.typing import ContextT, InputT, OutputT, StateT
from twinstep.warnings import GraphWarning, deprecate, renamed, warn

__all__ = ["END", "START", "CompiledStateGraph", "StateGraph"]

log: logging.Logger = logging.getLogger("twinstep")


class CompiledStateGraph(Pregel[StateT, ContextT, InputT, OutputT]):
    """A compiled state graph.

    Attributes:
        builder: the graph it was compiled from.
    """

    builder: StateGraph[StateT, ContextT, InputT, OutputT]


class StateGraph(Generic[StateT, ContextT, InputT, OutputT]):
    """Build a graph whose nodes read a shared state and return updates of it.

    Each key of the state keeps the last value written to it, or folds what is written with a reducer:
    `Annotated[list, operator.add]`. All due nodes run in parallel; their updates are applied together at the end of
    the superstep, in the order of the nodes' names.

    Args:
        state_schema: TypedDict, dataclass, pydantic model; or a bare type, when the whole state is one value.
        context_schema: type of the `context` argument of `invoke`.
        input_schema: what may be given as input, when it is not the whole state.
        output_schema: what is returned, when it is not the whole state.
        config_schema, input, output: older spellings.

    Raises:
        GraphValidationError: a schema cannot be used.

    Example:
        >>> from typing import TypedDict
        >>> from twinstep.graph import END, START, StateGraph
        >>> class State(TypedDict):
        ...     n: int
        >>> graph = (
        ...     StateGraph(State)
        ...     .add_node("double", lambda state: {"n": 2 * state["n"]})
        ...     .add_edge(START, "double")
        ...     .add_conditional_edges("double", lambda state: END if state["n"] > 50 else "double", ["double", END])
        ...     .compile()
        ... )
        >>> graph.invoke({"n": 7})
        {'n': 56}
    """

    def __init__(
        self,
        state_schema: type[StateT],
        context_schema: type[ContextT] | None = None,
        *,
        input_schema: type[InputT] | None = None,
        output_schema: type[OutputT] | None = None,
        config_schema: type[ContextT] | None = None,
        input: type[InputT] | None = None,
        output: type[OutputT] | None = None,
    ) -> None:
        self.state_schema = state_schema
        self.context_schema: type[ContextT] | None = expect_type(
            "context_schema=", renamed("config_schema", "context_schema", config_schema, context_schema)
        )
        self.input_schema: Any = _given(renamed("input", "input_schema", input, input_schema), state_schema)
        self.output_schema: Any = _given(renamed("output", "output_schema", output, output_schema), state_schema)
        self.nodes: dict[str, NodeDef] = {}
        self.edges: set[tuple[str, str]] = set()
        self.waiting_edges: set[tuple[tuple[str, ...], str]] = set()
        self.quorums: dict[tuple[tuple[str, ...], str], int] = {}
        self.branches: dict[str, dict[str, BranchDef]] = {}
        self.defaults: NodeDefaults = NodeDefaults()
        self.schemas: dict[Any, Schema] = {}
        self.channels: dict[str, AnyChannel] = {}
        self.managed: dict[str, ManagedValue] = {}
        self.compiled: bool = False
        for schema in (state_schema, self.input_schema, self.output_schema):
            self.add_schema(schema)
        for schema in (self.input_schema, self.output_schema):
            names = self.schemas[schema].managed
            if names and schema is not state_schema:
                raise GraphValidationError(
                    f"Invalid managed channels detected in {schema.__name__}: {', '.join(names)}. Managed channels are "
                    "not permitted in Input/Output schema."
                )

    def add_schema(self, type: Any) -> Schema:
        """Take the keys of a schema into the state.

        Raises:
            GraphValidationError: a key exists with another reducer.
        """
        if type is None or isinstance(type, str | bytes | int | float | list | tuple | set | Mapping | FunctionType):
            raise GraphValidationError(f"A schema is a class such as a TypedDict, or a type such as int; got {type!r}.")
        if type in self.schemas:
            return self.schemas[type]
        schema = self.schemas[type] = Schema(type)
        register_schema_types(type)
        self.managed.update(schema.managed)
        for key, channel in schema.channels.items():
            if (key in RESERVED and key != ROOT) or key.startswith(("branch:to:", "join:")):
                raise GraphValidationError(f"State key '{key}' of {schema.name} is used by the engine; choose another.")
            known = self.channels.get(key)
            if known is None:
                self.channels[key] = channel
            elif not _is_plain(channel) and known != channel:
                raise GraphValidationError(f"Channel '{key}' already exists with a different type.")
        return schema

    def add_node(
        self,
        node: str | Node,
        action: Node | None = None,
        *,
        defer: bool = False,
        metadata: dict[str, Any] | None = None,
        input_schema: type[Any] | None = None,
        retry_policy: Retry = None,
        cache_policy: CachePolicy | None = None,
        error_handler: Callable[..., Any] | None = None,
        destinations: Mapping[str, str] | Sequence[str] | None = None,
        timeout: Timeout = None,
        trace_policy: TracePolicy | None = None,
        executor: Where = None,
        retry: Retry = None,
        input: type[Any] | None = None,
    ) -> Self:
        """Add a node.

        Args:
            node: the node's name, or the action, whose name is then taken.
            action: a function or coroutine function of the state, a compiled graph, an entrypoint, any runnable.
            defer, metadata: run only when no other node is due; what drawings and streams show beside the name.
            input_schema: what the node reads; by default the annotation of its first parameter, or the whole state.
            retry_policy, cache_policy: what is tried again (of several, the first that matches decides); what is kept.
            error_handler: runs in its place when it has failed for good; a parameter `error` receives the `NodeError`.
            destinations, timeout: where its commands may go; seconds (or a policy) that one attempt may take.
            trace_policy, executor: what `tasks` and `debug` streams show of its values; where it runs, as in `task`.

        Raises:
            GraphValidationError: the name is taken, reserved or not allowed, or the action is missing.
        """
        node, action = (node, action) if isinstance(node, str) else (Action(node).name, node)
        self._check_name(node, action)
        hints, policy = hints_of_code(action), renamed("retry", "retry_policy", retry, retry_policy)
        self.nodes[node] = NodeDef(
            node,
            placed(Action(action), executor),
            self._node_schema(renamed("input", "input_schema", input, input_schema), action, hints, error_handler),
            defer,
            expect(f"add_node('{node}', metadata=...)", metadata, Mapping, "a mapping"),
            None if policy is None else retry_policies(policy),
            CachePolicy.of(cache_policy),
            None if error_handler is None else Action(error_handler),
            destinations_of(node, destinations, hints),
            TimeoutPolicy.of(timeout),
            expect(f"add_node('{node}', trace_policy=...)", trace_policy, TracePolicy, "a TracePolicy"),
        )
        return self

    def _node_schema(self, given: Any, action: Any, hints: Mapping[str, Any], handler: Any) -> Any:
        """Return what a node reads; take it, and the types that its code names, into the graph."""
        schema = _given(given, first_parameter_type(action, hints, self.schemas) or self.state_schema)
        self.add_schema(schema)
        resolved = hints and is_as_written(action) and not action.__closure__
        register_schema_types(tuple(hints.values()) if resolved else action)
        if handler is not None:
            register_schema_types(handler)
        return schema

    def set_node_defaults(
        self,
        *,
        retry_policy: Retry = None,
        cache_policy: CachePolicy | None = None,
        error_handler: Callable[..., Any] | None = None,
        timeout: Timeout = None,
    ) -> Self:
        """Set what nodes of this graph have that do not say otherwise; nested graphs have their own defaults.

        Retry policy and timeout hold for error handlers too. What is not given stays as it was set before. The default
        error handler appears as `__default_error_handler__`.
        """
        self._note_change("defaults")
        defaults = self.defaults
        if retry_policy is not None:
            defaults.retry = retry_policies(retry_policy)
        if error_handler is not None:
            register_schema_types(error_handler)
            defaults.error_handler = Action(error_handler)
        defaults.cache = CachePolicy.of(cache_policy) or defaults.cache
        defaults.timeout = TimeoutPolicy.of(timeout) or defaults.timeout
        return self

    def _check_name(self, name: str, action: Any) -> None:
        if action is None:
            raise GraphValidationError(f"add_node('{name}') needs an action: add_node('{name}', function).")
        if not name:
            raise GraphValidationError("A node needs a name that is not empty.")
        if name in RESERVED:
            raise GraphValidationError(f"Node `{name}` is reserved.")
        if name in self.nodes:
            raise GraphValidationError(f"Node `{name}` already present.")
        for sign in (NS_SEP, NS_END):
            if sign in name:
                raise GraphValidationError(f"'{sign}' is a reserved character and is not allowed in the node names.")
        self._note_change("a node")

    def _note_change(self, what: str) -> None:
        if self.compiled:
            log.warning(
                "Adding %s to a graph that has already been compiled: the compiled graph does not change.", what
            )

    def add_edge(self, start_key: str | Sequence[str], end_key: str, *, join: Join = "all") -> Self:
        """Run a node after another one has run; or, with a list, after all of the list have (a join).

        A join waits anew after it has fired. When a run ends while a join is waiting, a `JoinWarning` says for whom.

        Args:
            start_key: the node, or the list of nodes.
            end_key: the node to run next, or `END`.
            join: for a list: `"all"`; a number n, to run once when n of them have run (those that come later are let
                pass); or `"any"`, to run after each of them, as separate edges do.

        Raises:
            GraphValidationError: `END` as start, or `START` as end; an unknown node in a list; an impossible `join`.
        """
        self._note_change("an edge")
        if not isinstance(end_key, str):
            raise GraphValidationError(
                f"add_edge({start_key!r}, {end_key!r}): an edge ends at one node; add one edge for each."
            )
        if not isinstance(start_key, Iterable):
            raise GraphValidationError(f"add_edge({start_key!r}, '{end_key}'): it starts at a node or at several.")
        starts = (start_key,) if isinstance(start_key, str) else tuple(dict.fromkeys(start_key))
        if not starts:
            raise GraphValidationError(f"add_edge([], '{end_key}'): a join needs at least one node to wait for.")
        if END in starts:
            raise GraphValidationError("END cannot be a start node")
        if end_key == START:
            raise GraphValidationError("START cannot be an end node")
        needed = _needed(join, starts, end_key)
        if isinstance(start_key, str):
            self.edges.add((start_key, end_key))
            return self
        for start in starts:
            if start not in self.nodes:
                raise GraphValidationError(f"Need to add_node `{start}` first." + did_you_mean(start, self.nodes))
        if join == "any":
            self.edges |= {(start, end_key) for start in starts}
        else:
            self.waiting_edges.add((starts, end_key))
            self.quorums[starts, end_key] = needed
        return self

    def add_conditional_edges(
        self,
        source: str,
        path: Callable[..., Any] | Any,
        path_map: Mapping[Any, str] | Sequence[str] | None = None,
    ) -> Self:
        """Decide after a node where to go on.

        Args:
            source: the node, or `START`.
            path: function of the state (with this node's updates, without those of its siblings) that returns node
                names, `END`, `Send` packets, or a list of them.
            path_map: what the function's results mean, or the list of possible ones; by default the `Literal` of its
                return annotation, else every node.

        Raises:
            GraphValidationError: the node has a branch of this name.
        """
        self._note_change("an edge")
        expect("add_conditional_edges(source, ...)", source, str, "the name of a node", optional=False)
        action = Action(path)
        branches = self.branches.setdefault(source, {})
        name = action.name
        if name in branches and name == "<lambda>":
            name = f"<lambda>{len(branches)}"
        if name in branches:
            raise GraphValidationError(f"Branch with name `{name}` already exists for node `{source}`")
        ends = literals(path) if path_map is None else path_map
        if ends is not None and not isinstance(ends, Mapping):
            ends = {end: end for end in names_of("path_map", ends)}
        branches[name] = BranchDef(name, action, dict(ends) if ends is not None else None)
        return self

    def add_sequence(self, nodes: Sequence[Callable[..., Any] | tuple[str, Any]]) -> Self:
        """Add nodes that run one after the other; START is not connected.

        Raises:
            GraphValidationError: the sequence is empty.
        """
        expect_several("add_sequence(...)", nodes, "a list of functions, or of pairs (name, function)")
        if not nodes:
            raise GraphValidationError("Sequence requires at least one node.")
        previous: str | None = None
        for item in nodes:
            name, action = item if isinstance(item, tuple) else (Action(item).name, item)
            self.add_node(name, action)
            if previous is not None:
                self.add_edge(previous, name)
            previous = name
        return self

    def set_entry_point(self, key: str) -> Self:
        """Start with a node: an older spelling of `add_edge(START, key)`."""
        deprecate("set_entry_point(node)", "add_edge(START, node)")
        return self.add_edge(START, key)

    def set_finish_point(self, key: str) -> Self:
        """End after a node: an older spelling of `add_edge(key, END)`."""
        deprecate("set_finish_point(node)", "add_edge(node, END)")
        return self.add_edge(key, END)

    def set_conditional_entry_point(
        self, path: Callable[..., Any], path_map: Mapping[Any, str] | Sequence[str] | None = None
    ) -> Self:
        """Decide from the input where to start: an older spelling of `add_conditional_edges(START, path, path_map)`."""
        deprecate("set_conditional_entry_point(path)", "add_conditional_edges(START, path)")
        return self.add_conditional_edges(START, path, path_map)

    def validate(self, interrupt: Sequence[str] = ()) -> Self:
        """Check that the graph can work.

        Raises:
            GraphValidationError: an edge, a branch or a breakpoint names what does not exist, or nothing is reachable.
        """
        from twinstep.graph.topology import check

        for finding in check(self, interrupt):
            warn(GraphWarning(finding))
        return self

    def compile(
        self,
        checkpointer: Journal | bool | None = None,
        *,
        cache: Any = None,
        store: Any = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        debug: bool = False,
        name: str | None = None,
        transformers: Sequence[Any] | None = None,
        **threads: Unpack[ThreadOptions],
    ) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]:
        """Check the graph and make it runnable.

        Args:
            checkpointer: where threads are kept; see `Pregel` for True and False.
            cache: results of nodes that have a `cache_policy`.
            store: long-term memory, shared by all threads.
            interrupt_before, interrupt_after: stop before or after these nodes (`"*"`: every node).
            debug: print updates and values of every run.
            name: name of the graph.
            transformers: make further projections of its run streams; see `stream_events`.
            threads: how runs meet what is stored: `on_mismatch`, `on_conflict`, `conflict_timeout`, `version`,
                `renamed`, `migrations`; see `ThreadOptions`.

        Raises:
            GraphValidationError: the graph cannot work.
        """
        from twinstep.graph.compile import compile_spec

        expect("compile(name=...)", name, str, "a name")
        before = _breakpoints(interrupt_before)
        after = _breakpoints(interrupt_after)
        self.validate((*before, *after))
        spec = compile_spec(self, name or "LangGraph", before, after)
        graph: CompiledStateGraph[StateT, ContextT, InputT, OutputT] = CompiledStateGraph(
            spec,
            checkpointer=checkpointer,
            store=store,
            cache=cache,
            context_schema=self.context_schema,
            **threads,
        )
        graph.builder = self
        check_renamed(graph)
        graph.print_mode = ("updates", "values") if debug else ()
        graph.transformers = check_transformers(transformers)
        self.compiled = True
        return graph


def _given(schema: Any, other: Any) -> Any:
    return other if schema is None else schema


def _is_plain(channel: AnyChannel) -> bool:
    return type(channel).__name__ == "LastValue"


def _needed(join: Join, starts: Sequence[str], end: str) -> int:
    """Return how many of the nodes a join waits for."""
    if join in ("all", "any"):
        return len(starts)
    if not isinstance(join, int) or isinstance(join, bool) or not 1 <= join <= len(starts):
        raise GraphValidationError(
            f"add_edge({list(starts)}, '{end}', join={join!r}): join is 'all', 'any' or a number from 1 to "
            f"{len(starts)}."
        )
    return join


def _breakpoints(names: All | Sequence[str] | None) -> tuple[str, ...]:
    return () if names is None else names_of("interrupt_before and interrupt_after", names)
