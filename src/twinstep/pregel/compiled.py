"""What a compiled graph or entrypoint is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy as shallow_copy
from functools import partial
from types import FunctionType, ModuleType
from typing import Any, Generic, Self, TypeVar, Unpack, cast, is_typeddict

from twinstep.adapter import adapter
from twinstep.arguments import expect, expect_seconds, expect_type
from twinstep.channels import BaseChannel
from twinstep.checkpoint.base import Journal
from twinstep.constants import CONFLICT_TIMEOUT, START
from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.pregel.action import Action, unwrap
from twinstep.pregel.past import Past, PastOptions
from twinstep.pregel.spec import NodeSpec, ProgramSpec, View
from twinstep.scope import SCOPE
from twinstep.types import (
    MISMATCHES,
    ON_CONFLICT,
    CachePolicy,
    Mismatch,
    OnConflict,
    RetryPolicy,
    RunnableConfig,
    StreamMode,
    ensure_valid_checkpointer,
)
from twinstep.typing import ContextT, InputT, OutputT, StateT

T = TypeVar("T")


class ThreadOptions(PastOptions, total=False):
    """How the runs of a program meet what is stored of their threads: the arguments of `Compiled` of these names."""

    on_mismatch: Mismatch
    on_conflict: OnConflict
    conflict_timeout: float | None


class Compiled(Generic[StateT, ContextT, InputT, OutputT]):
    """A program with the things it works with; `Pregel` adds what can be done with it.

    Args:
        spec: the program.
        checkpointer: where threads are kept. For a nested graph also None (use the caller's), True (the same, with
            memory of its own across calls) or False (keep nothing).
        store: long-term memory, shared by all threads.
        cache: results of nodes and tasks that have a `cache_policy`.
        context_schema: type of the `context` argument.
        config: defaults of every run.
        on_mismatch: what a resumed run does when it makes other calls than were recorded.
        on_conflict: what a run does while another one works on its thread: fail, or wait for its end.
        conflict_timeout: seconds for which the other run may store nothing before one that waits gives up; None: as
            long as that run lives.
        past: how threads are read that an earlier version of the program has stored; see `Past`.

    Attributes:
        stream_mode: what `stream` shows when it is not told.
        print_mode: modes whose chunks every run prints.
        step_timeout: seconds that one superstep may take.
        transformers: what makes further projections of run streams; see `stream_events`.
        retry_policy, cache_policy: those of nodes that were given none.
    """

    store: Any
    cache: Any
    context_schema: type[ContextT] | None
    config: RunnableConfig | None

    def __init__(
        self,
        spec: ProgramSpec,
        *,
        checkpointer: Journal | bool | None = None,
        store: Any = None,
        cache: Any = None,
        context_schema: type[ContextT] | None = None,
        config: RunnableConfig | None = None,
        on_mismatch: Mismatch = "error",
        on_conflict: OnConflict = "error",
        conflict_timeout: float | None = CONFLICT_TIMEOUT,
        **past: Unpack[PastOptions],
    ) -> None:
        self.spec = spec
        if past:
            spec.past = Past(**past)
        self.checkpointer: Journal | bool | None = ensure_valid_checkpointer(checkpointer)
        self.store, self.cache = store, cache
        for name, value, method in (("store", store, "batch"), ("cache", cache, "get")):
            if value is not None and not hasattr(value, method):
                raise InvalidConfigError(f"{name}= takes a {name}, such as InMemory{name.title()}(), got {value!r}.")
        self.context_schema, self.config = expect_type("context_schema=", context_schema), config
        self.on_mismatch: Mismatch = known_option("on_mismatch", on_mismatch, MISMATCHES)
        self.on_conflict: OnConflict = known_option("on_conflict", on_conflict, ON_CONFLICT)
        self.conflict_timeout: float | None = expect_seconds("conflict_timeout=", conflict_timeout)
        self.stream_mode: StreamMode = "updates"
        self.step_timeout: float | None = None
        self.transformers: Sequence[Any] = ()
        self.retry_policy: tuple[RetryPolicy, ...] = ()
        self.cache_policy: CachePolicy | None = None
        self.print_mode: tuple[StreamMode, ...] = ()

    @property
    def name(self) -> str:
        """The name of the graph, or of the entrypoint's function."""
        return self.spec.name

    # ------------------------------------------------------------------ parts

    @property
    def nodes(self) -> dict[str, NodeSpec]:
        """The nodes by name."""
        return self.spec.nodes

    @property
    def channels(self) -> dict[str, BaseChannel[Any, Any]]:
        """The channels by name: the state keys, and the engine's own."""
        return self.spec.channels

    @property
    def input_channels(self) -> str | tuple[str, ...]:
        """The channel that receives the input, or the channels."""
        return self.spec.input_keys

    @property
    def stream_channels(self) -> str | tuple[str, ...]:
        """The state keys that `values` chunks show."""
        return self.spec.stream_keys

    @property
    def output_channels(self) -> str | tuple[str, ...]:
        """The state keys that a run returns."""
        return self.spec.output_keys

    @property
    def interrupt_before_nodes(self) -> Sequence[str]:
        """The nodes every run stops before."""
        return self.spec.interrupt_before

    @property
    def interrupt_after_nodes(self) -> Sequence[str]:
        """The nodes every run stops after."""
        return self.spec.interrupt_after

    @property
    def trigger_to_nodes(self) -> dict[str, tuple[str, ...]]:
        """The nodes that each channel starts."""
        return self.spec.triggers

    @property
    def saver(self) -> Journal | None:
        """The checkpointer of a run that is not nested."""
        if self.checkpointer is True:
            raise InvalidConfigError(
                f"checkpointer=True means: use the caller's checkpointer. '{self.name}' was called by no graph; give "
                "it a saver."
            )
        return self.checkpointer or None

    def journal(self) -> Journal | None:
        """Return the saver that holds this graph's threads: its own, or that of the run it is nested in."""
        if isinstance(self.checkpointer, Journal):
            return self.checkpointer
        scope = SCOPE.get()
        return scope.run.saver if scope is not None else None

    def get_subgraphs(self, *, namespace: str | None = None, recurse: bool = False) -> Iterator[tuple[str, Any]]:
        """Yield the graphs and entrypoints nested in this one, by node: as the node itself, or used by its function.

        Args:
            namespace: only the one at this path (node names joined by `|`).
            recurse: also those nested in them.
        """
        for name, node in self.spec.nodes.items():
            for child in graphs_used_by(node.action.code):
                if namespace is None or namespace == name:
                    yield name, child
                if recurse or (namespace or "").startswith(f"{name}|"):
                    rest = namespace.partition("|")[2] if namespace else None
                    for path, inner in child.get_subgraphs(namespace=rest or None, recurse=recurse):
                        yield f"{name}|{path}", inner
                break

    async def aget_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> AsyncIterator[tuple[str, Any]]:
        """Do what `get_subgraphs` does, as an asynchronous iterator."""
        for found in self.get_subgraphs(namespace=namespace, recurse=recurse):
            yield found

    def validate(self) -> Self:
        """Return this program: whatever is made has been checked."""
        return self

    def child(self, name: str) -> Any:
        """Return the graph nested in a node.

        Raises:
            InvalidConfigError: there is none.
        """
        for node, graph in self.get_subgraphs():
            if node == name:
                return graph
        for spec in self.spec.nodes.values():
            for used in used_by(spec.action.fn):
                if isinstance(getattr(used, "action", None), Action) and used.name == name:  # a task, which calls it
                    return next(graphs_used_by(used), None)
        known = [node for node, _ in self.get_subgraphs()]
        raise InvalidConfigError(
            f"'{self.name}' has no nested graph '{name}' (nested: {', '.join(known) or 'none'})."
            + did_you_mean(name, known)
        )

    def selector(self, keys: str | Sequence[str]) -> Callable[[View], Any]:
        """Return the function that picks output keys from the state.

        Raises:
            InvalidConfigError: a key does not exist.
        """
        for key in names_of("output_keys", keys):
            if key not in self.spec.channels:
                raise InvalidConfigError(
                    f"Key {key} not in channels of '{self.name}' (keys: {', '.join(self.spec.keys)})."
                    + did_you_mean(key, self.spec.keys)
                )
        if isinstance(keys, str):
            return lambda view: view.value(keys)
        return lambda view: view.pick(keys)

    def checked_context(self, context: Any) -> Any:
        """Return the context as its schema's type.

        Raises:
            InvalidConfigError: it does not fit the schema.
        """
        schema: Any = self.context_schema
        if schema is None or type(context) is schema:
            return context
        from pydantic import ValidationError

        fields = "__annotations__" if is_typeddict(schema) else "__dataclass_fields__"
        known: Mapping[str, Any] = getattr(schema, fields, {})
        for key in context if isinstance(context, Mapping) else ():
            if known and key not in known:
                raise InvalidConfigError(
                    f"'{self.name}' was given a context with '{key}', which {schema.__name__} has not "
                    f"({', '.join(known)})." + did_you_mean(key, known)
                )
        try:
            return adapter(schema).validate_python({} if context is None else context)
        except ValidationError as error:
            what = "needs a context=, a" if context is None else "was given a context that is no"
            raise InvalidConfigError(f"'{self.name}' {what} {schema.__name__}: {error}") from error

    def inherited_context(self, context: Any) -> Any:
        """Return the caller's context for a nested run; an instance of the caller's own class stays as it is.

        Raises:
            InvalidConfigError: there is none and the schema needs one, or it is a mapping that does not fit.
        """
        return self.checked_context(context) if context is None or isinstance(context, Mapping) else context

    def with_config(self, config: RunnableConfig | None = None, **changes: Any) -> Self:
        """Return a copy whose runs use these options by default."""
        return self.copy({"config": merged(self.config, config, cast(RunnableConfig, changes))})

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """Return a copy with some attributes replaced.

        Raises:
            InvalidConfigError: an attribute does not exist.
        """
        new = shallow_copy(self)
        for name, value in expect("copy(...)", update or {}, Mapping, "a mapping of attributes").items():
            known_option("attribute", name, tuple(vars(self)))
            setattr(new, name, value)
        return new

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Forget the cached results of nodes (None: of all).

        Raises:
            InvalidConfigError: there is no cache, or no such node.
        """
        self._cache().clear(self._cache_namespaces(nodes))

    async def aclear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Do what `clear_cache` does, on the running event loop."""
        await self._cache().aclear(self._cache_namespaces(nodes))

    def _cache(self) -> Any:
        if self.cache is None:
            raise InvalidConfigError(f"No cache is set for '{self.name}'; there is nothing to clear.")
        return self.cache

    def _cache_namespaces(self, nodes: Sequence[str] | None) -> list[tuple[str, ...]]:
        names = names_of("nodes", nodes) if nodes is not None else list(self.spec.nodes)
        for name in names:
            known_option("node", name, [*self.spec.nodes])
        return [self.spec.nodes[name].action.cache_namespace() for name in names]


