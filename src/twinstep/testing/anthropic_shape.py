"""A stub's replies in the shape of the Anthropic messages API (`POST /v1/messages`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from twinstep.testing.script import Failure, Reply, pieces, tokens

PATH = "/v1/messages"
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}


def error(failure: Failure) -> dict[str, Any]:
    """Return the body of an error."""
    kind = _KINDS.get(failure.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": failure.message}}


def whole(reply: Reply, body: dict[str, Any], id: str) -> dict[str, Any]:
    """Return a whole answer; arguments that are no JSON cannot be sent whole, so they are sent as an empty object."""
    blocks = [{**start, **_filled(start, parts)} for start, _, parts in _blocks(reply, id)]
    return {**_message(body, id), "content": blocks, "stop_reason": _reason(reply), "usage": _usage(reply, body)}


def events(reply: Reply, body: dict[str, Any], id: str) -> Iterator[str]:
    """Yield an answer event by event: thinking and text word by word, tool calls in pieces."""
    for event in _events(reply, body, id):
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


def _events(reply: Reply, body: dict[str, Any], id: str) -> Iterator[dict[str, Any]]:
    usage = {**_usage(reply, body), "output_tokens": 1}
    yield {"type": "message_start", "message": {**_message(body, id), "usage": usage}}
    for n, (start, kind, parts) in enumerate(_blocks(reply, id)):
        yield {"type": "content_block_start", "index": n, "content_block": start}
        for part in parts:
            yield {"type": "content_block_delta", "index": n, "delta": {"type": kind, _DELTAS[kind]: part}}
        if start["type"] == "thinking":
            signature = {"type": "signature_delta", "signature": "stub-signature"}
            yield {"type": "content_block_delta", "index": n, "delta": signature}
        yield {"type": "content_block_stop", "index": n}
    delta = {"stop_reason": _reason(reply), "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": _usage(reply, body)["output_tokens"]}}
    yield {"type": "message_stop"}


_DELTAS = {"thinking_delta": "thinking", "text_delta": "text", "input_json_delta": "partial_json"}


def _blocks(reply: Reply, id: str) -> Iterator[tuple[dict[str, Any], str, list[str]]]:
    """Yield each block as it starts, the kind of its pieces, and the pieces."""
    if reply.thinking:
        yield {"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", pieces(reply.thinking)
    for block in reply.blocks:
        if block.get("input"):
            yield {**block, "input": {}}, "input_json_delta", _halves(json.dumps(block["input"]))
        else:
            yield dict(block), "", []
    if reply.text:
        yield {"type": "text", "text": ""}, "text_delta", reply.words
    for n, (name, args) in enumerate(reply.tool_calls):
        text = args if isinstance(args, str) else json.dumps(args)
        start = {"type": "tool_use", "id": f"toolu_{id}_{n}", "name": name, "input": {}}
        yield start, "input_json_delta", _halves(text)


def _halves(text: str) -> list[str]:
    half = len(text) // 2
    return [text[:half], text[half:]]


def _filled(start: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    """Return what a block holds in the end."""
    text = "".join(parts)
    if start["type"] == "thinking":
        return {"thinking": text, "signature": "stub-signature"}
    if start["type"] == "text":
        return {"text": text}
    if not parts:
        return {}
    try:
        return {"input": json.loads(text)}
    except ValueError:
        return {"input": {}}


def _message(body: dict[str, Any], id: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "message", "role": "assistant", "content": [], "stop_reason": None}
    return {"id": f"msg_{id}", "model": body.get("model", "stub"), **shape}


def _reason(reply: Reply) -> str:
    return "tool_use" if reply.tool_calls else "end_turn"


def _usage(reply: Reply, body: dict[str, Any]) -> dict[str, int]:
    answered = tokens(reply.text) + tokens(reply.thinking) + tokens(reply.tool_calls or "")
    return {"input_tokens": tokens(body.get("messages")), "output_tokens": answered}
