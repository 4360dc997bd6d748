"""Whatever looks like a message, as a message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinstep.errors import InvalidMessageError, did_you_mean
from twinstep.messages.base import ROLES, AIMessage, BaseMessage, HumanMessage, is_valid, names_of, parsed_tool_call
from twinstep.messages.blocks import holds_blocks, messages_of
from twinstep.messages.chunk import AIMessageChunk

MessageLike = Any
"""A message, also one of another library; a mapping with `role` and `content`, as the OpenAI and Anthropic APIs have
them; a pair `(role, content)`; or a text, said by the user."""


def is_message(value: Any) -> bool:
    """Tell whether a value is a message, ours or another library's."""
    return isinstance(value, BaseMessage) or (
        hasattr(value, "content") and hasattr(value, "id") and isinstance(getattr(value, "type", None), str)
    )


def messages_in(values: Iterable[Any]) -> list[Any]:
    """Return the messages among some values, and in the lists among them."""
    return [m for value in values for m in (value if isinstance(value, list) else [value]) if is_message(m)]


def values_of(state: Any) -> Iterable[Any]:
    """Return the values of a state: of a mapping, of an object's attributes, or the one it is."""
    if isinstance(state, Mapping):
        return state.values()
    return state if isinstance(state, list) else [state, *getattr(state, "__dict__", {}).values()]


def as_message(value: MessageLike) -> Any:
    """Return a value as a message; messages of other libraries are returned as they are.

    Raises:
        InvalidMessageError: it cannot be one, or stands for several.
    """
    found = as_messages(value)
    if len(found) != 1:
        raise InvalidMessageError(f"One message was expected; this stands for {len(found)}: {value!r}.")
    return found[0]


def as_messages(value: MessageLike) -> list[Any]:
    """Return a value as the messages it stands for: one, or a message for each tool result of an Anthropic turn.

    Raises:
        InvalidMessageError: it is no message.
    """
    if isinstance(value, AIMessageChunk):
        return [value.whole()]
    if is_message(value):
        return [value]
    if isinstance(value, str):
        return [HumanMessage(value)]
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        return _of_mapping({"role": value[0], "content": value[1]})
    if isinstance(value, Mapping) and ("role" in value or "type" in value):
        return _of_mapping(value)
    raise InvalidMessageError(
        f"Not a message: {value!r}. Give a message object, {{'role': ..., 'content': ...}}, (role, text) or a text."
    )


def convert_to_messages(messages: MessageLike | Iterable[MessageLike]) -> list[Any]:
    """Return a conversation as a list of messages: from one message-like value or several.

    Raises:
        InvalidMessageError: a value is no message.

    Example:
        >>> from twinstep.messages import convert_to_messages
        >>> convert_to_messages([("system", "Be brief."), {"role": "user", "content": "Hi"}])
        [SystemMessage(content='Be brief.'), HumanMessage(content='Hi')]
    """
    if isinstance(messages, str | Mapping) or is_message(messages) or is_pair(messages):
        return as_messages(messages)
    return [message for value in messages for message in as_messages(value)]


def is_pair(value: Any) -> bool:
    """Tell whether a value is one message in the form `(role, content)`."""
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and value[0] in ROLES


def _of_mapping(value: Mapping[str, Any]) -> list[Any]:
    if isinstance(value.get("data"), Mapping):  # {"type": "human", "data": {...}}
        value = {**value["data"], "type": value.get("type")}
    role = value.get("role") or value.get("type") or ""
    cls = ROLES.get(role)
    if cls is None:
        raise InvalidMessageError(f"Unknown message role {role!r} ({', '.join(ROLES)})." + did_you_mean(role, ROLES))
    if cls in (HumanMessage, AIMessage) and holds_blocks(value.get("content")):
        return messages_of(value)
    return [message_of(cls, value)]


def message_of(cls: type[BaseMessage], value: Mapping[str, Any]) -> BaseMessage:
    """Make a message of a mapping; keys that messages do not have are kept in `additional_kwargs`."""
    known, given = set(names_of(cls)), {key: item for key, item in value.items() if item is not None}
    own = {key: item for key, item in given.items() if key in known}
    more = {key: item for key, item in given.items() if key not in known and key not in ("role", "type", "example")}
    if more:
        own["additional_kwargs"] = {**own.get("additional_kwargs", {}), **more}
    if own.get("tool_calls"):
        calls: list[Any] = [_tool_call(call) for call in own["tool_calls"]]
        own["tool_calls"] = [call for call in calls if is_valid(call)]
        own["invalid_tool_calls"] = [*own.get("invalid_tool_calls", ()), *(c for c in calls if not is_valid(c))]
    return cls(**own)


def _tool_call(call: Mapping[str, Any]) -> Any:
    """Return a tool call as name, args and id, also from the shape of the OpenAI API."""
    if isinstance(call.get("function"), Mapping):
        function = call["function"]
        return parsed_tool_call(function.get("name"), function.get("arguments"), call.get("id"))
    if isinstance(call.get("args"), Mapping) and call.get("name"):
        return call
    raise InvalidMessageError(f"Not a tool call: {call!r}. It has a name, args (a mapping) and an id.")
