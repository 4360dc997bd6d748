"""What all adapters of chat models share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from typing import Any, NamedTuple, Self

from twinstep.messages import AIMessage, AIMessageChunk, convert_to_messages
from twinstep.messages.chunk import join
from twinstep.models.protocol import Conversation
from twinstep.models.structured import StructuredModel
from twinstep.models.telling import Teller
from twinstep.models.tools import OfferedTool, offered_tool


class Request(NamedTuple):
    """One question to a model.

    Attributes:
        messages: the conversation.
        options: of the model and the call, without tools.
        tools: that the model may call.
        tool_choice: which tool it should call: `auto`, `any`, `none`, or a tool's name; None for the API's default.
    """

    messages: list[Any]
    options: dict[str, Any]
    tools: list[OfferedTool]
    tool_choice: Any


class Model(ABC):
    """The common part of the adapters: options, tools, and the pieces that a run's stream is shown.

    Called in a node or task whose run is streamed with the mode `messages`, an adapter asks for the answer piece by
    piece and shows each as it arrives. The answer's id is new for each call; the provider's own is in
    `response_metadata["id"]`.

    Args:
        name: the model's name, as the provider knows it.
        tags: shown with the pieces; `nostream` keeps them out of the stream.
        streaming: False to always ask for the whole answer at once.
        options: what is sent with every request.
    """

    provider: str = "function"
    tags: tuple[str, ...]
    streaming: bool
    options: dict[str, Any]

    def __init__(self, name: str, *, tags: Iterable[str] = (), streaming: bool = True, **options: Any) -> None:
        self._name, self.tags, self.streaming, self.options = name, tuple(tags), streaming, options
        self.tools: list[OfferedTool] = []
        self.tool_choice: Any = None

    @property
    def name(self) -> str:
        """The model's name, as the provider knows it."""
        return self._name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    # ------------------------------------------------------------------ what an adapter adds

    @abstractmethod
    def ask(self, request: Request) -> AIMessage:
        """Return the whole answer to a request."""

    @abstractmethod
    async def aask(self, request: Request) -> AIMessage:
        """Return the whole answer to a request, on the running event loop."""

    @abstractmethod
    def pieces(self, request: Request) -> Iterator[AIMessageChunk]:
        """Yield the answer to a request piece by piece."""

    @abstractmethod
    def apieces(self, request: Request) -> AsyncGenerator[AIMessageChunk]:
        """Yield the answer to a request piece by piece, on the running event loop."""

    # ------------------------------------------------------------------ what users call

    def invoke(self, messages: Conversation, config: Any = None, **options: Any) -> AIMessage:
        """Return the answer to a conversation.

        Args:
            messages: message-like values; see `twinstep.messages.convert_to_messages`.
            config: `tags` and `metadata` of it are shown with the pieces.
            options: for this request, over those of the model.

        Raises:
            InvalidMessageError: a value is no message.
            Exception: what the provider's client raises passes through as it is.
        """
        request, teller = self._prepare(messages, config, options)
        if teller.live and self.streaming:
            return join(map(teller.tell, self.pieces(request))).whole()
        return teller.tell(self.ask(request))

    async def ainvoke(self, messages: Conversation, config: Any = None, **options: Any) -> AIMessage:
        """Do what `invoke` does, on the running event loop."""
        request, teller = self._prepare(messages, config, options)
        if teller.live and self.streaming:
            return join([teller.tell(chunk) async for chunk in self.apieces(request)]).whole()
        return teller.tell(await self.aask(request))

    def stream(self, messages: Conversation, config: Any = None, **options: Any) -> Iterator[AIMessageChunk]:
        """Yield the pieces of the answer as they arrive; arguments and errors are those of `invoke`."""
        request, teller = self._prepare(messages, config, options)
        for chunk in self.pieces(request):
            yield teller.tell(chunk)

    async def astream(
        self, messages: Conversation, config: Any = None, **options: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield the pieces of the answer as they arrive, on the running event loop."""
        request, teller = self._prepare(messages, config, options)
        async with aclosing(self.apieces(request)) as chunks:
            async for chunk in chunks:
                yield teller.tell(chunk)

    def bind(self, **options: Any) -> Self:
        """Return the model with more options for every request."""
        new = copy(self)
        new.tags = (*self.tags, *options.pop("tags", ()))
        new.options = {**self.options, **options}
        return new

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **options: Any) -> Self:
        """Return the model with tools it may call.

        Args:
            tools: typed functions, tool objects, classes, or mappings; see `tool_schema`. A mapping that describes a
                tool of the provider itself, such as `{"type": "web_search"}`, is sent as it is.
            tool_choice: `auto`, `any` (or True), `none`, a tool's name, or what the provider's API takes.
            options: for every request.

        Raises:
            InvalidToolError: one cannot be a tool.
        """
        new = self.bind(**options)
        new.tools = [offered_tool(tool) for tool in tools]
        new.tool_choice = "any" if tool_choice is True else tool_choice or None
        return new

    def with_structured_output(self, schema: Any, *, include_raw: bool = False) -> StructuredModel[Any]:
        """Return a model that answers with instances of a schema: a class with annotations, or a JSON schema."""
        return StructuredModel(self, schema, include_raw=include_raw)

    # ------------------------------------------------------------------ how

    def about(self) -> dict[str, Any]:
        """Return what the pieces' metadata tell of the model."""
        return {
            "ls_provider": self.provider,
            "ls_model_name": self.name,
            "ls_model_type": "chat",
            "ls_integration": "twinstep",
        }

    def _prepare(
        self, messages: Conversation, config: Mapping[str, Any] | None, options: dict[str, Any]
    ) -> tuple[Request, Teller]:
        options = {**self.options, **options}
        tags = (*self.tags, *options.pop("tags", ()))
        request = Request(convert_to_messages(messages), options, self.tools, self.tool_choice)
        return request, Teller(self.about(), tags, config)
