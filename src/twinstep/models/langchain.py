"""Chat models of LangChain behind our protocol; nothing is imported from there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from twinstep.messages import AIMessage, AIMessageChunk, to_openai
from twinstep.messages.base import names_of
from twinstep.models.protocol import Conversation
from twinstep.models.structured import StructuredModel
from twinstep.models.tools import is_provided, tool_schema


class LangChainModel:
    """A chat model of LangChain, which is asked with, and answers with, messages of twinstep.

    Its pieces reach the `messages` stream through LangChain's callbacks, as in code that calls it by itself.

    Args:
        model: the model, or what its `bind` or `bind_tools` returned.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def name(self) -> str:
        """The model's name, or that of its class."""
        inner = getattr(self.model, "bound", self.model)
        found = getattr(inner, "model_name", None) or getattr(inner, "model", None)
        return found if isinstance(found, str) else type(inner).__name__

    def invoke(self, messages: Conversation, config: Any = None, **options: Any) -> AIMessage:
        """Return the answer."""
        answer: AIMessage = _read(AIMessage, self.model.invoke(to_openai(messages), config, **options))
        return answer

    async def ainvoke(self, messages: Conversation, config: Any = None, **options: Any) -> AIMessage:
        """Return the answer, on the running event loop."""
        answer: AIMessage = _read(AIMessage, await self.model.ainvoke(to_openai(messages), config, **options))
        return answer

    def stream(self, messages: Conversation, config: Any = None, **options: Any) -> Iterator[AIMessageChunk]:
        """Yield the pieces of the answer as they arrive."""
        for chunk in self.model.stream(to_openai(messages), config, **options):
            yield _read(AIMessageChunk, chunk)

    async def astream(
        self, messages: Conversation, config: Any = None, **options: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield the pieces of the answer as they arrive, on the running event loop."""
        async for chunk in self.model.astream(to_openai(messages), config, **options):
            yield _read(AIMessageChunk, chunk)

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **options: Any) -> LangChainModel:
        """Return the model with tools it may call."""
        offered = [tool if is_provided(tool) else {"type": "function", "function": tool_schema(tool)} for tool in tools]
        if tool_choice is not None:
            options["tool_choice"] = tool_choice
        return LangChainModel(self.model.bind_tools(offered, **options))

    def with_structured_output(self, schema: Any, *, include_raw: bool = False) -> StructuredModel[Any]:
        """Return a model that answers with instances of a schema."""
        return StructuredModel(self, schema, include_raw=include_raw)


def is_langchain(value: Any) -> bool:
    """Tell whether a value is a model or another runnable of LangChain."""
    return hasattr(value, "ainvoke") and any(
        base.__module__.partition(".")[0] == "langchain_core" for base in type(value).__mro__
    )


def _read(cls: Any, message: Any) -> Any:
    """Return a message of theirs as one of ours."""
    told = {name: getattr(message, name) for name in names_of(cls) if getattr(message, name, None) is not None}
    return cls(**told)
