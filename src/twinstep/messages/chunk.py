"""Pieces of a model's answer, which add up to the whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NotRequired, TypedDict, Unpack

from twinstep.messages.base import AIMessage, Content, Given, is_valid, parsed_tool_call
from twinstep.messages.fields import message_class


class ToolCallChunk(TypedDict):
    """A piece of a tool call: pieces with the same `index` belong together, their `args` are joined."""

    name: str | None
    args: str | None
    id: str | None
    index: int | None
    type: NotRequired[str]


def tool_call_chunk(index: int | None, name: str | None, args: str | None, id: str | None) -> ToolCallChunk:
    """Make a piece of a tool call."""
    return {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}


@message_class
@dataclass(init=False, repr=False, eq=False)
class AIMessageChunk(AIMessage):
    """A piece of what a model says; `a + b` is a longer piece, `.whole()` the message.

    Attributes:
        tool_call_chunks: pieces of tool calls; `tool_calls` holds those that are complete so far.
    """

    __slots__ = ()

    tool_call_chunks: list[ToolCallChunk] = field(default_factory=list, kw_only=True)

    type: ClassVar[str] = "AIMessageChunk"

    def __init__(
        self,
        content: Content = "",
        *,
        tool_call_chunks: list[ToolCallChunk] | None = None,
        **given: Unpack[Given],
    ) -> None:
        super().__init__(content, **given)
        if tool_call_chunks is not None:
            self.tool_call_chunks = tool_call_chunks

    def __add__(self, other: AIMessageChunk) -> AIMessageChunk:
        """Return the piece that is this one and the next."""
        return join([self, other])

    def whole(self) -> AIMessage:
        """Return what was gathered as a message; calls whose arguments are no JSON are `invalid_tool_calls`."""
        calls = [parsed_tool_call(c["name"], c["args"], c["id"]) for c in self.tool_call_chunks]
        valid: Any = [call for call in calls if is_valid(call)]
        invalid: Any = [call for call in calls if not is_valid(call)]
        return AIMessage(
            _finished(self.content),
            id=self.id,
            name=self.name,
            additional_kwargs=self.additional_kwargs,
            response_metadata=self.response_metadata,
            tool_calls=valid or self.tool_calls,
            invalid_tool_calls=invalid or self.invalid_tool_calls,
            usage_metadata=self.usage_metadata,
        )


def join(chunks: Iterable[AIMessageChunk]) -> AIMessageChunk:
    """Return the piece that some pieces add up to, in time proportional to their size."""
    parts = list(chunks)
    calls = _joined_calls(parts)
    parsed = [parsed_tool_call(call["name"], call["args"], call["id"]) for call in calls]
    complete: Any = [call for call in parsed if is_valid(call)] or [c for part in parts for c in part.tool_calls]
    return AIMessageChunk(
        _joined_content([part.content for part in parts]),
        id=next((part.id for part in parts if part.id), None),
        name=next((part.name for part in parts if part.name), None),
        additional_kwargs=_merged(part.additional_kwargs for part in parts),
        response_metadata=_merged(part.response_metadata for part in parts),
        tool_calls=complete,
        invalid_tool_calls=[call for part in parts for call in part.invalid_tool_calls],
        usage_metadata=_summed([part.usage_metadata for part in parts if part.usage_metadata]),
        tool_call_chunks=calls,
    )


def _joined_content(contents: list[Content]) -> Content:
    if all(isinstance(content, str) for content in contents):
        return "".join(contents)  # type: ignore[arg-type]  # all are texts
    blocks: list[Any] = []
    for content in contents:
        given = [{"type": "text", "text": content}] if isinstance(content, str) and content else content
        for block in given:
            _join_block(blocks, block)
    return blocks


def _join_block(blocks: list[Any], block: Any) -> None:
    """Add a block, or lengthen the last one when it is a piece of the same."""
    last = blocks[-1] if blocks else None
    same = isinstance(last, dict) and isinstance(block, dict) and last.get("index") == block.get("index")
    if not same or last["type"] != block["type"]:  # type: ignore[index]  # same: both are mappings
        blocks.append(dict(block) if isinstance(block, dict) else block)
        return
    assert isinstance(last, dict)
    for key, value in block.items():
        growing = isinstance(value, str | list) and key not in ("type", "id")
        last[key] = last.get(key, type(value)()) + value if growing else value


def _finished(content: Content) -> Content:
    """Return a content without what only its pieces need."""
    return content if isinstance(content, str) else list(map(_finished_block, content))


def _finished_block(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    rest = {key: value for key, value in block.items() if key not in ("index", "partial_json")}
    if "partial_json" in block:
        rest["input"] = parsed_tool_call(block.get("name"), block["partial_json"], None)["args"]
    return rest


def _joined_calls(parts: list[AIMessageChunk]) -> list[ToolCallChunk]:
    calls: dict[Any, ToolCallChunk] = {}
    args: dict[Any, list[str]] = {}
    for n, part in enumerate(parts):
        for m, piece in enumerate(part.tool_call_chunks):
            key = (n, m) if piece["index"] is None else piece["index"]  # without an index, a call is whole
            call = calls.setdefault(key, tool_call_chunk(piece["index"], None, None, None))
            call["name"] = call["name"] or piece["name"]
            call["id"] = call["id"] or piece["id"]
            args.setdefault(key, []).append(piece["args"] or "")
    for key, call in calls.items():
        call["args"] = "".join(args[key])
    return list(calls.values())


def _merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        found.update({key: value for key, value in part.items() if value is not None})
    return found


def _summed(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Add up token counts, those in nested mappings too."""
    if len(parts) < 2:
        return parts[0] if parts else None
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, dict):
                found[key] = _summed([found.get(key) or {}, value])
            else:
                found[key] = found.get(key, 0) + value
    return found
