"""Chat messages: light classes with the attribute names that chat messages have elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, Unpack

from twinstep.errors import InvalidMessageError
from twinstep.messages.fields import Parts, given, items_of, message_class, told

Content = str | list[Any]
"""Text, or a list of content blocks: texts, and mappings with a `type`."""


class ToolCall(TypedDict):
    """A model's wish to call a tool."""

    name: str
    args: dict[str, Any]
    id: str | None
    type: NotRequired[Literal["tool_call"]]


class InvalidToolCall(TypedDict):
    """A tool call whose arguments are no JSON object; `args` is what the model wrote."""

    name: str | None
    args: str | None
    id: str | None
    error: str | None
    type: NotRequired[Literal["invalid_tool_call"]]


def tool_call(name: str, args: Mapping[str, Any], id: str | None) -> ToolCall:
    """Make a tool call."""
    return {"name": name, "args": dict(args), "id": id, "type": "tool_call"}


def parsed_tool_call(name: str | None, args: str | None, id: str | None) -> ToolCall | InvalidToolCall:
    """Make a tool call of arguments as a model wrote them."""
    import json

    try:
        parsed = json.loads(args or "{}")
    except ValueError as error:
        return _invalid(name, args, id, f"The arguments are not JSON: {error}.")
    if not isinstance(parsed, dict) or not name:
        return _invalid(name, args, id, "The arguments are no JSON object." if name else "The call names no tool.")
    return tool_call(name, parsed, id)


def _invalid(name: str | None, args: str | None, id: str | None, error: str) -> InvalidToolCall:
    return {"name": name, "args": args, "id": id, "error": error, "type": "invalid_tool_call"}


def is_valid(call: ToolCall | InvalidToolCall) -> bool:
    """Tell whether a parsed call can be made."""
    return call.get("type") != "invalid_tool_call"


def text_of(content: Any) -> str:
    """Return a content's text, without other blocks."""
    if isinstance(content, str):
        return content
    parts = (b if isinstance(b, str) else b["text"] if b.get("type") == "text" else "" for b in content or ())
    return "".join(parts)


def plain(value: Any) -> Mapping[str, Any]:
    """Return an object of an SDK as the mapping it stands for.

    Raises:
        InvalidMessageError: it is no such object.
    """
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "model_dump"):
        found: dict[str, Any] = value.model_dump(exclude_none=True)
        return found
    raise InvalidMessageError(f"Expected a mapping or an object of an SDK, got {value!r}.")


class Common(TypedDict, total=False):
    """What every message may be given beside its content."""

    id: str | None
    name: str | None
    additional_kwargs: dict[str, Any] | None
    response_metadata: dict[str, Any] | None


@message_class
@dataclass(init=False, repr=False, eq=False)
class BaseMessage(Parts):
    """One message of a conversation.

    Attributes:
        content: text, or a list of content blocks.
        id: identifies the message within a conversation.
        name: who speaks, when several of one role do.
        additional_kwargs: what else a model provider has to say with the message.
        response_metadata: what a model provider tells about its answer.
    """

    __slots__ = ()

    content: Content = ""
    id: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    additional_kwargs: dict[str, Any] = field(default_factory=dict, kw_only=True)
    response_metadata: dict[str, Any] = field(default_factory=dict, kw_only=True)

    type: ClassVar[str] = "base"
    _defaults: ClassVar[dict[str, Any]]

    def __init__(
        self,
        content: Content = "",
        *,
        id: str | None = None,
        name: str | None = None,
        additional_kwargs: dict[str, Any] | None = None,
        response_metadata: dict[str, Any] | None = None,
    ) -> None:
        self.content, self.id, self._more = content, id, None
        if name is not None:
            self.name = name
        if additional_kwargs is not None:
            self.additional_kwargs = additional_kwargs
        if response_metadata is not None:
            self.response_metadata = response_metadata

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        assert isinstance(other, BaseMessage)
        if self.content != other.content or self.id != other.id:
            return False
        return self._more == other._more or told(self) == told(other)

    @property
    def text(self) -> str:
        """The content's text, without other blocks."""
        return text_of(self.content)

    def pretty_repr(self) -> str:
        """Return the message under a title line."""
        title = f" {self.type.title()} Message ".center(80, "=")
        name = f"\nName: {self.name}" if self.name else ""
        return f"{title}{name}\n\n{self.text}"

    def pretty_print(self) -> None:
        """Print the message under a title line."""
        print(self.pretty_repr())  # noqa: T201  # its purpose

    def __repr__(self) -> str:
        """Show the content, and what differs from the defaults."""
        shown = (f"{name}={value!r}" for name, value in given(self).items() if name != "content")
        return f"{type(self).__name__}({', '.join([f'content={self.content!r}', *shown])})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic models hold messages; mappings, pairs and texts become messages."""
        from twinstep.messages.validation import message_schema

        return message_schema(cls)


