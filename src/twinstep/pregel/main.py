"""`Pregel`: the compiled object that users hold, run and look into."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

from twinstep.arguments import expect, expect_seconds, expect_several
from twinstep.constants import DEFAULT_THREADS, INTERRUPT
from twinstep.errors import GraphInterrupt, InvalidConfigError
from twinstep.pregel import drive_sync
from twinstep.pregel.chunks import Chunks, astream_chunks, bubble, stream_chunks
from twinstep.pregel.compiled import names_of
from twinstep.pregel.loop import Outcome, execute
from twinstep.pregel.open import Options, RunOptions, open_call
from twinstep.pregel.run import Run
from twinstep.pregel.run_streams import RunStreams
from twinstep.pregel.spec import ProgramSpec
from twinstep.pregel.workers import block_loop, waiting_for
from twinstep.runtime import RunControl
from twinstep.stream import Listener, check_modes
from twinstep.stream.transformers import Factory, check_transformers
from twinstep.types import (
    NOTHING,
    All,
    CachePolicy,
    Command,
    Durability,
    GraphOutput,
    OnConflict,
    Retry,
    RetryPolicy,
    RunnableConfig,
    StreamMode,
    retry_policies,
)
from twinstep.typing import ContextT, InputT, OutputT, StateT

if TYPE_CHECKING:
    from twinstep.pregel.builder import NodeBuilder, PregelNode

Modes = StreamMode | Sequence[StreamMode]
Version = Literal["v1", "v2"]
DEBUG: tuple[StreamMode, ...] = ("updates", "values")
"""What `debug=True` prints."""


class Pregel(RunStreams[StateT, ContextT, InputT, OutputT]):
    """A compiled graph or entrypoint.

    One object may run many times at once, from threads and event loops alike; all that belongs to one run is kept
    apart. With a checkpointer, runs on one thread id follow each other: a second one at the same time is refused with
    `ThreadConflictError`, or waits (`on_conflict`).

    `StateGraph.compile()` and `@entrypoint` make such objects; a program of nodes and channels is made by hand.

    Args:
        spec: the program, when a front-end has compiled it; the other arguments up to `name` are then left out.
        nodes: by name, made with `NodeBuilder`.
        channels: by name; each run works on copies.
        input_channels: where the input goes: one channel (the bare value) or several (a mapping).
        output_channels: what a run returns: one channel (its bare value) or several (a mapping). Values that vanish
            are returned as they were when an output channel was last written.
        stream_channels: what `values` chunks and snapshots show; by default all channels.
        interrupt_before_nodes, interrupt_after_nodes: stop before or after these nodes (`"*"`: every node).
        retry_policy, cache_policy: those of nodes that have none.
        name: shown in errors and drawings.
        stream_mode: what `stream` shows when it is not told.
        step_timeout: seconds that one superstep may take.
        debug: print updates and values of every run.
        stream_eager: run every superstep in worker threads while a stream is read, whatever its modes.
        stream_transformers: make further projections of its run streams; see `stream_events`.
        options: the other arguments of `Compiled`: checkpointer, store, cache, context_schema, config, on_mismatch ...

    Raises:
        GraphValidationError: a name does not exist, or nothing can ever start.
    """

    retry_policy: tuple[RetryPolicy, ...]
    cache_policy: CachePolicy | None
    step_timeout: float | None

    def __init__(
        self,
        spec: ProgramSpec | None = None,
        *,
        nodes: Mapping[str, PregelNode | NodeBuilder] | None = None,
        channels: Mapping[str, Any] | None = None,
        input_channels: str | Sequence[str] = (),
        output_channels: str | Sequence[str] = (),
        stream_channels: str | Sequence[str] | None = None,
        interrupt_before_nodes: All | Sequence[str] = (),
        interrupt_after_nodes: All | Sequence[str] = (),
        retry_policy: Retry = None,
        cache_policy: CachePolicy | None = None,
        name: str = "LangGraph",
        stream_mode: StreamMode | None = None,
        step_timeout: float | None = None,
        debug: bool = False,
        stream_eager: bool = False,
        stream_transformers: Sequence[Factory] | None = None,
        **options: Any,
    ) -> None:
        retry = retry_policies(retry_policy)
        if spec is None:
            from twinstep.pregel.builder import Parts, program

            parts = Parts(
                name=expect("Pregel(name=...)", name, str, "a name", optional=False),
                nodes=expect("Pregel(nodes=...)", nodes or {}, Mapping, "a mapping of names and nodes"),
                channels=expect("Pregel(channels=...)", channels or {}, Mapping, "a mapping of names and channels"),
                input_channels=_names("input_channels=", input_channels),
                output_channels=_names("output_channels=", output_channels),
                stream_channels=None if stream_channels is None else _names("stream_channels=", stream_channels),
                interrupt_before=names_of("interrupt_before_nodes=", interrupt_before_nodes),
                interrupt_after=names_of("interrupt_after_nodes=", interrupt_after_nodes),
                retry=retry,
                cache=CachePolicy.of(cache_policy),
            )
            spec, stream_mode = program(parts), stream_mode or "values"
        super().__init__(spec, **options)
        self.retry_policy, self.cache_policy, self.step_timeout = (
            retry,
            CachePolicy.of(cache_policy),
            expect_seconds("step_timeout=", step_timeout),
        )
        self.stream_mode: StreamMode = stream_mode or self.stream_mode
        check_modes(self.stream_mode)
        self.print_mode: tuple[StreamMode, ...] = DEBUG if debug else ()
        self.transformers: Sequence[Factory] = check_transformers(stream_transformers)
        self.stream_eager = stream_eager

    @overload
    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = ...,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = ...,
        version: Literal["v2"],
        **options: Unpack[RunOptions],
    ) -> GraphOutput[OutputT]: ...
    @overload
    def invoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = ...,
        stream_mode: Modes = ...,
        output_keys: str | Sequence[str] | None = ...,
        version: Version = ...,
        **options: Unpack[RunOptions],
    ) -> Any: ...
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
        on_conflict: OnConflict | None = None,
        print_mode: Modes = (),
        version: Version = "v1",
        checkpoint_during: bool | None = None,
    ) -> Any:
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
            on_conflict: `"wait"` begins when the run that works on the thread has ended; `"error"` fails.
            print_mode: modes whose chunks are printed too.
            version: `"v2"` returns a `GraphOutput`, whose value is an instance of the output schema. `"v1"` returns a
                mapping of state keys, for a model or dataclass too (type checkers know only the schema).
            checkpoint_during: an older spelling of `durability`: `async` or, when false, `exit`.

        Raises:
            Exception: what a node raised; with a checkpointer, `invoke(None, config)` continues from there.
        """
        options = Options(
            context, output_keys, interrupt_before, interrupt_after, durability, control, print_mode, on_conflict
        )
        options.checkpoint_during = checkpoint_during
        if stream_mode != "values":
            listener = self._listener(stream_mode, False, options, version)
            return list(stream_chunks(self, input, config, options, listener))
        check_version(version)
        run, checkpoint_id = open_call(self, config, options)
        with waiting_for(run):
            outcome = drive_sync.settle(execute(run, input, checkpoint_id))
        return self._result(run, outcome, version)

    @overload
    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = ...,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = ...,
        version: Literal["v2"],
        **options: Unpack[RunOptions],
    ) -> GraphOutput[OutputT]: ...
    @overload
    async def ainvoke(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = ...,
        stream_mode: Modes = ...,
        output_keys: str | Sequence[str] | None = ...,
        version: Version = ...,
        **options: Unpack[RunOptions],
    ) -> Any: ...
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
        on_conflict: OnConflict | None = None,
        print_mode: Modes = (),
        version: Version = "v1",
        checkpoint_during: bool | None = None,
    ) -> Any:
        """Do what `invoke` does, on the running event loop."""
        options = Options(
            context, output_keys, interrupt_before, interrupt_after, durability, control, print_mode, on_conflict
        )
        options.checkpoint_during = checkpoint_during
        if stream_mode != "values":
            listener = self._listener(stream_mode, False, options, version)
            chunks = astream_chunks(self, input, config, options, listener)
            return [chunk async for chunk in chunks]
        check_version(version)
        run, checkpoint_id = open_call(self, config, options)
        from twinstep.pregel import drive_async  # synchronous programs do not pay for asyncio

        async def main() -> Any:
            outcome = await drive_async.settle(execute(run, input, checkpoint_id))
            return self._result(run, outcome, version)

        return await drive_async.run(run, main())

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
        on_conflict: OnConflict | None = None,
        subgraphs: bool = False,
        print_mode: Modes = (),
        debug: bool = False,
        version: Version = "v1",
        checkpoint_during: bool | None = None,
    ) -> Generator[Any]:
        """Run and yield what happens, chunk by chunk, while it happens.

        Args:
            stream_mode: `updates` (default), `values`, `custom`, `messages`, `tasks`, `checkpoints`, `debug`; several
                give pairs `(mode, chunk)`.
            debug: print updates and values too.
            subgraphs: also show what happens in nested graphs and entrypoints, each chunk after its namespace.

        The other arguments are those of `invoke`. Closing the iterator early stops the run after its current
        superstep; the thread can be continued with `None`.

        Raises:
            InvalidConfigError: a mode does not exist.
        """
        options = Options(
            context, output_keys, interrupt_before, interrupt_after, durability, control, print_mode, on_conflict
        )
        options.checkpoint_during = checkpoint_during
        if debug:
            options.print_mode = DEBUG
        listener = self._listener(stream_mode or self.stream_mode, subgraphs, options, version)
        return stream_chunks(self, input, config, options, listener)

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
        on_conflict: OnConflict | None = None,
        subgraphs: bool = False,
        print_mode: Modes = (),
        debug: bool = False,
        version: Version = "v1",
        checkpoint_during: bool | None = None,
    ) -> Chunks:
        """Do what `stream` does, on the running event loop."""
        options = Options(
            context, output_keys, interrupt_before, interrupt_after, durability, control, print_mode, on_conflict
        )
        options.checkpoint_during = checkpoint_during
        if debug:
            options.print_mode = DEBUG
        listener = self._listener(stream_mode or self.stream_mode, subgraphs, options, version)
        return astream_chunks(self, input, config, options, listener)

    def _listener(self, modes: Modes, subgraphs: bool, options: Options, version: Version) -> Listener:
        check_version(version)
        listener = Listener(modes, subgraphs=subgraphs, keys=options.output_keys, version=version)
        if self.stream_eager or (self.spec.functional and "updates" in listener.modes):
            listener.live = True  # the tasks of an entrypoint are its steps
        return listener

    def _result(self, run: Run, outcome: Outcome, version: Version) -> Any:
        """Return what `invoke` returns."""
        bubble(run, outcome)
        value = outcome.value
        if run.show is not run.spec.stream:
            value = run.show(run.view)
        if version == "v2":
            whole = run.show is run.spec.stream and not outcome.interrupts and not outcome.breakpoint
            return GraphOutput(run.spec.typed(value) if whole else value, outcome.interrupts)
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
        """Run several inputs at once, each as a run of its own, and return their outputs in order.

        `options` are those of `invoke`, except `stream_mode` and `version`.
        """
        from concurrent.futures import ThreadPoolExecutor

        expect_several("batch(inputs)", inputs, "a list of inputs")
        # opened here and in order, so that nested runs have the same namespaces at every resume
        opened = [open_call(self, each, Options(**options)) for each in _each(config, len(inputs))]
        for run, _ in opened:
            block_loop(run)

        def one(input: InputT, call: tuple[Run, str | None]) -> Any:
            run, checkpoint_id = call
            try:
                return self._result(run, drive_sync.settle(execute(run, input, checkpoint_id)), "v1")
            except Exception as error:
                if return_exceptions:
                    return error
                raise

        with ThreadPoolExecutor(max(1, min(len(inputs), DEFAULT_THREADS))) as pool:
            calls = zip(inputs, opened, strict=True)
            futures = [pool.submit(copy_context().run, one, input, call) for input, call in calls]
        errors = [error for future in futures if (error := future.exception()) is not None]
        asked = [question for error in errors if isinstance(error, GraphInterrupt) for question in error.interrupts]
        if asked and all(isinstance(error, GraphInterrupt) for error in errors):
            raise GraphInterrupt(asked)
        return [future.result() for future in futures]

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

        expect_several("abatch(inputs)", inputs, "a list of inputs")
        runs = [self.ainvoke(i, c, **options) for i, c in zip(inputs, _each(config, len(inputs)), strict=True)]
        return cast(list[OutputT], await gather(*runs, return_exceptions=return_exceptions))


def _names(what: str, names: str | Sequence[str]) -> str | Sequence[str]:
    """Return one name, which stands for its bare value, or several."""
    return names if isinstance(names, str) else names_of(what, names)


def _each(config: Any, n: int) -> Sequence[RunnableConfig | None]:
    several = list(config) if isinstance(config, list | tuple) else [config] * n
    if len(several) != n:
        raise InvalidConfigError(f"batch got {len(several)} configs for {n} inputs: give one for all, or one for each.")
    return several


def check_version(version: Any) -> None:
    """Refuse versions of results and chunks that do not exist.

    Raises:
        InvalidConfigError: this one does not.
    """
    if version not in ("v1", "v2"):
        raise InvalidConfigError(f"Unknown version {version!r}; it is 'v1' or 'v2'.")
