"""Runs as objects to read: `stream_events` and `astream_events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from twinstep.errors import InvalidConfigError
from twinstep.pregel.chunks import astream_chunks, stream_chunks
from twinstep.pregel.describe import Described
from twinstep.pregel.open import Options, RunOptions
from twinstep.stream.protocol import ProtocolListener
from twinstep.stream.run_stream import AsyncGraphRunStream, GraphRunStream
from twinstep.stream.transformers import BUILTIN, Factory, check_transformers
from twinstep.types import NOTHING, STREAM_MODES, Command, RunnableConfig
from twinstep.typing import ContextT, InputT, OutputT, StateT


class RunStreams(Described[StateT, ContextT, InputT, OutputT]):
    """The run streams of a compiled program."""

    def stream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = NOTHING,
        version: Literal["v3"] = "v3",
        transformers: Sequence[Factory] | None = None,
        **options: Unpack[RunOptions],
    ) -> GraphRunStream:
        """Return the run as an object to read: its events, and views of them; reading drives it.

        Args:
            version: of the events; there is only `"v3"`.
            transformers: classes (or functions of a scope) that make further projections, besides the graph's own.
            options: those of `invoke`.

        Raises:
            InvalidConfigError: the version does not exist.
            TypeError: a transformer is no class or function, or works in asynchronous runs only.

        Example:
            >>> from twinstep.func import entrypoint
            >>> run = entrypoint()(lambda n: n + 1).stream_events(1)
            >>> list(run.values), run.output
            ([2], 2)
        """
        factories = self._factories(version, transformers)
        for factory in factories:
            if getattr(factory, "requires_async", False) or not getattr(factory, "supports_sync", True):
                raise TypeError(f"{factory} works in asynchronous runs only: use astream_events.")
        chunks = stream_chunks(self, input, config, Options(context=context, **options), listener_for(factories))
        return GraphRunStream(chunks, factories)

    async def astream_events(
        self,
        input: InputT | Command[Any] | None,
        config: RunnableConfig | None = None,
        *,
        context: ContextT | dict[str, Any] | None = NOTHING,
        version: Literal["v3"] = "v3",
        transformers: Sequence[Factory] | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncGraphRunStream:
        """Do what `stream_events` does, on the running event loop."""
        factories = self._factories(version, transformers)
        chunks = astream_chunks(self, input, config, Options(context=context, **options), listener_for(factories))
        return AsyncGraphRunStream(chunks, factories)

    def _factories(self, version: Any, transformers: Sequence[Factory] | None) -> tuple[Factory, ...]:
        if version != "v3":
            raise InvalidConfigError(
                f"Unknown version {version!r} of events: there is only 'v3'. For the steps of a run as they come, "
                "stream(..., stream_mode=['tasks', 'updates'], version='v2')."
            )
        return (*check_transformers(self.transformers), *check_transformers(transformers))


def listener_for(factories: Sequence[Factory]) -> ProtocolListener:
    """Return a listener for what transformers have to see."""
    wanted = {mode for factory in (*BUILTIN, *factories) for mode in getattr(factory, "required_stream_modes", ())}
    return ProtocolListener([mode for mode in STREAM_MODES if mode in wanted])