def graphs_used_by(fn: Any) -> Iterator[Any]:
    """Yield the graphs a node's code is, or refers to, nearest first."""
    return (value for value in used_by(fn) if isinstance(value, Compiled))


def used_by(fn: Any) -> Iterator[Any]:
    """Yield a callable and what it refers to, also by way of functions and tasks."""
    waiting, seen = [fn], {id(fn)}
    for used in waiting:
        yield used
        for value in _referred_to(used):
            if id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)


def _referred_to(used: Any) -> Iterator[Any]:
    """Yield what a callable's names stand for: in closure and globals, and behind a dot, in its object and modules."""
    action = getattr(used, "action", None)
    fn = action.fn if isinstance(action, Action) else used
    if isinstance(fn, partial):
        yield from (fn.func, *fn.args, *fn.keywords.values())
        return
    code, owner = unwrap(fn), getattr(fn, "__self__", fn)
    if not isinstance(code, FunctionType):
        code = getattr(type(fn), "__call__", None)  # noqa: B004  # of an object
    if not isinstance(code, FunctionType) or code.__module__.startswith("twinstep."):
        return
    named = [cell.cell_contents for cell in code.__closure__ or () if _filled(cell)]
    named += [code.__globals__[name] for name in code.__code__.co_names if name in code.__globals__]
    yield from named
    for holder in (owner, *(value for value in named if isinstance(value, ModuleType))):
        known = getattr(holder, "__dict__", {})
        yield from (known[name] for name in code.__code__.co_names if name in known)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that has no value yet
        return False


