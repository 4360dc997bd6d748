"""Models behind the Anthropic messages API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from twinstep.messages import AIMessage, AIMessageChunk, from_anthropic, to_anthropic
from twinstep.messages.anthropic import anthropic_metadata, anthropic_usage
from twinstep.messages.base import plain
from twinstep.messages.chunk import tool_call_chunk
from twinstep.models.base import Request
from twinstep.models.sdk import BrokenAnswerError, Decoder, SDKModel
from twinstep.models.tools import OfferedTool, is_provided

MAX_TOKENS = 4096
"""The API wants a limit with every request; `max_tokens` of the model or call goes before this one."""


class AnthropicModel(SDKModel):
    """A model behind the Anthropic API."""

    provider = "anthropic"
    clients_named: ClassVar[tuple[str, str]] = ("Anthropic", "AsyncAnthropic")

    def endpoint(self, client: Any) -> Callable[..., Any]:
        found: Callable[..., Any] = client.messages.create
        return found

    def body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        conversation = to_anthropic(request.messages)
        body: dict[str, Any] = {"model": self.name, "max_tokens": MAX_TOKENS, **conversation, **request.options}
        if request.tools:
            body["tools"] = [_offered(tool) for tool in request.tools]
        if request.tool_choice is not None:
            body["tool_choice"] = tool_choice(request.tool_choice)
        return {**body, "stream": True} if stream else body

    def answer(self, response: Any) -> AIMessage:
        message: AIMessage = from_anthropic(response)
        return message

    def decoder(self) -> Decoder:
        return AnthropicDecoder()


def _offered(tool: OfferedTool) -> Mapping[str, Any]:
    if is_provided(tool):
        return tool
    return {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}


def tool_choice(choice: Any) -> Any:
    """Return a choice of tools in the shape of the API."""
    if not isinstance(choice, str):
        return choice
    kind = {"auto": "auto", "none": "none", "any": "any", "required": "any"}.get(choice)
    return {"type": "tool", "name": choice} if kind is None else {"type": kind}


class AnthropicDecoder:
    """Reads the events of one streamed message.

    Input tokens are told at the start and all tokens at the end; each count is passed on once, in the last piece.
    """

    def __init__(self) -> None:
        self.finished: bool = False
        self._usage: dict[str, Any] = {}
        self._metadata: dict[str, Any] = {}
        self._kinds: dict[int, str] = {}

    def read(self, event: Any) -> Iterator[AIMessageChunk]:
        """Yield the pieces that an event holds; what the SDK's helper adds to the events holds none."""
        kind = getattr(event, "type", None)
        if kind == "message_start":
            self._metadata = {"id": event.message.id, "model": event.message.model}
            self._count(event.message.usage)
        elif kind == "content_block_start":
            self._kinds[event.index] = event.content_block.type
            yield from _start(event.index, event.content_block)
        elif kind == "content_block_delta":
            yield from _delta(event.index, event.delta, self._kinds.get(event.index))
        elif kind == "message_delta":
            self._count(event.usage)
            self._metadata.update(plain(event.delta))
        elif kind == "message_stop":
            self.finished = True
            metadata = anthropic_metadata(self._metadata)
            yield AIMessageChunk(usage_metadata=anthropic_usage(self._usage), response_metadata=metadata)

    def _count(self, usage: Any) -> None:
        self._usage.update({key: value for key, value in plain(usage).items() if value is not None})

    def close(self) -> None:
        """Check that the answer is complete.

        Raises:
            BrokenAnswerError: it is not.
        """
        if not self.finished:
            raise BrokenAnswerError("The connection to the Anthropic API broke off in the middle of an answer.")


def _start(index: int, block: Any) -> Iterator[AIMessageChunk]:
    if block.type == "tool_use":
        yield AIMessageChunk(tool_call_chunks=[tool_call_chunk(index, block.name, "", block.id)])
    elif block.type == "text":
        if block.text:
            yield AIMessageChunk(block.text)
    else:
        yield AIMessageChunk([{**plain(block), "index": index}])


def _delta(index: int, delta: Any, block: str | None) -> Iterator[AIMessageChunk]:
    if delta.type == "text_delta":
        yield AIMessageChunk(delta.text)
    elif delta.type == "input_json_delta":
        if delta.partial_json and block == "tool_use":
            yield AIMessageChunk(tool_call_chunks=[tool_call_chunk(index, None, delta.partial_json, None)])
        elif delta.partial_json:  # the provider runs this tool itself
            yield AIMessageChunk([{"type": block, "partial_json": delta.partial_json, "index": index}])
    elif delta.type == "thinking_delta":
        yield AIMessageChunk([{"type": "thinking", "thinking": delta.thinking, "index": index}])
    elif delta.type == "signature_delta":
        yield AIMessageChunk([{"type": "thinking", "signature": delta.signature, "index": index}])
    elif delta.type == "citations_delta":
        yield AIMessageChunk([{"type": "text", "text": "", "citations": [plain(delta.citation)]}])
