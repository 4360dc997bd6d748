"""A conversation as a state key: `add_messages` appends, replaces and removes by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, TypedDict, cast

from twinstep.errors import InvalidUpdateError
from twinstep.graph.state import StateGraph
from twinstep.ids import new_id
from twinstep.messages import AnyMessage, BaseMessage, MessageLike, RemoveMessage, as_message
from twinstep.scope import require_scope
from twinstep.warnings import deprecate

REMOVE_ALL_MESSAGES = "__remove_all__"
"""`RemoveMessage(id=REMOVE_ALL_MESSAGES)` drops everything before it."""


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


class MessageGraph(StateGraph[list[AnyMessage], None, list[AnyMessage], list[AnyMessage]]):
    """An older spelling: a graph whose whole state is one list of messages."""

    def __init__(self) -> None:
        deprecate("MessageGraph()", "StateGraph(MessagesState)")
        super().__init__(cast(Any, Annotated[list[AnyMessage], add_messages]))
