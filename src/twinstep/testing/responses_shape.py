"""A stub's replies in the shape of the OpenAI responses API (`POST /v1/responses`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from twinstep.testing.openai_shape import error, written
from twinstep.testing.script import Reply, tokens

__all__ = ["PATH", "error", "events", "whole"]

PATH = "/v1/responses"


def whole(reply: Reply, body: dict[str, Any], id: str) -> dict[str, Any]:
    """Return a whole answer."""
    return {**_envelope(body, id), "status": "completed", "output": _items(reply, id), "usage": _usage(reply, body)}


def events(reply: Reply, body: dict[str, Any], id: str) -> Iterator[str]:
    """Yield an answer event by event: text word by word, arguments in pieces."""
    for number, event in enumerate(_events(reply, body, id)):
        yield f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"


def _events(reply: Reply, body: dict[str, Any], id: str) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": {**_envelope(body, id), "status": "in_progress", "output": []}}
    for n, item in enumerate(_items(reply, id)):
        place = {"output_index": n, "item_id": item.get("id")}
        yield {
            "type": "response.output_item.added",
            "output_index": n,
            "item": {**item, **_EMPTY.get(item["type"], {})},
        }
        if item["type"] == "message":
            for piece in reply.words:
                delta = {"content_index": 0, "delta": piece, "logprobs": []}
                yield {"type": "response.output_text.delta", **place, **delta}
        elif item["type"] == "function_call":
            text = item["arguments"]
            for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.output_item.done", "output_index": n, "item": item}
    yield {"type": "response.completed", "response": whole(reply, body, id)}


_EMPTY: dict[str, dict[str, Any]] = {"message": {"content": []}, "function_call": {"arguments": ""}}
"""What items lack at their start."""


def _items(reply: Reply, id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [dict(block) for block in reply.blocks]
    if reply.text:
        content = [{"type": "output_text", "text": reply.text, "annotations": []}]
        items.append(
            {"type": "message", "id": f"msg_{id}", "role": "assistant", "status": "completed", "content": content}
        )
    for n, (name, args) in enumerate(reply.tool_calls):
        call = {"call_id": f"call_{id}_{n}", "name": name, "arguments": written(args), "status": "completed"}
        items.append({"type": "function_call", "id": f"fc_{id}_{n}", **call})
    return items


def _usage(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    sent, answered = tokens(body.get("input")), tokens(reply.text) + tokens(reply.tool_calls or "")
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {"input_tokens": sent, "output_tokens": answered, "total_tokens": sent + answered, **details}


def _envelope(body: dict[str, Any], id: str) -> dict[str, Any]:
    shape = {"object": "response", "created_at": int(time.time()), "model": body.get("model", "stub")}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None}
    return {"id": f"resp_{id}", **shape, **rest}
