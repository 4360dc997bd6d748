"""Models behind the OpenAI chat completions API, and whatever else speaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from twinstep.messages import AIMessage, AIMessageChunk, from_openai, to_openai
from twinstep.messages.base import plain
from twinstep.messages.chunk import tool_call_chunk
from twinstep.messages.openai import openai_metadata, openai_usage
from twinstep.models.base import Request
from twinstep.models.sdk import BrokenAnswerError, Decoder, SDKModel
from twinstep.models.tools import is_provided


class OpenAIModel(SDKModel):
    """A model behind the OpenAI API; `base_url` leads to any server that speaks it."""

    provider = "openai"
    clients_named: ClassVar[tuple[str, str]] = ("OpenAI", "AsyncOpenAI")

    def endpoint(self, client: Any) -> Callable[..., Any]:
        found: Callable[..., Any] = client.chat.completions.create
        return found

    def body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.name, "messages": to_openai(request.messages), **request.options}
        if request.tools:
            body["tools"] = [
                tool if is_provided(tool) else {"type": "function", "function": tool} for tool in request.tools
            ]
        if request.tool_choice is not None:
            body["tool_choice"] = tool_choice(request.tool_choice)
        if stream:
            body = {"stream_options": {"include_usage": True}, **body, "stream": True}
        return body

    def answer(self, response: Any) -> AIMessage:
        message: AIMessage = from_openai(response)
        return message

    def decoder(self) -> Decoder:
        return OpenAIDecoder()


def tool_choice(choice: Any) -> Any:
    """Return a choice of tools in the shape of the API."""
    if not isinstance(choice, str) or choice in ("auto", "none", "required"):
        return choice
    return "required" if choice == "any" else {"type": "function", "function": {"name": choice}}


class OpenAIDecoder:
    """Reads the chunks of one streamed completion."""

    def __init__(self) -> None:
        self.finished: bool = False

    def read(self, event: Any) -> Iterator[AIMessageChunk]:
        """Yield the pieces that a chunk holds; an event of the SDK's helper that holds a chunk counts as that."""
        chunk = getattr(event, "chunk", event)
        for choice in getattr(chunk, "choices", ()):
            if choice.index == 0:
                yield from self._piece(choice, chunk)
        usage = getattr(chunk, "usage", None)
        if usage is not None:
            yield AIMessageChunk(usage_metadata=openai_usage(plain(usage)))

    def _piece(self, choice: Any, chunk: Any) -> Iterator[AIMessageChunk]:
        delta = choice.delta
        calls = [
            tool_call_chunk(call.index, getattr(call.function, "name", None), _arguments(call), call.id)
            for call in delta.tool_calls or ()
        ]
        refusal = getattr(delta, "refusal", None)
        more = {"refusal": refusal} if refusal else {}
        if delta.content or calls or more:
            yield AIMessageChunk(delta.content or "", tool_call_chunks=calls, additional_kwargs=more)
        if choice.finish_reason:
            self.finished = True
            told = {name: getattr(chunk, name, None) for name in _TOLD}
            yield AIMessageChunk(response_metadata=openai_metadata(told, choice.finish_reason))

    def close(self) -> None:
        """Check that the answer is complete.

        Raises:
            BrokenAnswerError: it is not.
        """
        if not self.finished:
            raise BrokenAnswerError("The connection to the OpenAI API broke off in the middle of an answer.")


_TOLD = ("id", "model", "service_tier", "system_fingerprint")


def _arguments(call: Any) -> str | None:
    return getattr(call.function, "arguments", None)
