"""A stub's replies in the shape of the OpenAI chat completions API (`POST /v1/chat/completions`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from twinstep.testing.script import Failure, Reply, tokens

PATH = "/v1/chat/completions"


def error(failure: Failure) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"message": failure.message, "type": "stub_error", "param": None, "code": None}}


def whole(reply: Reply, body: dict[str, Any], id: str) -> dict[str, Any]:
    """Return a whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": f"call_{id}_{n}", "type": "function", "function": {"name": name, "arguments": written(args)}}
            for n, (name, args) in enumerate(reply.tool_calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _reason(reply)}
    return {**_envelope("chat.completion", [choice], body, id), "usage": _usage(reply, body)}


def events(reply: Reply, body: dict[str, Any], id: str) -> Iterator[str]:
    """Yield an answer word by word, its tool calls in pieces, why it ends, and what it cost when that was asked for."""
    for chunk in _chunks(reply, body, id):
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def _chunks(reply: Reply, body: dict[str, Any], id: str) -> Iterator[dict[str, Any]]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _envelope("chat.completion.chunk", [choice], body, id)

    for piece in reply.words:
        yield chunk({"role": "assistant", "content": piece})
    for n, (name, args) in enumerate(reply.tool_calls):
        start = {"index": n, "id": f"call_{id}_{n}", "type": "function", "function": {"name": name, "arguments": ""}}
        yield chunk({"tool_calls": [start]})
        text = written(args)
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield chunk({"tool_calls": [{"index": n, "function": {"arguments": part}}]})
    yield chunk({}, _reason(reply))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**_envelope("chat.completion.chunk", [], body, id), "usage": _usage(reply, body)}


def written(args: Any) -> str:
    """Return arguments as a text."""
    return args if isinstance(args, str) else json.dumps(args)


def _reason(reply: Reply) -> str:
    return "tool_calls" if reply.tool_calls else "stop"


def _usage(reply: Reply, body: dict[str, Any]) -> dict[str, int]:
    sent, answered = tokens(body.get("messages")), tokens(reply.text) + tokens(reply.tool_calls or "")
    return {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered}


def _envelope(kind: str, choices: list[dict[str, Any]], body: dict[str, Any], id: str) -> dict[str, Any]:
    model = body.get("model", "stub")
    return {"id": f"chatcmpl-{id}", "object": kind, "created": int(time.time()), "model": model, "choices": choices}
