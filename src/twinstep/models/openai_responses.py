"""Models behind the OpenAI responses API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twinstep.messages import AIMessage, AIMessageChunk
from twinstep.messages.base import plain
from twinstep.messages.chunk import tool_call_chunk
from twinstep.messages.responses import from_responses, responses_metadata, responses_usage, to_responses
from twinstep.models.base import Request
from twinstep.models.openai import OpenAIModel
from twinstep.models.sdk import BrokenAnswerError, Decoder
from twinstep.models.tools import OfferedTool, is_provided


class ResponsesModel(OpenAIModel):
    """A model behind the OpenAI responses API, which also has tools that the provider runs itself."""

    def endpoint(self, client: Any) -> Callable[..., Any]:
        found: Callable[..., Any] = client.responses.create
        return found

    def body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        options = {_RENAMED.get(name, name): value for name, value in request.options.items()}
        body: dict[str, Any] = {"model": self.name, "input": to_responses(request.messages), **options}
        if request.tools:
            body["tools"] = [_offered(tool) for tool in request.tools]
        if request.tool_choice is not None:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        return {**body, "stream": True} if stream else body

    def answer(self, response: Any) -> AIMessage:
        _check(plain(response))
        return from_responses(response)

    def decoder(self) -> Decoder:
        return ResponsesDecoder()


_RENAMED = {"max_tokens": "max_output_tokens"}


def _offered(tool: OfferedTool) -> Mapping[str, Any]:
    return tool if is_provided(tool) else {"type": "function", "strict": False, **tool}


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, str) or choice in ("auto", "none", "required"):
        return choice
    return "required" if choice == "any" else {"type": "function", "name": choice}


def _check(data: Mapping[str, Any]) -> None:
    """Refuse a response that is an error.

    Raises:
        BrokenAnswerError: the API says that it failed.
    """
    error = data.get("error")
    if error or data.get("status") == "failed":
        raise BrokenAnswerError(f"The OpenAI API failed in the middle of an answer: {error!r}.")


class ResponsesDecoder:
    """Reads the events of one streamed response."""

    def __init__(self) -> None:
        self.finished: bool = False

    def read(self, event: Any) -> Iterator[AIMessageChunk]:
        """Yield the pieces that an event holds.

        Raises:
            BrokenAnswerError: the API says that it failed.
        """
        match getattr(event, "type", None):
            case "response.output_text.delta":
                yield AIMessageChunk(event.delta)
            case "response.refusal.done":
                yield AIMessageChunk(additional_kwargs={"refusal": event.refusal})
            case "response.output_item.added" if event.item.type == "function_call":
                start = tool_call_chunk(event.output_index, event.item.name, "", event.item.call_id)
                yield AIMessageChunk(tool_call_chunks=[start])
            case "response.function_call_arguments.delta":
                yield AIMessageChunk(tool_call_chunks=[tool_call_chunk(event.output_index, None, event.delta, None)])
            case "response.output_item.done" if event.item.type not in ("message", "function_call"):
                yield AIMessageChunk([{**plain(event.item), "index": event.output_index}])
            case "response.completed" | "response.incomplete" | "response.failed":
                yield self._end(plain(event.response))

    def _end(self, data: Mapping[str, Any]) -> AIMessageChunk:
        _check(data)
        self.finished = True
        metadata = responses_metadata(data)
        return AIMessageChunk(usage_metadata=responses_usage(data.get("usage")), response_metadata=metadata)

    def close(self) -> None:
        """Check that the answer is complete.

        Raises:
            BrokenAnswerError: it is not.
        """
        if not self.finished:
            raise BrokenAnswerError("The connection to the OpenAI API broke off in the middle of an answer.")
