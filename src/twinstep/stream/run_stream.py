"""Run streams: a run as an object to read, driven by whoever reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any, Self

from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.stream.events import Namespace, RunFinished, RunStarted
from twinstep.stream.protocol import LifecyclePayload, ProtocolEvent, SubgraphStatus, lies_in, parent_of, protocol_event
from twinstep.stream.stream_channel import Cursor, StreamChannel
from twinstep.stream.transformers import BUILTIN, Factory, StreamTransformer

Chunk = Any
"""A protocol event, or the start or end of a run."""
STATUS: dict[str, SubgraphStatus] = {"done": "completed"}


def taken(cursors: dict[str, Cursor[Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the items that several readers have not taken yet, in the order of their coming."""
    while ready := [(cursor.stamp(), name) for name, cursor in cursors.items() if cursor.has_item()]:
        _, name = min(ready)
        yield name, cursors[name].take()


class _View:
    """What both kinds of run streams have: the events and projections of one run, root or nested.

    Attributes:
        path: the namespace of the run.
        extensions: all projections by name.
    """

    path: Namespace

    def __init__(self, factories: Sequence[Factory], path: Namespace, pump: Any, apump: Any) -> None:
        self.path, self._factories = path, factories
        self._events: StreamChannel[ProtocolEvent] = StreamChannel()
        self._events.bind(pump, apump)
        self._output: Any = None
        self._interrupts: tuple[Any, ...] = ()
        self._status: SubgraphStatus = "started"
        self._error: BaseException | None = None
        self._children: dict[Namespace, Any] = {}
        self._seq = 0
        first = [factory for factory in factories if getattr(factory, "before_builtins", False)]
        rest = [factory for factory in factories if factory not in first]
        self._transformers: list[StreamTransformer] = [make(path) for make in (*first, *BUILTIN, *rest)]
        self.extensions: dict[str, Any] = {}
        for transformer in self._transformers:
            self.extensions.update(transformer.init())
        for channel in self._channels():
            channel.bind(pump, apump)
            if channel.name is not None:
                channel.forward(self._forwarder(channel.name))

    def _channels(self) -> list[StreamChannel[Any]]:
        return [projection for projection in self.extensions.values() if isinstance(projection, StreamChannel)]

    def _forwarder(self, name: str) -> Callable[[Any], None]:
        return lambda item: self._events.push(protocol_event(f"custom:{name}", self.path, item, self._seq))

    def __getattr__(self, name: str) -> Any:
        """Return the projection of a transformer, as `extensions` has it."""
        extensions = self.__dict__.get("extensions", {})
        if name in extensions:
            return extensions[name]
        raise AttributeError(
            f"{type(self).__name__} has no '{name}', and no projection of this name ({', '.join(extensions)})."
            + did_you_mean(name, extensions)
        )

    @property
    def values(self) -> StreamChannel[Any]:
        """The state after each superstep."""
        channel: StreamChannel[Any] = self.extensions["values"]
        return channel

    @property
    def messages(self) -> StreamChannel[Any]:
        """The messages, each as a `MessageStream`."""
        channel: StreamChannel[Any] = self.extensions["messages"]
        return channel

    @property
    def lifecycle(self) -> StreamChannel[LifecyclePayload]:
        """The starts and ends of nested runs."""
        channel: StreamChannel[LifecyclePayload] = self.extensions["lifecycle"]
        return channel

    @property
    def subgraphs(self) -> StreamChannel[Any]:
        """The nested runs, each as a run stream."""
        channel: StreamChannel[Any] = self.extensions["subgraphs"]
        return channel

    def _chosen(self, names: Sequence[str]) -> dict[str, StreamChannel[Any]]:
        """Return projections by name.

        Raises:
            InvalidConfigError: one does not exist, or is no channel.
        """
        for name in names:
            if not isinstance(self.extensions.get(name), StreamChannel):
                raise InvalidConfigError(
                    f"The run stream has no channel '{name}' ({', '.join(self.extensions)})."
                    + did_you_mean(name, self.extensions)
                )
        return {name: self.extensions[name] for name in names}

    # ------------------------------------------------------------------ events come in

    def _opened(self, start: RunStarted) -> ProtocolEvent | None:
        """Take note that a run has started below; return the event that tells it."""
        if start.ns == self.path:
            return None
        name, _, id = next(level for level in reversed(start.ns) if not level.isdigit()).partition(":")
        parent = parent_of(start.ns)
        if parent == self.path:
            child = self._child(start.ns, name, id)
            self._children[start.ns] = child
            self.subgraphs.push(child)
        data = {"event": "started", "namespace": list(start.ns), "graph_name": name, "trigger_call_id": id}
        return protocol_event("lifecycle", parent, data, start.seq)

    def _child(self, path: Namespace, name: str, id: str) -> Any:
        raise NotImplementedError

    def _ended(self, end: RunFinished) -> ProtocolEvent | None:
        """Take note of the end of a run; return the event that tells it."""
        status: SubgraphStatus = STATUS.get(end.status, end.status)  # type: ignore[arg-type]  # the others are the same
        if end.ns == self.path:
            self._status, self._error, self._output = status, end.error, end.output
            return None
        data = {"event": status, "namespace": list(end.ns)}
        return protocol_event("lifecycle", parent_of(end.ns), data, end.seq)

    def _below(self, chunk: Chunk) -> list[Any]:
        """Return the run streams of nested runs that an event belongs to."""
        ns = tuple(chunk["params"]["namespace"]) if isinstance(chunk, dict) else chunk.ns
        return [child for path, child in self._children.items() if lies_in(ns, path)]

    def _noted(self, chunk: Chunk) -> ProtocolEvent | None:
        """Return the protocol event of a chunk, with what it says of this run taken over."""
        if isinstance(chunk, RunStarted):
            return self._opened(chunk)
        if isinstance(chunk, RunFinished):
            return self._ended(chunk)
        event: ProtocolEvent = chunk
        self._seq = event["seq"]
        if event["method"] == "values" and tuple(event["params"]["namespace"]) == self.path:
            self._interrupts = event["params"].get("interrupts", ())
        return event

    def _take(self, chunk: Chunk) -> None:
        """Show a chunk to the transformers, and to the nested runs it belongs to."""
        event = self._noted(chunk)
        if event is not None and all(transformer.process(event) for transformer in self._transformers):
            self._events.push(event)
        for child in self._below(chunk):
            child._take(chunk)
        if isinstance(chunk, RunFinished) and chunk.ns == self.path and self.path:
            self._finish(chunk.error)

    async def _atake(self, chunk: Chunk) -> None:
        """Do what `_take` does, in an asynchronous run."""
        event = self._noted(chunk)
        if event is not None and all([await transformer.aprocess(event) for transformer in self._transformers]):
            self._events.push(event)
        for child in self._below(chunk):
            await child._atake(chunk)
        if isinstance(chunk, RunFinished) and chunk.ns == self.path and self.path:
            await self._afinish(chunk.error)

    def _finish(self, error: BaseException | None) -> None:
        """End everything."""
        if self._events.closed:
            return
        for transformer in self._transformers:
            transformer.finalize() if error is None else transformer.fail(error)
        self._close(error)
        for child in self._children.values():
            child._finish(error)

    async def _afinish(self, error: BaseException | None) -> None:
        """Do what `_finish` does, in an asynchronous run."""
        if self._events.closed:
            return
        for transformer in self._transformers:
            await (transformer.afinalize() if error is None else transformer.afail(error))
            await transformer.drain()
        self._close(error)
        for child in self._children.values():
            await child._afinish(error)

    def _close(self, error: BaseException | None) -> None:
        for channel in (self._events, *self._channels()):
            if not channel.closed:
                channel.close() if error is None else channel.fail(error)

    def _was_interrupted(self) -> bool:
        return self._status == "interrupted"

    def _result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._output


