"""What the tests of tools and agents share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinstep.graph import START, MessagesState, StateGraph
from twinstep.messages import AIMessage


def call(name: str, args: Any = None, id: str = "1") -> Any:
    """Make a tool call."""
    return {"name": name, "args": {} if args is None else args, "id": id, "type": "tool_call"}


def asked(*calls: Any) -> AIMessage:
    """Make a model's message that asks for tools."""
    return AIMessage("", tool_calls=list(calls))


def in_graph(node: Any, state: Any = MessagesState, name: str = "tools", **options: Any) -> Any:
    """Compile a graph of one node."""
    return StateGraph(state).add_node(name, node).add_edge(START, name).compile(**options)


def shown(messages: list[Any]) -> list[tuple[str, str, Any]]:
    """Show tool messages as call id, status and content."""
    return [(message.tool_call_id, message.status, message.content) for message in messages]


def refusal(make: Callable[[], Any]) -> str:
    """Return the message of the error that a call raises."""
    try:
        made = make()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError(f"nothing was raised: {made!r}")
