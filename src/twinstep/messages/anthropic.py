"""Messages in the shape of the Anthropic messages API, and back.

The shape is that of the request and response bodies of `POST /v1/messages`: instructions stand beside the messages,
tool results are blocks of user turns, and turns of one side that follow each other are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinstep.errors import InvalidMessageError
from twinstep.messages.base import AIMessage, SystemMessage, plain
from twinstep.messages.blocks import answer_of, messages_of
from twinstep.messages.convert import MessageLike, convert_to_messages
from twinstep.messages.fields import items_of


def to_anthropic(messages: MessageLike | Iterable[MessageLike]) -> dict[str, Any]:
    """Return a conversation as the `system` (where there is one) and `messages` of a request.

    Tool calls and results, images and thinking are carried over.

    Raises:
        InvalidMessageError: a value is no message, or has no place in a request.
    """
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in convert_to_messages(messages):
        if message.type == "system":
            system += _blocks(message.content)
            continue
        role, blocks = _turn(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        turn["content"] = _short(turn["content"])
    return {"system": _short(system), "messages": turns} if system else {"messages": turns}


def _short(blocks: list[dict[str, Any]]) -> Any:
    """Return one plain text instead of the block that holds it."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else blocks


def _turn(message: Any) -> tuple[str, list[dict[str, Any]]]:
    if message.type == "human":
        return "user", _blocks(message.content)
    if message.type == "tool":
        result = {
            "type": "tool_result",
            "tool_use_id": message.tool_call_id,
            "content": _short(_blocks(message.content)),
        }
        return "user", [{**result, "is_error": True} if message.status == "error" else result]
    if message.type in ("ai", "AIMessageChunk"):
        calls = [
            {"type": "tool_use", "id": call["id"], "name": call["name"], "input": call["args"]}
            for call in items_of(message, "tool_calls")
        ]
        said = [block for block in _blocks(message.content) if block["type"] != "tool_use"]
        return "assistant", [*said, *calls]
    raise InvalidMessageError(f"A message of type '{message.type}' cannot be sent to a model: {message!r}.")


def _blocks(content: Any) -> list[dict[str, Any]]:
    """Return a content as blocks; the API refuses empty texts, so they are left out."""
    items = [content] if isinstance(content, str) else content or ()
    blocks = [{"type": "text", "text": item} if isinstance(item, str) else _block(item) for item in items]
    return [block for block in blocks if block.get("type") != "text" or block["text"]]


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    if block.get("type") == "image_url":
        address = block["image_url"]
        return {"type": "image", "source": _source(address if isinstance(address, str) else address["url"])}
    if block.get("type") == "image" and "source" not in block:
        if block.get("url"):
            return {"type": "image", "source": _source(block["url"])}
        data = block.get("data") or block.get("base64")
        return {"type": "image", "source": {"type": "base64", "media_type": block.get("mime_type"), "data": data}}
    return dict(block)


def _source(url: str) -> dict[str, Any]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": kind, "data": data}


def from_anthropic(value: Any) -> Any:
    """Return a response of the API as a message; a turn in its shape, or a list of turns, as a list of messages.

    Args:
        value: a message object of the SDK, or the mapping it stands for; a list of turns; or a request's mapping with
            `messages` and perhaps `system`.

    Raises:
        InvalidMessageError: it is none of these.
    """
    if isinstance(value, list | tuple):
        return [message for turn in value for message in messages_of(plain(turn))]
    data = plain(value)
    if "messages" in data:
        system = [SystemMessage(data["system"])] if data.get("system") else []
        return [*system, *from_anthropic(data["messages"])]
    if data.get("type") == "message":
        return _answer(data)
    return messages_of(data)


def _answer(data: Mapping[str, Any]) -> AIMessage:
    message = answer_of(data["content"], data.get("id"))
    message.usage_metadata = anthropic_usage(data.get("usage"))
    message.response_metadata = anthropic_metadata(data)
    return message


def anthropic_usage(usage: Any) -> dict[str, Any] | None:
    """Return the token counts of a response under the names of `usage_metadata`; cached input counts as input."""
    if not usage:
        return None
    read, made = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    sent, answered = (usage.get("input_tokens") or 0) + read + made, usage.get("output_tokens") or 0
    found = {"input_tokens": sent, "output_tokens": answered, "total_tokens": sent + answered}
    return {**found, "input_token_details": {"cache_read": read, "cache_creation": made}} if read or made else found


def anthropic_metadata(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a response tells about itself, under the names that chat messages have elsewhere."""
    found = {
        "model_name": data.get("model"),
        "stop_reason": data.get("stop_reason"),
        "stop_sequence": data.get("stop_sequence"),
        "id": data.get("id"),
        "model_provider": "anthropic",
    }
    return {key: value for key, value in found.items() if value is not None}