def check_renamed(graph: Compiled[Any, Any, Any, Any]) -> None:
    """Check that what `renamed` says things are called now exists: as a state key, a node, or a task that one uses.

    Raises:
        InvalidConfigError: it does not.
    """
    wanted = {new for new in graph.spec.past.renamed.values() if new is not None}
    wanted = {new for new in wanted if new not in graph.spec.keys and new not in graph.nodes}
    if not wanted:
        return
    used = (each for node in graph.nodes.values() for each in used_by(node.action.fn))
    tasks = {each.name for each in used if isinstance(getattr(each, "action", None), Action)}
    known = [*graph.spec.keys, *(name for name in graph.nodes if name != START), *sorted(tasks)]
    for name in sorted(wanted - tasks):
        raise InvalidConfigError(
            f"renamed= says that something is called '{name}' now, and '{graph.name}' has no state key, node or task "
            f"of this name ({', '.join(known)})." + did_you_mean(name, known)
        )


def names_of(what: str, names: str | Iterable[str]) -> tuple[str, ...]:
    """Return one name or several as a tuple.

    Raises:
        InvalidConfigError: it is something else.
    """
    if isinstance(names, str):
        return (names,)
    return tuple(expect(what, names, Iterable, "a name or a list of names", optional=False))


def known_option(name: str, value: T, known: Sequence[T]) -> T:
    """Return the value of an option.

    Raises:
        InvalidConfigError: it is none of those that are known.
    """
    if value not in known:
        raise InvalidConfigError(
            f"Unknown {name} {value!r}; it is one of {', '.join(map(str, known))}."
            + did_you_mean(value, map(str, known))
        )
    return value


def merged(*configs: RunnableConfig | None) -> RunnableConfig:
    """Return one config in which later ones win; tags are joined, `configurable` and `metadata` merged.

    Raises:
        InvalidConfigError: a config is no mapping.
    """
    given = [config for config in configs if config]
    if len(given) == 1 and type(given[0]) is dict and None not in given[0].values():
        return given[0]
    result: dict[str, Any] = {}
    for config in given:
        if not isinstance(config, Mapping):
            raise InvalidConfigError(f"A config is a mapping such as {{'configurable': {{...}}}}, got {config!r}.")
        options: dict[str, Any] = dict(config)
        for key, value in options.items():
            if value is None:
                continue
            if key in ("configurable", "metadata"):
                value = {**result.get(key, {}), **value}
            elif key == "tags":
                value = [*result.get(key, []), *value]
            result[key] = value
    return cast(RunnableConfig, result)
