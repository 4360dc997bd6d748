"""Messages in the shape of the OpenAI chat completions API, and back.

The shape is that of the request and response bodies of `POST /v1/chat/completions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinstep.errors import InvalidMessageError
from twinstep.messages.base import AIMessage, plain, text_of
from twinstep.messages.convert import MessageLike, convert_to_messages, message_of
from twinstep.messages.fields import items_of

_CALLS = ("tool_calls", "invalid_tool_calls")
_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}


def to_openai(messages: MessageLike | Iterable[MessageLike]) -> list[dict[str, Any]]:
    """Return a conversation as the `messages` of a request.

    Tool calls and results, names and images are carried over; blocks that only another API knows (such as thinking) are
    left out.

    Raises:
        InvalidMessageError: a value is no message, or has no place in a request.
    """
    return [_sent(message) for message in convert_to_messages(messages)]


def _sent(message: Any) -> dict[str, Any]:
    role = _ROLES.get(message.type)
    if role is None:
        raise InvalidMessageError(f"A message of type '{message.type}' cannot be sent to a model: {message!r}.")
    sent: dict[str, Any] = {"role": role, "content": openai_content(message.content)}
    if message.name and role != "tool":
        sent["name"] = message.name
    if role == "tool":
        sent["tool_call_id"] = message.tool_call_id
    if role == "assistant":
        calls = [_call(call) for name in _CALLS for call in items_of(message, name)]
        if calls:
            sent["tool_calls"] = calls
            sent["content"] = sent["content"] or None
    return sent


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    import json

    args = call["args"] if isinstance(call["args"], str) else json.dumps(call["args"] or {}, ensure_ascii=False)
    return {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": args}}


def openai_content(content: Any) -> Any:
    """Return a content in the shape of this API: a text, or a list of blocks where there is more than text."""
    if isinstance(content, str):
        return content
    blocks = [shown for block in content or () if (shown := _block(block)) is not None]
    if all(block["type"] == "text" for block in blocks):
        return text_of(blocks)
    return blocks


def _block(block: Any) -> dict[str, Any] | None:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": block["text"]}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": image_url(block)}}
    return None if kind in ("tool_use", "thinking", "redacted_thinking", "reasoning") else dict(block)


def image_url(block: Mapping[str, Any]) -> str:
    """Return the address of an image block, a `data:` URL for one that holds its bytes."""
    source = block.get("source", block)
    if source.get("url"):
        return str(source["url"])
    kind = source.get("media_type") or source.get("mime_type") or "image/png"
    return f"data:{kind};base64,{source.get('data') or source.get('base64', '')}"


def from_openai(value: Any) -> Any:
    """Return a response of the API, or a message in its shape, as a message; a list of messages as a list.

    Args:
        value: a completion or message object of the SDK, or the mapping it stands for; or a list of them.

    Raises:
        InvalidMessageError: it is neither.
    """
    if isinstance(value, list | tuple):
        return [from_openai(item) for item in value]
    data = plain(value)
    if "choices" in data:
        return _answer(data)
    if "role" in data:
        return convert_to_messages(data)[0]
    raise InvalidMessageError(f"Neither a completion nor a message of the OpenAI API: {value!r}.")


def _answer(data: Mapping[str, Any]) -> AIMessage:
    if not data["choices"]:
        raise InvalidMessageError("The completion holds no choice.")
    choice = data["choices"][0]
    message = message_of(AIMessage, {**choice["message"], "name": None})
    assert isinstance(message, AIMessage)
    message.id = data.get("id")
    message.usage_metadata = openai_usage(data.get("usage"))
    message.response_metadata = openai_metadata(data, choice.get("finish_reason"))
    return message


def openai_usage(usage: Any) -> dict[str, Any] | None:
    """Return the token counts of a response under the names of `usage_metadata`."""
    if not usage:
        return None
    found = {
        "input_tokens": usage.get("prompt_tokens", 0),
        "output_tokens": usage.get("completion_tokens", 0),
        "total_tokens": usage.get("total_tokens", 0),
    }
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return {**found, "input_token_details": {"cache_read": cached}} if cached else found


def openai_metadata(data: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
    """Return what a response tells about itself, under the names that chat messages have elsewhere."""
    found = {
        "model_name": data.get("model"),
        "finish_reason": finish_reason,
        "id": data.get("id"),
        "service_tier": data.get("service_tier"),
        "system_fingerprint": data.get("system_fingerprint"),
        "model_provider": "openai",
    }
    return {key: value for key, value in found.items() if value is not None}
