"""Turns whose contents hold blocks for tools, as the Anthropic API has them: the messages they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinstep.errors import InvalidMessageError
from twinstep.messages.base import AIMessage, BaseMessage, HumanMessage, ToolMessage, tool_call

_FOR_TOOLS = ("tool_use", "tool_result")


def holds_blocks(content: Any) -> bool:
    """Tell whether a content holds tool calls or results as blocks; messages have them elsewhere."""
    return isinstance(content, list) and any(
        isinstance(block, Mapping) and block.get("type") in _FOR_TOOLS for block in content
    )


def messages_of(turn: Mapping[str, Any]) -> list[BaseMessage]:
    """Return the messages of one turn: a tool message for each result, then what else was said.

    Raises:
        InvalidMessageError: it is no turn.
    """
    role, content, id = turn.get("role") or turn.get("type"), turn.get("content"), turn.get("id")
    if role in ("assistant", "ai"):
        return [answer_of(content, id)]
    if role not in ("user", "human"):
        raise InvalidMessageError(f"Not a turn of the Anthropic API: {turn!r}.")
    if isinstance(content, str):
        return [HumanMessage(content, id=id)]
    results = [_result(block) for block in content or () if _is(block, "tool_result")]
    rest = [block for block in content or () if not _is(block, "tool_result")]
    return [*results, HumanMessage(rest, id=id)] if rest or not results else [*results]


def _is(block: Any, kind: str) -> bool:
    return isinstance(block, Mapping) and block.get("type") == kind


def _result(block: Mapping[str, Any]) -> ToolMessage:
    status: Any = "error" if block.get("is_error") else "success"
    return ToolMessage(block.get("content") or "", tool_call_id=block["tool_use_id"], status=status)


def answer_of(content: Any, id: str | None = None) -> AIMessage:
    """Return what a model said in blocks: the calls by themselves, the rest as text where it is nothing else."""
    if isinstance(content, str):
        return AIMessage(content, id=id)
    calls = [tool_call(b["name"], b.get("input") or {}, b.get("id")) for b in content or () if _is(b, "tool_use")]
    rest = [block for block in content or () if not _is(block, "tool_use")]
    plain_text = all(_is(block, "text") and not block.get("citations") for block in rest)
    return AIMessage("".join(block["text"] for block in rest) if plain_text else rest, id=id, tool_calls=calls)
