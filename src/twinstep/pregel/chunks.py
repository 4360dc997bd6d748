"""A run as a stream of the chunks of one listener, in both lanes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing
from typing import Any

from twinstep.errors import GraphInterrupt
from twinstep.pregel import drive_sync
from twinstep.pregel.compiled import Compiled
from twinstep.pregel.loop import Outcome, execute
from twinstep.pregel.open import Options, open_call
from twinstep.pregel.run import Run
from twinstep.pregel.workers import waiting_for
from twinstep.stream import Listener
from twinstep.types import RunnableConfig

Graph = Compiled[Any, Any, Any, Any]


def stream_chunks(
    graph: Graph, input: Any, config: RunnableConfig | None, options: Options, listener: Listener
) -> Generator[Any]:
    """Run and yield what a listener keeps."""
    run, checkpoint_id = open_call(graph, config, options, (listener,))
    with waiting_for(run):
        outcome = yield from drive_sync.drive(execute(run, input, checkpoint_id), listener)
    bubble(run, outcome)


def astream_chunks(
    graph: Graph, input: Any, config: RunnableConfig | None, options: Options, listener: Listener
) -> Chunks:
    """Do what `stream_chunks` does, on the running event loop."""
    runs: list[Run] = []

    async def chunks() -> AsyncGenerator[Any]:
        from twinstep.pregel import drive_async

        run, checkpoint_id = open_call(graph, config, options, (listener,))
        outcome: list[Outcome] = []
        drive_async.enter(run)
        runs.append(run)
        async with aclosing(drive_async.drive(execute(run, input, checkpoint_id), outcome, listener)) as driver:
            async for chunk in driver:
                yield chunk
        bubble(run, outcome[0])

    return Chunks(chunks(), runs)


def bubble(run: Run, outcome: Outcome) -> None:
    """Hand the questions of a nested run to the task it is nested in."""
    if run.parent is not None and (outcome.interrupts or outcome.breakpoint):
        raise GraphInterrupt(outcome.interrupts)


class Chunks(AsyncIterator[Any]):
    """The chunks of an asynchronous stream.

    A stream that is dropped in the middle of a loop gives its thread back at once; Python closes the rest of it later.
    """

    def __init__(self, chunks: AsyncGenerator[Any], runs: list[Run]) -> None:
        self._chunks, self._runs = chunks, runs

    async def __anext__(self) -> Any:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """Stop the run after its current superstep."""
        await self._chunks.aclose()

    def __del__(self) -> None:
        for run in self._runs:
            if run.saver is not None and run.parent is None:
                run.saver.leave(run.place.thread_id, run.token)
