"""`Pregel`: the compiled object that users hold, run and look into."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from copy import copy as shallow_copy
from typing import Any, Generic, Self, TypeVar, cast

from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.validate import address
from twinstep.constants import INTERRUPT
from twinstep.errors import GraphInterrupt, InvalidConfigError, NoCheckpointerError, did_you_mean
from twinstep.pregel import drive_sync
from twinstep.pregel.effects import Program
from twinstep.pregel.loop import Outcome, execute
from twinstep.pregel.open import Options, merged, open_call, reader
from twinstep.pregel.run import Run
from twinstep.pregel.snapshot import get_older, get_state
from twinstep.pregel.spec import ProgramSpec, View
from twinstep.pregel.update import update_state
from twinstep.runtime import RunControl
from twinstep.scope import SCOPE
from twinstep.stream import Listener
from twinstep.types import (
    NOTHING,
    Command,
    Durability,
    GraphOutput,
    Mismatch,
    RunnableConfig,
    StateSnapshot,
    StateUpdate,
    StreamMode,
)

StateT = TypeVar("StateT")
ContextT = TypeVar("ContextT")
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
Modes = StreamMode | Sequence[StreamMode]


class Pregel(Generic[StateT, ContextT, InputT, OutputT]):
    """A compiled graph or entrypoint.

    One object may run many times at once, from threads and event loops alike; all that belongs to one run is kept
    apart. With a checkpointer, runs on one thread id follow each other: a second one at the same time is refused with
    `ThreadConflictError`.

    Args:
        spec: the program.
        checkpointer: where threads are kept. For a nested graph also None (use the caller's), True (the same, with
            memory of its own across calls) or False (keep nothing).
        store: long-term memory, shared by all threads.
        cache: results of nodes and tasks that have a `cache_policy`.
        context_schema: type of the `context` argument.
        config: defaults of every run.
        on_mismatch: what a resumed run does when it makes other calls than were recorded.
    """

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
    ) -> None:
        if checkpointer is not None and not isinstance(checkpointer, bool | Journal):
            raise InvalidConfigError(
                "Invalid checkpointer: expected a saver (BaseCheckpointSaver), True, False or None, got "
                f"{type(checkpointer).__name__}."
            )
        self.spec = spec
        self.checkpointer, self.store, self.cache = checkpointer, store, cache
        self.context_schema, self.config, self.on_mismatch = context_schema, config, on_mismatch
        self.stream_mode: StreamMode = "updates"

    @property
    def name(self) -> str:
        """The name of the graph, or of the entrypoint's function."""
        return self.spec.name

    # ------------------------------------------------------------------ running

    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = NOTHING,
        stream_mode: Modes = "values",
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Sequence[str] | None = None,
        interrupt_after: Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: str = "v1",
    ) -> OutputT:
        """Run to the end, or to the next question, and return the output.

        Args:
            input: the input; None to continue where the thread stopped; a `Command` to answer, update or go on.
            config: `configurable.thread_id` names the thread; see `RunnableConfig` for the rest.
            context: values for this run that nodes read from `runtime.context`.
            stream_mode: other modes than `values` return the list of chunks.
            output_keys: state keys to return: one (its bare value) or several.
            interrupt_before, interrupt_after: stop before or after these nodes (`"*"`: every node).
            durability: when checkpoints are stored; results of tasks are always stored before anybody gets them,
                except with `exit`, which stores only when the run stops.
            control: asks the run to stop.
            version: `"v2"` returns a `GraphOutput`.

        Raises:
            Exception: what a node raised; with a checkpointer, `invoke(None, config)` continues from there.
        """
        options = Options(context, output_keys, interrupt_before, interrupt_after, durability, control)
        if stream_mode != "values":
            return cast(OutputT, list(self._stream(input, config, options, stream_mode, False, version)))
        run, checkpoint_id = open_call(self, config, options)
        outcome = drive_sync.settle(execute(run, input, checkpoint_id))
        return cast(OutputT, self._result(run, outcome, version))

    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = NOTHING,
        stream_mode: Modes = "values",
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Sequence[str] | None = None,
        interrupt_after: Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        version: str = "v1",
    ) -> OutputT:
        """Do what `invoke` does, on the running event loop."""
        options = Options(context, output_keys, interrupt_before, interrupt_after, durability, control)
        if stream_mode != "values":
            chunks = self._astream(input, config, options, stream_mode, False, version)
            return cast(OutputT, [chunk async for chunk in chunks])
        run, checkpoint_id = open_call(self, config, options)
        from twinstep.pregel import drive_async  # synchronous programs do not pay for asyncio

        with drive_async.nested(run):
            outcome = await drive_async.settle(execute(run, input, checkpoint_id))
        return cast(OutputT, self._result(run, outcome, version))

    def stream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = NOTHING,
        stream_mode: Modes | None = None,
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Sequence[str] | None = None,
        interrupt_after: Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        version: str = "v1",
    ) -> Iterator[Any]:
        """Run and yield what happens, chunk by chunk, while it happens.

        Args:
            stream_mode: `updates` (default), `values`, `custom`, `messages`, `tasks`, `checkpoints`, `debug`; several
                give pairs `(mode, chunk)`.
            subgraphs: also show what happens in nested graphs and entrypoints, each chunk after its namespace.

        The other arguments are those of `invoke`. Closing the iterator early stops the run after its current
        superstep; the thread can be continued with `None`.

        Raises:
            InvalidConfigError: a mode does not exist.
        """
        options = Options(context, output_keys, interrupt_before, interrupt_after, durability, control)
        return self._stream(input, config, options, stream_mode or self.stream_mode, subgraphs, version)

    def astream(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = NOTHING,
        stream_mode: Modes | None = None,
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Sequence[str] | None = None,
        interrupt_after: Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        version: str = "v1",
    ) -> AsyncIterator[Any]:
        """Do what `stream` does, on the running event loop."""
        options = Options(context, output_keys, interrupt_before, interrupt_after, durability, control)
        return self._astream(input, config, options, stream_mode or self.stream_mode, subgraphs, version)

    def _stream(
        self, input: Any, config: RunnableConfig | None, options: Options, modes: Modes, subgraphs: bool, version: str
    ) -> Generator[Any]:
        listener = self._listener(modes, subgraphs, options, version)

        def chunks() -> Generator[Any]:
            run, checkpoint_id = open_call(self, config, options, (listener,))
            outcome = yield from drive_sync.drive(execute(run, input, checkpoint_id), listener)
            self._bubble(run, outcome)

        return chunks()

    def _astream(
        self, input: Any, config: RunnableConfig | None, options: Options, modes: Modes, subgraphs: bool, version: str
    ) -> AsyncGenerator[Any]:
        listener = self._listener(modes, subgraphs, options, version)

        async def chunks() -> AsyncGenerator[Any]:
            from twinstep.pregel import drive_async

            run, checkpoint_id = open_call(self, config, options, (listener,))
            outcome: list[Outcome] = []
            with drive_async.nested(run):
                async for chunk in drive_async.drive(execute(run, input, checkpoint_id), outcome, listener):
                    yield chunk
            self._bubble(run, outcome[0])

        return chunks()

    def _listener(self, modes: Modes, subgraphs: bool, options: Options, version: str) -> Listener:
        listener = Listener(modes, subgraphs=subgraphs, keys=options.output_keys, version=version)
        if self.spec.functional and "updates" in listener.modes:
            listener.live = True  # the tasks of an entrypoint are its steps
        return listener

    def _bubble(self, run: Run, outcome: Outcome) -> None:
        """Hand the questions of a nested run to the task it is nested in."""
        if run.parent is not None and (outcome.interrupts or outcome.breakpoint):
            raise GraphInterrupt(outcome.interrupts)

    def _result(self, run: Run, outcome: Outcome, version: str) -> Any:
        """Return what `invoke` returns."""
        self._bubble(run, outcome)
        value = outcome.value
        if run.show is not run.spec.stream:
            value = run.show(run.state.view)
        if version == "v2":
            return GraphOutput(value, outcome.interrupts)
        if outcome.interrupts or outcome.breakpoint:
            value = value if isinstance(value, dict) and not self.spec.functional else {}
            return {**value, INTERRUPT: list(outcome.interrupts)}
        return value

    def batch(
        self,
        inputs: Sequence[InputT],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[OutputT]:
        """Run several inputs at once, each as a run of its own, and return their outputs in order."""
        from concurrent.futures import ThreadPoolExecutor

        from twinstep.constants import DEFAULT_THREADS

        configs = _each(config, len(inputs))

        def one(input: InputT, config: RunnableConfig | None) -> Any:
            try:
                return self.invoke(input, config, **options)
            except Exception as error:
                if return_exceptions:
                    return error
                raise

        with ThreadPoolExecutor(max(1, min(len(inputs), DEFAULT_THREADS))) as pool:
            return list(pool.map(one, inputs, configs))

    async def abatch(
        self,
        inputs: Sequence[InputT],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[OutputT]:
        """Do what `batch` does, on the running event loop."""
        from asyncio import gather

        runs = [self.ainvoke(i, c, **options) for i, c in zip(inputs, _each(config, len(inputs)), strict=True)]
        return cast(list[OutputT], await gather(*runs, return_exceptions=return_exceptions))

    # ------------------------------------------------------------------ looking into threads

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return a thread's state: the latest, or that of the `checkpoint_id` in the config.

        Raises:
            NoCheckpointerError: there is no checkpointer.
            CheckpointNotFoundError: the checkpoint does not exist.
        """
        return drive_sync.settle(self._state_program(config, subgraphs))  # type: ignore[no-any-return]

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Do what `get_state` does, on the running event loop."""
        return await _asettle(self._state_program(config, subgraphs))  # type: ignore[no-any-return]

    def _state_program(self, config: RunnableConfig, subgraphs: bool) -> Program[StateSnapshot]:
        run, checkpoint_id, graph = self._reader(config)
        return get_state(run, checkpoint_id, config, graph.child_reader(run, config), subgraphs=subgraphs)

    def get_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Yield a thread's states, newest first; each is read when it is asked for.

        Args:
            filter: metadata that the states must have.
            before: config of a checkpoint; only older ones are shown.
            limit: how many at most.
        """
        pages = _History(self, config, filter, before, limit)
        while pages.wants_more():
            yield from pages.take(drive_sync.settle(pages.program()))

    async def aget_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """Do what `get_state_history` does, on the running event loop."""
        pages = _History(self, config, filter, before, limit)
        while pages.wants_more():
            for snapshot in pages.take(await _asettle(pages.program())):
                yield snapshot

    def update_state(
        self, config: RunnableConfig, values: Any, as_node: str | None = None, task_id: str | None = None
    ) -> RunnableConfig:
        """Write to a thread as if a node had returned `values`, and return the new checkpoint's config.

        Args:
            as_node: the node; its edges decide what is due next. None: the last one that ran, if it is clear which.
        """
        return self.bulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    async def aupdate_state(
        self, config: RunnableConfig, values: Any, as_node: str | None = None, task_id: str | None = None
    ) -> RunnableConfig:
        """Do what `update_state` does, on the running event loop."""
        return await self.abulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    def bulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """Write several supersteps of updates, one checkpoint each, and return the last one's config."""
        run, checkpoint_id, _ = self._reader(config)
        return drive_sync.settle(update_state(run, checkpoint_id, supersteps))  # type: ignore[no-any-return]

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """Do what `bulk_update_state` does, on the running event loop."""
        run, checkpoint_id, _ = self._reader(config)
        return await _asettle(update_state(run, checkpoint_id, supersteps))  # type: ignore[no-any-return]

    def _reader(self, config: RunnableConfig) -> tuple[Run, str | None, Pregel[Any, Any, Any, Any]]:
        """Make a run that reads what a config addresses, with the (possibly nested) graph that wrote it."""
        saver = self.journal()
        if saver is None:
            raise NoCheckpointerError(
                f"No checkpointer set: '{self.name}' keeps no state to look into. Pass one to compile(checkpointer=...) "
                "or entrypoint(checkpointer=...)."
            )
        config = merged(self.config, config)
        thread_id, ns, checkpoint_id = address(config)
        graph: Pregel[Any, Any, Any, Any] = self
        for level in ns.split("|") if ns else ():
            if not level.isdigit():  # a digit counts the calls of one task
                graph = graph.child(level.partition(":")[0])
        run = reader(graph, thread_id, ns, config) if graph is self else self._borrow(graph, thread_id, ns, config)
        return run, checkpoint_id, graph

    def _borrow(self, graph: Pregel[Any, Any, Any, Any], thread_id: str, ns: str, config: RunnableConfig) -> Run:
        run = reader(self, thread_id, ns, config)
        run.spec, run.show = graph.spec, graph.spec.stream
        return run

    def child_reader(self, run: Run, config: RunnableConfig) -> Callable[[str], Callable[[str], Run] | None]:
        """Return a function that finds, for a node's name, a reader of the runs nested in it."""
        children = dict(self.get_subgraphs())

        def find(name: str) -> Callable[[str], Run] | None:
            child = children.get(name)
            return None if child is None else lambda ns: self._borrow(child, run.place.thread_id, ns, config)

        return find

    # ------------------------------------------------------------------ parts

    @property
    def saver(self) -> Journal | None:
        """The checkpointer of a run that is not nested."""
        if self.checkpointer is True:
            raise InvalidConfigError(
                f"checkpointer=True means: use the caller's checkpointer. '{self.name}' was called by no graph; give it "
                "a saver."
            )
        return self.checkpointer or None

    def journal(self) -> Journal | None:
        """Return the saver that holds this graph's threads: its own, or that of the run it is nested in."""
        if isinstance(self.checkpointer, Journal):
            return self.checkpointer
        scope = SCOPE.get()
        return scope.run.saver if scope is not None else None

    def get_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> Iterator[tuple[str, Pregel[Any, Any, Any, Any]]]:
        """Yield the graphs and entrypoints nested in this one, by node: as the node itself, or used by its function.

        Args:
            namespace: only the one at this path (node names joined by `|`).
            recurse: also those nested in them.
        """
        for name, node in self.spec.nodes.items():
            for child in graphs_used_by(node.action.fn):
                if namespace is None or namespace == name:
                    yield name, child
                if recurse or (namespace or "").startswith(f"{name}|"):
                    rest = namespace.partition("|")[2] if namespace else None
                    for path, inner in child.get_subgraphs(namespace=rest or None, recurse=recurse):
                        yield f"{name}|{path}", inner
                break

    def child(self, name: str) -> Pregel[Any, Any, Any, Any]:
        """Return the graph nested in a node.

        Raises:
            InvalidConfigError: there is none.
        """
        for node, graph in self.get_subgraphs():
            if node == name:
                return graph
        known = [node for node, _ in self.get_subgraphs()]
        raise InvalidConfigError(
            f"'{self.name}' has no nested graph '{name}' (nested: {', '.join(known) or 'none'})." + did_you_mean(name, known)
        )

    def selector(self, keys: str | Sequence[str]) -> Callable[[View], Any]:
        """Return the function that picks output keys from the state.

        Raises:
            InvalidConfigError: a key does not exist.
        """
        for key in (keys,) if isinstance(keys, str) else keys:
            if key not in self.spec.channels:
                raise InvalidConfigError(
                    f"Key {key} not in channels of '{self.name}' (keys: {', '.join(self.spec.keys)})."
                    + did_you_mean(key, self.spec.keys)
                )
        if isinstance(keys, str):
            return lambda view: view.get(keys)
        return lambda view: {key: view[key] for key in keys if key in view}

    def checked_context(self, context: Any) -> Any:
        """Return the context as its schema's type.

        Raises:
            InvalidConfigError: it does not fit the schema.
        """
        if self.context_schema is None or context is None or type(context) is self.context_schema:
            return context
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(self.context_schema).validate_python(context)
        except ValidationError as error:
            raise InvalidConfigError(
                f"context does not fit {self.context_schema.__name__} of '{self.name}': {error}"
            ) from error

    def with_config(self, config: RunnableConfig | None = None, **changes: Any) -> Self:
        """Return a copy whose runs use these options by default."""
        return self.copy({"config": merged(self.config, config, cast(RunnableConfig, changes))})

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """Return a copy with some attributes replaced."""
        new = shallow_copy(self)
        for name, value in (update or {}).items():
            setattr(new, name, value)
        return new

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Forget the cached results of nodes (None: of all).

        Raises:
            InvalidConfigError: there is no cache.
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
        from twinstep.pregel.execute import cache_namespace

        names = nodes if nodes is not None else list(self.spec.nodes)
        return [cache_namespace(self.spec.nodes[name].action.fn) for name in names]


class _History:
    """A thread's states, read one by one."""

    def __init__(
        self,
        graph: Pregel[Any, Any, Any, Any],
        config: RunnableConfig,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> None:
        self._graph, self._config, self._filter = graph, config, filter or {}
        self._left, self._follower, self._ended = limit, None, False
        self._before: str | None = (before or {}).get("configurable", {}).get("checkpoint_id")

    def wants_more(self) -> bool:
        return not self._ended and (self._left is None or self._left > 0)

    def program(self) -> Program[Any]:
        run, _, _ = self._graph._reader(self._config)
        return get_older(run, self._before, self._follower)

    def take(self, found: Any) -> Iterator[StateSnapshot]:
        if found is None:
            self._ended = True
            return
        snapshot, self._follower = found
        self._before = self._follower.id
        if all((snapshot.metadata or {}).get(key) == value for key, value in self._filter.items()):
            self._left = None if self._left is None else self._left - 1
            yield snapshot


def graphs_used_by(fn: Any) -> Iterator[Pregel[Any, Any, Any, Any]]:
    """Yield the graphs a node's code is, or refers to by its closure or globals."""
    if isinstance(fn, Pregel):
        yield fn
        return
    code = getattr(fn, "__code__", None)
    if code is None:
        return
    cells = [cell.cell_contents for cell in fn.__closure__ or () if _filled(cell)]
    names = [fn.__globals__[name] for name in code.co_names if name in fn.__globals__]
    yield from (value for value in (*cells, *names) if isinstance(value, Pregel))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents
    except ValueError:
        return False
    return True


async def _asettle(program: Program[Any]) -> Any:
    from twinstep.pregel import drive_async

    return await drive_async.settle(program)


def _each(config: Any, n: int) -> Sequence[RunnableConfig | None]:
    return list(config) if isinstance(config, list | tuple) else [config] * n


