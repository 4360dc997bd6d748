"""A conversation as a state key: `add_messages` appends, replaces and removes by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Annotated, Any, TypedDict

from twinstep.errors import InvalidUpdateError, did_you_mean
from twinstep.ids import new_id
from twinstep.messages import ROLES, AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from twinstep.scope import require_scope

REMOVE_ALL_MESSAGES = "__remove_all__"
"""`RemoveMessage(id=REMOVE_ALL_MESSAGES)` drops everything before it."""

MessageLike = Any
"""A message; a mapping with `role` and `content`; a pair `(role, content)`; or a text, said by the user."""


def as_message(value: MessageLike) -> Any:
    """Return a value as a message; messages of other libraries are returned as they are.

    Raises:
        InvalidUpdateError: it cannot be one.
    """
    if isinstance(value, BaseMessage) or (hasattr(value, "content") and hasattr(value, "type")):
        return value
    if isinstance(value, str):
        return HumanMessage(value)
    if isinstance(value, tuple) and len(value) == 2:
        return _role(value[0])(value[1])
    if isinstance(value, Mapping) and ("role" in value or "type" in value):
        return _from_mapping(dict(value))
    raise InvalidUpdateError(
        f"Not a message: {value!r}. Give a message object, {{'role': ..., 'content': ...}}, (role, text) or a text."
    )


def _role(role: str) -> type[BaseMessage]:
    if role not in ROLES:
        raise InvalidUpdateError(f"Unknown message role {role!r} ({', '.join(ROLES)})." + did_you_mean(role, ROLES))
    return ROLES[role]


def _from_mapping(value: dict[str, Any]) -> BaseMessage:
    cls = _role(value.pop("role", None) or value.pop("type", ""))
    names = {field.name for field in fields(cls)}
    if cls is AIMessage and value.get("tool_calls"):
        value["tool_calls"] = [_tool_call(call) for call in value["tool_calls"]]
    return cls(**{key: item for key, item in value.items() if key in names and item is not None})


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return a tool call as name, args and id, also from the shape of the OpenAI API."""
    if "function" not in call:
        return call
    import json

    function = call["function"]
    return {"name": function["name"], "args": json.loads(function.get("arguments") or "{}"), "id": call.get("id")}


def add_messages(left: Any = None, right: Any = None, *, format: str | None = None) -> Any:
    """Return a conversation with messages added: a message whose id is known replaces the old one in its place.

    Messages without an id are given one. `RemoveMessage` takes a message out. Called without arguments, it returns the
    reducer with the options bound.

    Args:
        left: the conversation so far: one message-like value or a list of them.
        right: what to add: the same.
        format: accepted for compatibility; messages are kept as they are.

    Raises:
        InvalidUpdateError: only one argument is given, a value is no message, or an id to remove does not exist.
    """
    if left is None and right is None:
        return partial(add_messages, format=format)
    if left is None or right is None:
        given = "right" if left is None else "left"
        raise InvalidUpdateError(f"add_messages needs both 'left' and 'right'; only '{given}' was given.")
    merged = [_with_id(message) for message in _listed(left)]
    added = [_with_id(message) for message in _listed(right)]
    for n, message in enumerate(added):
        if isinstance(message, RemoveMessage) and message.id == REMOVE_ALL_MESSAGES:
            return add_messages([], added[n + 1 :])
    places = {message.id: n for n, message in enumerate(merged)}
    gone: set[str | None] = set()
    for message in added:
        place = places.get(message.id)
        if getattr(message, "type", "") == "remove":
            if place is None:
                raise InvalidUpdateError(
                    f"Attempting to delete a message with an ID that doesn't exist ('{message.id}')"
                )
            gone.add(message.id)
        elif place is None:
            places[message.id] = len(merged)
            merged.append(message)
        else:
            gone.discard(message.id)
            merged[place] = message
    return [message for message in merged if message.id not in gone] if gone else merged


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _with_id(value: Any) -> Any:
    message = as_message(value)
    if message.id is not None:
        return message
    if isinstance(message, BaseMessage):
        return replace(message, id=new_id())
    message.id = new_id()
    return message


def push_message(message: MessageLike) -> Any:
    """Send a message, or a piece of one, to the `messages` stream, and return it as a message with an id.

    A message with the same id that the node returns later is not shown again.

    Raises:
        OutsideRunError: called outside of a run.
        InvalidUpdateError: the value is no message.
    """
    pushed = _with_id(message)
    require_scope("push_message()").message(pushed)
    return pushed


class MessagesState(TypedDict):
    """A state with one key: the conversation."""

    messages: Annotated[list[AnyMessage], add_messages]