class GraphRunStream(_View):
    """A run that goes on while it is read: its events by iteration, and views of them.

    Nothing runs until somebody reads; what one reader has made the run do is kept for the others. For one thread at a
    time. Leaving a `with` block, or `abort`, stops the run after its current superstep.

    Attributes:
        values, messages, lifecycle, subgraphs: projections; see `extensions` for those of other transformers.
    """

    def __init__(self, chunks: Generator[Chunk], factories: Sequence[Factory]) -> None:
        self._chunks = chunks
        super().__init__(factories, (), self._advance, None)

    def _advance(self) -> bool:
        """Let the run make its next event; return whether there was one."""
        if self._events.closed:
            return False
        try:
            self._take(next(self._chunks))
        except StopIteration:
            self._finish(None)
        except BaseException as error:
            self._error, self._status = error, "failed" if self._status == "started" else self._status
            self._chunks.close()
            self._finish(error)
        return True

    def _child(self, path: Namespace, name: str, id: str) -> SubgraphRunStream:
        return SubgraphRunStream(self, path, name, id)

    def _open(self) -> bool:
        return not self._events.closed

    def _drive(self) -> Self:
        while self._open():
            self._advance()
        return self

    def __iter__(self) -> Iterator[ProtocolEvent]:
        return iter(self._events)

    @property
    def output(self) -> Any:
        """The result of the run, which is driven to its end.

        Raises:
            Exception: what the run failed with.
        """
        return self._drive()._result()

    @property
    def interrupted(self) -> bool:
        """Whether the run stopped at questions or a breakpoint; it is driven to its end."""
        self.output  # noqa: B018  # raises what the run failed with
        return self._was_interrupted()

    @property
    def interrupts(self) -> list[Any]:
        """The questions that the run stopped at; it is driven to its end."""
        self.output  # noqa: B018
        return list(self._interrupts)

    def interleave(self, *names: str) -> Iterator[tuple[str, Any]]:
        """Yield the items of several projections, each with the projection's name, in the order of their coming."""
        cursors = {name: channel.cursor() for name, channel in self._chosen(names).items()}
        going = True
        while going:
            going = self._open() and self._advance()
            yield from taken(cursors)
        for cursor in cursors.values():
            cursor.end()

    def abort(self) -> None:
        """Stop the run after its current superstep; a thread with a checkpointer can be continued with None."""
        self._chunks.close()
        self._finish(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class SubgraphRunStream(GraphRunStream):
    """A nested run as a run stream; the whole run is driven while it is read.

    Attributes:
        graph_name, trigger_call_id: the node or task it is nested in, and that task's id.
    """

    graph_name: str
    trigger_call_id: str

    def __init__(self, around: GraphRunStream, path: Namespace, graph_name: str, trigger_call_id: str) -> None:
        self._around = around
        self._chunks = around._chunks
        self.graph_name, self.trigger_call_id = graph_name, trigger_call_id
        _View.__init__(self, around._factories, path, self._advance, None)

    def _advance(self) -> bool:
        return self._around._advance()

    @property
    def status(self) -> SubgraphStatus:
        """How the run stands."""
        return self._status

    @property
    def error(self) -> BaseException | None:
        """What the run failed with."""
        return self._error

    def abort(self) -> None:
        """Stop the whole run."""
        self._around.abort()


class AsyncGraphRunStream(_View):
    """A run on an event loop that goes on while it is read; see `GraphRunStream`. Several tasks may read at once."""

    def __init__(self, chunks: Any, factories: Sequence[Factory]) -> None:
        from asyncio import Lock

        self._chunks, self._lock = chunks, Lock()
        super().__init__(factories, (), None, self._advance)

    async def _advance(self) -> bool:
        """Let the run make its next event, or wait for the one that somebody else lets it make."""
        if self._lock.locked():
            async with self._lock:
                return True
        async with self._lock:
            if self._events.closed:
                return False
            try:
                await self._atake(await anext(self._chunks))
            except StopAsyncIteration:
                await self._afinish(None)
            except BaseException as error:
                self._error, self._status = error, "failed" if self._status == "started" else self._status
                await self._chunks.aclose()
                await self._afinish(error)
                if not isinstance(error, Exception):
                    raise
            return True

    def _child(self, path: Namespace, name: str, id: str) -> AsyncSubgraphRunStream:
        return AsyncSubgraphRunStream(self, path, name, id)

    async def _drive(self) -> Self:
        while not self._events.closed:
            await self._advance()
        return self

    def __aiter__(self) -> AsyncIterator[ProtocolEvent]:
        return aiter(self._events)

    async def output(self) -> Any:
        """Drive the run to its end and return its result.

        Raises:
            Exception: what the run failed with.
        """
        return (await self._drive())._result()

    async def interrupted(self) -> bool:
        """Drive the run to its end and tell whether it stopped at questions or a breakpoint."""
        await self.output()
        return self._was_interrupted()

    async def interrupts(self) -> list[Any]:
        """Drive the run to its end and return the questions it stopped at."""
        await self.output()
        return list(self._interrupts)

    async def interleave(self, *names: str) -> AsyncIterator[tuple[str, Any]]:
        """Yield the items of several projections, each with the projection's name, in the order of their coming."""
        cursors = {name: channel.cursor() for name, channel in self._chosen(names).items()}
        going = True
        while going:
            going = not self._events.closed and await self._advance()
            for item in taken(cursors):
                yield item
        for cursor in cursors.values():
            cursor.end()

    async def abort(self) -> None:
        """Stop the run: its tasks are cancelled; a thread with a checkpointer can be continued with None."""
        await self._chunks.aclose()
        await self._afinish(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.abort()


class AsyncSubgraphRunStream(AsyncGraphRunStream):
    """A nested run as a run stream on an event loop; see `SubgraphRunStream`."""

    graph_name: str
    trigger_call_id: str

    def __init__(self, around: AsyncGraphRunStream, path: Namespace, graph_name: str, trigger_call_id: str) -> None:
        self._around = around
        self._chunks, self._lock = around._chunks, around._lock
        self.graph_name, self.trigger_call_id = graph_name, trigger_call_id
        _View.__init__(self, around._factories, path, None, self._advance)

    async def _advance(self) -> bool:
        return await self._around._advance()

    @property
    def status(self) -> SubgraphStatus:
        """How the run stands."""
        return self._status

    @property
    def error(self) -> BaseException | None:
        """What the run failed with."""
        return self._error

    async def abort(self) -> None:
        """Stop the whole run."""
        await self._around.abort()