@message_class
@dataclass(init=False, repr=False, eq=False)
class HumanMessage(BaseMessage):
    """What a person said."""

    __slots__ = ()

    type: ClassVar[str] = "human"


@message_class
@dataclass(init=False, repr=False, eq=False)
class SystemMessage(BaseMessage):
    """Instructions to a model."""

    __slots__ = ()

    type: ClassVar[str] = "system"


@message_class
@dataclass(init=False, repr=False, eq=False)
class AIMessage(BaseMessage):
    """What a model said.

    Attributes:
        tool_calls: the tools it wants to have called.
        invalid_tool_calls: calls whose arguments cannot be read.
        usage_metadata: `input_tokens`, `output_tokens` and `total_tokens`, where the provider tells them.
    """

    __slots__ = ()

    tool_calls: list[ToolCall] = field(default_factory=list, kw_only=True)
    invalid_tool_calls: list[InvalidToolCall] = field(default_factory=list, kw_only=True)
    usage_metadata: dict[str, Any] | None = field(default=None, kw_only=True)

    type: ClassVar[str] = "ai"

    def __init__(
        self,
        content: Content = "",
        *,
        tool_calls: list[ToolCall] | None = None,
        invalid_tool_calls: list[InvalidToolCall] | None = None,
        usage_metadata: dict[str, Any] | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(content, **common)
        if tool_calls is not None:
            self.tool_calls = tool_calls
        if invalid_tool_calls is not None:
            self.invalid_tool_calls = invalid_tool_calls
        if usage_metadata is not None:
            self.usage_metadata = usage_metadata
        self.__post_init__()

    def __post_init__(self) -> None:
        if items_of(self, "tool_calls"):
            self.tool_calls = [tool_call(call["name"], call["args"], call.get("id")) for call in self.tool_calls]

    def pretty_repr(self) -> str:
        calls = [_pretty_call(call) for call in self.tool_calls]
        shown = super().pretty_repr()
        return "\n".join([shown, "Tool Calls:", *calls]) if calls else shown


class Given(Common, total=False):
    """What an `AIMessage` may be given beside its content."""

    tool_calls: list[ToolCall] | None
    invalid_tool_calls: list[InvalidToolCall] | None
    usage_metadata: dict[str, Any] | None


def _pretty_call(call: ToolCall) -> str:
    args = "".join(f"\n    {name}: {value}" for name, value in call["args"].items())
    return f"  {call['name']} ({call['id']})\n Call ID: {call['id']}\n  Args:{args}"


@message_class
@dataclass(init=False, repr=False, eq=False)
class ToolMessage(BaseMessage):
    """What a tool returned for the call `tool_call_id`.

    Attributes:
        tool_call_id: the id of the call it answers.
        status: whether the tool did what it should.
        artifact: something for the program that the model does not see.
    """

    __slots__ = ()

    tool_call_id: str = field(default="", kw_only=True)
    status: Literal["success", "error"] = field(default="success", kw_only=True)
    artifact: Any = field(default=None, kw_only=True)

    type: ClassVar[str] = "tool"

    def __init__(
        self,
        content: Content = "",
        *,
        tool_call_id: str = "",
        status: Literal["success", "error"] = "success",
        artifact: Any = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(content, **common)
        self.tool_call_id = tool_call_id
        if status != "success":
            self.status = status
        if artifact is not None:
            self.artifact = artifact


@message_class
@dataclass(init=False, repr=False, eq=False)
class RemoveMessage(BaseMessage):
    """Takes the message with this id out of a conversation, when it is added to it: `RemoveMessage(id)`."""

    __slots__ = ()

    type: ClassVar[str] = "remove"

    def __init__(self, content: Content = "", **common: Unpack[Common]) -> None:
        super().__init__(content, **common)
        self.__post_init__()

    def __post_init__(self) -> None:
        if self.id is None and isinstance(self.content, str) and self.content:
            self.id: str | None = self.content  # there is nothing to say but the id
            self.content: Content = ""


AnyMessage = HumanMessage | SystemMessage | AIMessage | ToolMessage | RemoveMessage

ROLES: dict[str, type[BaseMessage]] = {
    "human": HumanMessage,
    "user": HumanMessage,
    "ai": AIMessage,
    "assistant": AIMessage,
    "AIMessageChunk": AIMessage,
    "system": SystemMessage,
    "developer": SystemMessage,
    "tool": ToolMessage,
    "function": ToolMessage,
    "remove": RemoveMessage,
}
"""The class for each role name."""


def names_of(cls: Any) -> Iterable[str]:
    """Return the names of a message class's fields."""
    return [each.name for each in fields(cls)]
