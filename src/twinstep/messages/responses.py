"""Messages in the shape of the OpenAI responses API, and back.

The shape is that of the request and response bodies of `POST /v1/responses`: a conversation is a list of items, in
which calls of tools and their results stand beside the messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from twinstep.errors import InvalidMessageError
from twinstep.messages.base import AIMessage, is_valid, parsed_tool_call, plain, text_of
from twinstep.messages.convert import MessageLike, convert_to_messages
from twinstep.messages.fields import items_of
from twinstep.messages.openai import image_url

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system"}
_ELSEWHERE = ("tool_use", "thinking", "redacted_thinking")
"""Blocks that only another API knows."""


def to_responses(messages: MessageLike | Iterable[MessageLike]) -> list[dict[str, Any]]:
    """Return a conversation as the `input` of a request.

    Tool calls and results, images, and the items that the provider's own tools made are carried over.

    Raises:
        InvalidMessageError: a value is no message, or has no place in a request.
    """
    return [item for message in convert_to_messages(messages) for item in _items(message)]


def _items(message: Any) -> Iterator[dict[str, Any]]:
    if message.type == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": text_of(message.content)}
        return
    role = _ROLES.get(message.type)
    if role is None:
        raise InvalidMessageError(f"A message of type '{message.type}' cannot be sent to a model: {message!r}.")
    if role != "assistant":
        yield {"role": role, "content": _content(message.content)}
        return
    if not isinstance(message.content, str):
        yield from (dict(block) for block in message.content if _is_item(block))
    if message.text:
        yield {"role": role, "content": message.text}
    for call in (*items_of(message, "tool_calls"), *items_of(message, "invalid_tool_calls")):
        args = call["args"] if isinstance(call["args"], str) else json.dumps(call["args"] or {}, ensure_ascii=False)
        yield {"type": "function_call", "call_id": call["id"], "name": call["name"], "arguments": args}


def _is_item(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") not in ("text", "image", "image_url", *_ELSEWHERE)


def _content(content: Any) -> Any:
    return content if isinstance(content, str) else [_block(block) for block in content]


def _block(block: Any) -> dict[str, Any]:
    if isinstance(block, str) or block.get("type") == "text":
        return {"type": "input_text", "text": block if isinstance(block, str) else block["text"]}
    if block.get("type") == "image_url":
        address = block["image_url"]
        return {"type": "input_image", "image_url": address if isinstance(address, str) else address["url"]}
    return {"type": "input_image", "image_url": image_url(block)} if block.get("type") == "image" else dict(block)


def from_responses(value: Any) -> AIMessage:
    """Return a response of the API, an object of the SDK or the mapping it stands for, as a message.

    Raises:
        InvalidMessageError: it is none.
    """
    data = plain(value)
    if not isinstance(data.get("output"), list):
        raise InvalidMessageError(f"No response of the OpenAI responses API: {value!r}.")
    said = [part for item in data["output"] if item["type"] == "message" for part in item["content"]]
    text = "".join(part["text"] for part in said if part["type"] == "output_text")
    refusal = "".join(part["refusal"] for part in said if part["type"] == "refusal")
    others = [dict(item) for item in data["output"] if item["type"] not in ("message", "function_call")]
    calls: list[Any] = [
        parsed_tool_call(item["name"], item["arguments"], item["call_id"])
        for item in data["output"]
        if item["type"] == "function_call"
    ]
    return AIMessage(
        [*others, *([{"type": "text", "text": text}] if text else [])] if others else text,
        id=data.get("id"),
        tool_calls=[call for call in calls if is_valid(call)],
        invalid_tool_calls=[call for call in calls if not is_valid(call)],
        additional_kwargs={"refusal": refusal} if refusal else {},
        usage_metadata=responses_usage(data.get("usage")),
        response_metadata=responses_metadata(data),
    )


def responses_usage(usage: Any) -> dict[str, Any] | None:
    """Return the token counts of a response under the names of `usage_metadata`."""
    if not usage:
        return None
    found: dict[str, Any] = {name: usage.get(name, 0) for name in ("input_tokens", "output_tokens", "total_tokens")}
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens")
    reasoned = (usage.get("output_tokens_details") or {}).get("reasoning_tokens")
    if cached:
        found["input_token_details"] = {"cache_read": cached}
    return {**found, "output_token_details": {"reasoning": reasoned}} if reasoned else found


def responses_metadata(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a response tells about itself, under the names that chat messages have elsewhere."""
    found = {
        "model_name": data.get("model"),
        "status": data.get("status"),
        "incomplete_details": data.get("incomplete_details"),
        "id": data.get("id"),
        "service_tier": data.get("service_tier"),
        "model_provider": "openai",
    }
    return {key: value for key, value in found.items() if value is not None}
