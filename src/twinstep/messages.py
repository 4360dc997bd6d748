"""Chat messages: light classes with the attribute names that chat messages have elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from twinstep.serde import register_type

Content = str | list[Any]
"""Text, or a list of content blocks."""


@dataclass(slots=True)
class BaseMessage:
    """One message of a conversation.

    Attributes:
        content: text, or a list of content blocks.
        id: identifies the message within a conversation.
        name: who speaks, when several of one role do.
    """

    content: Content = ""
    id: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    type: ClassVar[str] = "base"

    @property
    def text(self) -> str:
        """The content's text, without other blocks."""
        if isinstance(self.content, str):
            return self.content
        parts = (block if isinstance(block, str) else block.get("text", "") for block in self.content)
        return "".join(parts)

    def pretty_repr(self) -> str:
        """Return the message under a title line."""
        title = f" {self.type.title()} Message "
        return f"{title.center(80, '=')}\n\n{self.text}"

    def pretty_print(self) -> None:
        """Print the message under a title line."""
        print(self.pretty_repr())  # noqa: T201  # its purpose


@register_type
@dataclass(slots=True)
class HumanMessage(BaseMessage):
    """What a person said."""

    type: ClassVar[str] = "human"


@register_type
@dataclass(slots=True)
class SystemMessage(BaseMessage):
    """Instructions to a model."""

    type: ClassVar[str] = "system"


@register_type
@dataclass(slots=True)
class AIMessage(BaseMessage):
    """What a model said; `tool_calls` are mappings with `name`, `args` and `id`."""

    tool_calls: list[dict[str, Any]] = field(default_factory=list, kw_only=True)
    usage_metadata: dict[str, Any] | None = field(default=None, kw_only=True)
    response_metadata: dict[str, Any] = field(default_factory=dict, kw_only=True)

    type: ClassVar[str] = "ai"


@register_type
@dataclass(slots=True)
class ToolMessage(BaseMessage):
    """What a tool returned for the call `tool_call_id`."""

    tool_call_id: str = field(default="", kw_only=True)
    status: str = field(default="success", kw_only=True)
    artifact: Any = field(default=None, kw_only=True)

    type: ClassVar[str] = "tool"


@register_type
@dataclass(slots=True)
class RemoveMessage(BaseMessage):
    """Takes the message with this id out of a conversation, when it is added to it."""

    type: ClassVar[str] = "remove"


AnyMessage = HumanMessage | SystemMessage | AIMessage | ToolMessage | RemoveMessage

ROLES: dict[str, type[BaseMessage]] = {
    "human": HumanMessage,
    "user": HumanMessage,
    "ai": AIMessage,
    "assistant": AIMessage,
    "system": SystemMessage,
    "developer": SystemMessage,
    "tool": ToolMessage,
    "function": ToolMessage,
    "remove": RemoveMessage,
}
"""The class for each role name."""
