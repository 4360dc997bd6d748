"""LangChain: its models take our messages and show their pieces in a run's stream, its messages can be stored.

Importing this module switches all that on; it is imported by itself in programs that have loaded LangChain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import langchain_core.messages as their_messages
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import utils as their_utils
from langchain_core.outputs import LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tracers.context import register_configure_hook

from twinstep.constants import TAG_NOSTREAM
from twinstep.messages.base import BaseMessage
from twinstep.messages.fields import given
from twinstep.scope import Scope, current_scope
from twinstep.serde import register_type
from twinstep.stream.events import Message

__all__ = ["as_runnable", "to_langchain"]

_STORED = (
    "HumanMessage", "SystemMessage", "AIMessage", "ToolMessage", "FunctionMessage", "ChatMessage", "RemoveMessage",
    "HumanMessageChunk", "SystemMessageChunk", "AIMessageChunk", "ToolMessageChunk", "ChatMessageChunk",
)  # fmt: skip


class _Answer(NamedTuple):
    """An answer on its way: the code that asked for it, what to tell with its pieces, and how many there were."""

    scope: Scope
    about: dict[str, Any]
    pieces: list[None]


class _Listener(BaseCallbackHandler):
    """Shows what models say in the `messages` stream of the run whose code asked them; one serves all runs."""

    run_inline = True  # in the order of the pieces, on the event loop too

    def __init__(self) -> None:
        self._answers: dict[UUID, _Answer] = {}

    # LangChain asks a model for its answer in pieces when a handler has these two methods.

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Leave the output of a runnable as it is."""
        return output

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Leave the output of a runnable as it is."""
        return output

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: Any,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Note who asks."""
        scope = current_scope()
        if scope is not None and TAG_NOSTREAM not in (tags or ()):
            about = {**(metadata or {}), **({"tags": tags} if tags else {})}
            self._answers[run_id] = _Answer(scope, about, [])

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **more: Any) -> None:
        """Show a piece."""
        answer = self._answers.get(run_id)
        message = getattr(chunk, "message", None)
        if answer is not None and message is not None:
            answer.pieces.append(None)
            self._tell(answer, message, run_id)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **more: Any) -> None:
        """Show an answer that came without pieces."""
        answer = self._answers.pop(run_id, None)
        if answer is not None and not answer.pieces:
            message = getattr(response.generations[0][0], "message", None) if response.generations else None
            if message is not None:
                self._tell(answer, message, run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """Forget an answer that will not come."""
        self._answers.pop(run_id, None)

    def _tell(self, answer: _Answer, message: Any, run_id: UUID) -> None:
        if message.id is None:
            message.id = f"lc_run--{run_id}"
        answer.scope.message(message, answer.about)


class _WhenListening:
    """In place of a context variable: the handler that shows messages, in code of a run that wants them."""

    handler = _Listener()

    def get(self) -> _Listener | None:
        scope = current_scope()
        return self.handler if scope is not None and scope.run.emitter(Message) is not None else None


class _Forwarded:
    """In place of a context variable: the n-th handler in the config of the run that the calling code belongs to."""

    def __init__(self, n: int) -> None:
        self.n = n

    def get(self) -> BaseCallbackHandler | None:
        handlers = _handlers_of_run()
        while _Forwarded.count <= len(handlers):  # LangChain's list of hooks may grow while it is gone through
            _forward()
        return handlers[self.n] if self.n < len(handlers) else None

    count = 0


def _handlers_of_run() -> list[BaseCallbackHandler]:
    scope = current_scope()
    callbacks = scope.run.config.get("callbacks") if scope is not None else None
    handlers = getattr(callbacks, "handlers", callbacks) or ()
    return [handler for handler in handlers if isinstance(handler, BaseCallbackHandler)]


def _forward() -> None:
    hook: Any = _Forwarded(_Forwarded.count)
    _Forwarded.count += 1
    register_configure_hook(hook, inheritable=True)


class _GraphRunnable(Runnable[Any, Any]):
    """A compiled graph or entrypoint where LangChain expects a runnable.

    Args:
        graph: what `compile()` returned, or an entrypoint.
    """

    def __init__(self, graph: Any) -> None:
        self.graph: Any = graph
        self.name: str | None = graph.name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the graph; handlers of the config hear of it as of a chain."""

        def run(value: Any, config: RunnableConfig) -> Any:
            return self.graph.invoke(value, config, **kwargs)

        call: Any = run
        return self._call_with_config(call, input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do what `invoke` does, on the running event loop."""

        async def run(value: Any, config: RunnableConfig) -> Any:
            return await self.graph.ainvoke(value, config, **kwargs)

        call: Any = run
        return await self._acall_with_config(call, input, config)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Yield the chunks of the graph's stream."""
        yield from self.graph.stream(input, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Yield the chunks of the graph's stream, on the running event loop."""
        async for chunk in self.graph.astream(input, config, **kwargs):
            yield chunk


def as_runnable(graph: Any) -> Any:
    """Return a compiled graph or entrypoint as a LangChain runnable, for pipes (`prompt | as_runnable(graph)`)."""
    return _GraphRunnable(graph)


def to_langchain(message: BaseMessage) -> Any:
    """Return a message of ours as one of theirs."""
    return _CLASSES[message.type](**{"content": message.content, **given(message)})


_CLASSES: dict[str, Any] = {
    "human": their_messages.HumanMessage,
    "system": their_messages.SystemMessage,
    "ai": their_messages.AIMessage,
    "AIMessageChunk": their_messages.AIMessageChunk,
    "tool": their_messages.ToolMessage,
    "remove": their_messages.RemoveMessage,
}


def _let_theirs_take_ours() -> None:
    """Make LangChain convert our messages wherever it converts mappings and pairs.

    It has no way to register other classes, and every program that hands `{"role": ..., "content": ...}` to a graph
    and the state's messages to a model of theirs needs it; so the function that does the conversion is wrapped.
    """
    convert = getattr(their_utils, "_convert_to_message", None)
    if convert is None:  # a version that does it otherwise: models of theirs then need `as_chat_model`
        return

    def converted(message: Any, *args: Any, **kwargs: Any) -> Any:
        return convert(to_langchain(message) if isinstance(message, BaseMessage) else message, *args, **kwargs)

    setattr(their_utils, "_convert_to_message", converted)  # noqa: B010  # a name that type checkers hold for private


def _switch_on() -> None:
    _let_theirs_take_ours()
    listening: Any = _WhenListening()
    register_configure_hook(listening, inheritable=True)
    _forward()
    for name in _STORED:
        register_type(getattr(their_messages, name))
    register_type(Document)


_switch_on()
