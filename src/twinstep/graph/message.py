"""Conversations in graphs: `MessagesState`, and `push_message` to show a message while a node runs."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict, cast

from twinstep.graph.state import StateGraph
from twinstep.messages import AnyMessage, MessageLike, is_message
from twinstep.messages.conversation import REMOVE_ALL_MESSAGES, add_messages, identified
from twinstep.scope import require_scope
from twinstep.warnings import deprecate

__all__ = ["REMOVE_ALL_MESSAGES", "MessageGraph", "MessagesState", "add_messages", "push_message"]


def push_message(message: MessageLike, *, state_key: str | None = "messages") -> Any:
    """Send a message, or a piece of one, to the `messages` stream and to the state; return it as a message with an id.

    A message with the same id that the node returns later is not shown again. In a task it goes to the state of the
    node that has called the task, also when the task is found on record.

    Args:
        message: a message, or what can be made one.
        state_key: the key of the state that it is added to, before what the node returns; None for none. A state that
            has no `messages` with a reducer (an entrypoint, say) does not get it.

    Raises:
        OutsideRunError: called outside of a run.
        InvalidUpdateError: the value is no message; the state has no such key, or one without a reducer.
    """
    pushed = message if is_message(message) and message.id is not None else identified(message)[0]
    scope = require_scope("push_message()")
    scope.message(pushed)
    if state_key is not None:
        scope.push(state_key, [pushed])
    return pushed


class MessagesState(TypedDict):
    """A state with one key: the conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


class MessageGraph(StateGraph[list[AnyMessage], None, list[AnyMessage], list[AnyMessage]]):
    """An older spelling: a graph whose whole state is one list of messages."""

    def __init__(self) -> None:
        deprecate("MessageGraph()", "StateGraph(MessagesState)")
        super().__init__(cast(Any, Annotated[list[AnyMessage], add_messages]))
