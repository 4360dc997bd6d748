"""What a chat model is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from twinstep.messages import AIMessage, AIMessageChunk, MessageLike

Conversation = MessageLike | Iterable[MessageLike]
"""What a model is asked: one message-like value, or several."""


class Structured(Protocol):
    """What answers a conversation with an instance of a schema."""

    def invoke(self, messages: Conversation, config: Any = None, **options: Any) -> Any:
        """Return the instance."""
        ...

    async def ainvoke(self, messages: Conversation, config: Any = None, **options: Any) -> Any:
        """Return the instance, on the running event loop."""
        ...


@runtime_checkable
class ChatModel(Protocol):
    """What answers a conversation with a message."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def invoke(self, messages: Conversation, config: Any = None, **options: Any) -> AIMessage:
        """Return the answer."""
        ...

    async def ainvoke(self, messages: Conversation, config: Any = None, **options: Any) -> AIMessage:
        """Return the answer, on the running event loop."""
        ...

    def stream(self, messages: Conversation, config: Any = None, **options: Any) -> Iterator[AIMessageChunk]:
        """Yield the pieces of the answer as they arrive."""
        ...

    def astream(self, messages: Conversation, config: Any = None, **options: Any) -> AsyncIterator[AIMessageChunk]:
        """Yield the pieces of the answer as they arrive, on the running event loop."""
        ...

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **options: Any) -> ChatModel:
        """Return the model with tools it may call."""
        ...

    def with_structured_output(self, schema: Any, *, include_raw: bool = False) -> Structured:
        """Return a model that answers with instances of a schema."""
        ...
