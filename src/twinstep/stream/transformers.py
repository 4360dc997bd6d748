"""Transformers: what turns the events of a run into projections, for each run and each nested one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from twinstep.arguments import expect_several
from twinstep.errors import InvalidArgumentError
from twinstep.stream.events import Namespace
from twinstep.stream.protocol import ProtocolEvent
from twinstep.stream.stream_channel import StreamChannel
from twinstep.types import StreamMode

if TYPE_CHECKING:
    import asyncio

log: logging.Logger = logging.getLogger("twinstep")


class StreamTransformer:
    """Base of transformers: override `init` and `process`.

    One is made for each run stream, and one for each nested run, whose namespace is its scope.

    Attributes:
        requires_async: whether it works in asynchronous runs only.
        required_stream_modes: the modes it has to see; others are not made for it.
        before_builtins: whether it sees events before the built-in ones.
    """

    requires_async: ClassVar[bool] = False
    supports_sync: ClassVar[bool] = True
    required_stream_modes: ClassVar[Sequence[StreamMode]] = ()
    before_builtins: ClassVar[bool] = False

    def __init__(self, scope: Namespace = ()) -> None:
        self.scope: tuple[str, ...] = tuple(scope)
        self._scheduled: list[tuple[asyncio.Task[Any], str]] = []

    def init(self) -> dict[str, Any]:
        """Return the projections by name; channels among them are closed when the run ends."""
        return {}

    def process(self, event: ProtocolEvent) -> bool:
        """Look at an event of the scope or below; return whether the run stream shows it."""
        return True

    async def aprocess(self, event: ProtocolEvent) -> bool:
        """Do what `process` does, in an asynchronous run."""
        return self.process(event)

    def finalize(self) -> None:
        """Take note that the run has ended; the channels are still open."""

    async def afinalize(self) -> None:
        """Do what `finalize` does, in an asynchronous run."""
        self.finalize()

    def fail(self, err: BaseException) -> None:
        """Take note that the run has failed; the channels are still open."""

    async def afail(self, err: BaseException) -> None:
        """Do what `fail` does, in an asynchronous run."""
        self.fail(err)

    def schedule(
        self, coro: Coroutine[Any, Any, Any], *, on_error: Literal["log", "raise"] = "log"
    ) -> asyncio.Task[Any]:
        """Start a coroutine beside an asynchronous run, whose end waits for it."""
        from asyncio import get_running_loop

        task = get_running_loop().create_task(coro)
        self._scheduled.append((task, on_error))
        return task

    async def drain(self) -> None:
        """Wait for what was scheduled.

        Raises:
            Exception: of a coroutine that was scheduled with `on_error="raise"`.
        """
        waiting, self._scheduled = self._scheduled, []
        for task, on_error in waiting:
            try:
                await task
            except Exception:
                if on_error == "raise":
                    raise
                log.warning("A coroutine of %s failed.", type(self).__name__, exc_info=True)


Factory = Callable[[Namespace], StreamTransformer]
"""A transformer class, or a function that makes one for a scope."""


class _ModeTransformer(StreamTransformer):
    """One mode of the scope as a channel of the same name."""

    mode: ClassVar[StreamMode]

    def init(self) -> dict[str, Any]:
        self.channel: StreamChannel[Any] = StreamChannel()
        return {self.mode: self.channel}

    def process(self, event: ProtocolEvent) -> bool:
        if event["method"] == self.mode and tuple(event["params"]["namespace"]) == self.scope:
            self.channel.push(event["params"]["data"])
        return True


class ValuesTransformer(_ModeTransformer):
    """The state after each superstep."""

    mode: ClassVar[StreamMode] = "values"
    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("values",)


class UpdatesTransformer(_ModeTransformer):
    """What each node wrote."""

    mode: ClassVar[StreamMode] = "updates"
    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("updates",)


class CustomTransformer(_ModeTransformer):
    """What the code sent with a stream writer."""

    mode: ClassVar[StreamMode] = "custom"
    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("custom",)


class TasksTransformer(_ModeTransformer):
    """How nodes and tasks start and end."""

    mode: ClassVar[StreamMode] = "tasks"
    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("tasks",)


class CheckpointsTransformer(_ModeTransformer):
    """The checkpoints that were stored."""

    mode: ClassVar[StreamMode] = "checkpoints"
    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("checkpoints",)


class DebugTransformer(_ModeTransformer):
    """Tasks and checkpoints with step and time."""

    mode: ClassVar[StreamMode] = "debug"
    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("debug",)


class LifecycleTransformer(StreamTransformer):
    """The starts and ends of the runs nested in the scope."""

    def init(self) -> dict[str, Any]:
        self.channel: StreamChannel[Any] = StreamChannel()
        return {"lifecycle": self.channel}

    def process(self, event: ProtocolEvent) -> bool:
        if event["method"] == "lifecycle":
            self.channel.push(event["params"]["data"])
        return True


class MessageStream:
    """One message while it arrives: iterate over its pieces, or ask for the whole.

    Attributes:
        message_id: its id.
        namespace, node: where it comes from.
        metadata: what `messages` chunks say of it.
    """

    message_id: Any
    namespace: Namespace
    metadata: dict[str, Any]

    def __init__(self, message_id: Any, namespace: Namespace, metadata: dict[str, Any]) -> None:
        self.message_id, self.namespace, self.metadata = message_id, namespace, metadata
        self.node: Any | None = metadata.get("langgraph_node")
        self.pieces: StreamChannel[Any] = StreamChannel()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pieces)

    def __aiter__(self) -> Any:
        return aiter(self.pieces)

    @property
    def output(self) -> Any:
        """The whole message, once it has arrived: its pieces joined."""
        return _joined(list(self.pieces))

    async def aoutput(self) -> Any:
        """Return the whole message, in an asynchronous run."""
        return _joined([piece async for piece in self.pieces])

    @property
    def text(self) -> str:
        """The text of the whole message."""
        text: str = self.output.text
        return text


def _joined(pieces: list[Any]) -> Any:
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = whole + piece if hasattr(whole, "__add__") else piece  # the same message, told anew
    return whole


class MessagesTransformer(StreamTransformer):
    """The messages of the scope, each as a `MessageStream`."""

    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("messages",)

    def init(self) -> dict[str, Any]:
        self.channel: StreamChannel[MessageStream] = StreamChannel()
        self._open: dict[Any, MessageStream] = {}
        return {"messages": self.channel}

    def process(self, event: ProtocolEvent) -> bool:
        if event["method"] == "messages" and tuple(event["params"]["namespace"]) == self.scope:
            self._take(*event["params"]["data"])
        return True

    def _take(self, message: Any, metadata: dict[str, Any]) -> None:
        source = metadata.get("langgraph_checkpoint_ns")
        stream = self._open.get(source)
        if stream is None or message.id is None or stream.message_id != message.id:
            if stream is not None:
                stream.pieces.close()
            stream = self._open[source] = MessageStream(message.id, self.scope, metadata)
            stream.pieces.bind(self.channel._pump, self.channel._apump)
            self.channel.push(stream)
        stream.pieces.push(message)

    def finalize(self) -> None:
        for stream in self._open.values():
            stream.pieces.close()

    def fail(self, err: BaseException) -> None:
        for stream in self._open.values():
            stream.pieces.fail(err)


class SubgraphTransformer(StreamTransformer):
    """The runs nested directly in the scope, each as a run stream of its own; the run stream fills its channel."""

    def init(self) -> dict[str, Any]:
        self.channel: StreamChannel[Any] = StreamChannel()
        return {"subgraphs": self.channel}


BUILTIN: tuple[Factory, ...] = (ValuesTransformer, MessagesTransformer, LifecycleTransformer, SubgraphTransformer)


def check_transformers(transformers: Sequence[Any] | None) -> tuple[Factory, ...]:
    """Return transformers as a tuple.

    Raises:
        InvalidArgumentError: one is an instance, or cannot make any.
    """
    found = tuple(expect_several("transformers=", transformers or (), "a list of transformer classes"))
    for factory in found:
        if isinstance(factory, StreamTransformer) or not callable(factory):
            raise InvalidArgumentError(
                f"A transformer is a class or a function of the scope, not {factory!r}: each run and each nested run "
                "gets one of its own. Pass the class, or `lambda scope: MyTransformer(scope, ...)`."
            )
    return found
