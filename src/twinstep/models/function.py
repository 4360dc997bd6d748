"""A plain function as a model: for tests, for stand-ins, and for models that nothing else knows."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

from twinstep.errors import TwinstepError
from twinstep.messages import AIMessage, AIMessageChunk
from twinstep.messages.chunk import join
from twinstep.models.base import Model, Request
from twinstep.pregel.action import name_of


class ModelFunctionError(TwinstepError, TypeError):
    """A function that stands for a model returned what is no answer, or is called in the wrong way."""


class FunctionModel(Model):
    """A model that is a function of the conversation.

    Args:
        function: takes the list of messages, and by keyword those options of the request that it names as parameters
            (`tools` and `tool_choice` among them). It returns a message, a text, or an iterator of texts or chunks; a
            coroutine function or asynchronous generator does so for `ainvoke` and `astream`.
        name: the model's name; by default the function's.
        options: see `Model`.

    Example:
        >>> from twinstep.models import FunctionModel
        >>> model = FunctionModel(lambda messages: messages[-1].text.upper())
        >>> model.invoke("hello").text
        'HELLO'
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None, **options: Any) -> None:
        super().__init__(name or name_of(function), **options)
        self.function = function
        parameters = inspect.signature(function).parameters.values()
        self._takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._takes = {p.name for p in list(parameters)[1:]}

    def ask(self, request: Request) -> AIMessage:
        return join(self.pieces(request)).whole()

    async def aask(self, request: Request) -> AIMessage:
        return join([chunk async for chunk in self.apieces(request)]).whole()

    def pieces(self, request: Request) -> Iterator[AIMessageChunk]:
        result = self._call(request)
        if inspect.isawaitable(result) or hasattr(result, "__aiter__"):
            if inspect.iscoroutine(result):
                result.close()
            raise ModelFunctionError(f"'{self.name}' is asynchronous: call ainvoke() or astream().")
        yield from self._chunks(result)

    async def apieces(self, request: Request) -> AsyncGenerator[AIMessageChunk]:
        result = self._call(request)
        if inspect.isawaitable(result):
            result = await result
        if hasattr(result, "__aiter__"):
            async for item in result:
                yield self._chunk(item)
            return
        for chunk in self._chunks(result):
            yield chunk

    def _call(self, request: Request) -> Any:
        offered = {**request.options, "tools": request.tools, "tool_choice": request.tool_choice}
        wanted = {key: value for key, value in offered.items() if self._takes_all or key in self._takes}
        return self.function(request.messages, **wanted)

    def _chunks(self, result: Any) -> Iterator[AIMessageChunk]:
        if isinstance(result, Iterable) and not isinstance(result, str | dict):
            yield from map(self._chunk, result)
        else:
            yield self._chunk(result)

    def _chunk(self, item: Any) -> AIMessageChunk:
        """Return what a function gave as a piece of an answer."""
        if isinstance(item, str):
            return AIMessageChunk(item)
        if isinstance(item, AIMessageChunk):
            return item
        if isinstance(item, AIMessage):
            return AIMessageChunk(**{each.name: getattr(item, each.name) for each in fields(item)})
        raise ModelFunctionError(
            f"The model function '{self.name}' answered {item!r}; it returns an AIMessage, a text, or an iterator of "
            "texts or AIMessageChunks."
        )
