"""What comes of a tool call: the message that answers it, an error in words for the model, or a checked command."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from twinstep.errors import GraphValidationError, InvalidUpdateError
from twinstep.graph.message import REMOVE_ALL_MESSAGES
from twinstep.messages import ToolMessage
from twinstep.prebuilt.tools import ToolInvocationError
from twinstep.types import Command, Send

HandleErrors = bool | str | Callable[..., str] | type[Exception] | tuple[type[Exception], ...]
"""Which errors of tools become messages, and what these say."""
BLOCKS = frozenset({"text", "image_url", "image", "json", "search_result", "document", "file", "audio", "video"})
"""Types of content blocks; a list of such mappings is content, any other list is data."""


def content_of(value: Any) -> str | list[Any]:
    """Return what a tool returned as the content of a message: text and blocks as they are, data as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(b, dict) and b.get("type") in BLOCKS for b in value):
        return value
    return json.dumps(value, ensure_ascii=False, default=_jsonable)


def _jsonable(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=str)


def message_class(like: Any) -> Any:
    """Return the class of the message that answers a call of `like`: ours, or that of the library it comes from."""
    library = type(like).__module__.partition(".")[0]
    if library in ("twinstep", "builtins"):
        return ToolMessage
    return getattr(sys.modules.get(f"{library}.messages"), "ToolMessage", ToolMessage)


def is_message(value: Any) -> bool:
    """Tell whether a tool answered with a message of its own."""
    return getattr(value, "type", None) == "tool" and hasattr(value, "tool_call_id")


def default_handler(error: ToolInvocationError) -> str:
    """Tell the model about a call it got wrong; what goes wrong in a tool itself is the program's affair."""
    return error.message


class ErrorPolicy:
    """Decides which errors of tools become messages for the model; others are raised.

    Args:
        handle: False: none. True: all. A text: all, and it says that. An exception type, or several: these. A
            function: those that its first parameter is annotated with, and what it returns is said.

    Raises:
        GraphValidationError: it is something else.
    """

    def __init__(self, handle: HandleErrors) -> None:
        self.handle = handle
        self.types: tuple[type[Exception], ...]
        if isinstance(handle, bool | str):
            self.types = () if handle is False else (Exception,)
        elif isinstance(handle, type) and issubclass(handle, Exception):
            self.types = (handle,)
        elif isinstance(handle, tuple) and all(isinstance(t, type) and issubclass(t, Exception) for t in handle):
            self.types = handle
        elif callable(handle) and not isinstance(handle, type):
            self.types = _handled(handle)
        else:
            raise GraphValidationError(
                f"handle_tool_errors is a bool, a text, an exception type, a tuple of them or a function: {handle!r}."
            )

    def words(self, error: Exception) -> str:
        """Return what the model is told about an error.

        Raises:
            Exception: the error itself, when it is not to be handled.
        """
        if not isinstance(error, self.types):
            raise error
        if isinstance(self.handle, str):
            return self.handle
        if callable(self.handle) and not isinstance(self.handle, type):
            return self.handle(error)
        return f"Error: {error!r}\n Please fix your mistakes."


def _handled(handler: Callable[..., str]) -> tuple[type[Exception], ...]:
    """Return the errors that a function handles, by the annotation of its first parameter."""
    parameters = list(inspect.signature(handler).parameters)
    function = handler if inspect.isroutine(handler) else type(handler).__call__
    annotation = get_type_hints(function).get(parameters[0]) if parameters else None
    union = get_origin(annotation) in (Union, UnionType)
    types: tuple[Any, ...] = get_args(annotation) if union else (annotation,)
    if annotation is None or annotation is Any:
        return (Exception,)
    if not all(isinstance(typ, type) and issubclass(typ, Exception) for typ in types):
        raise GraphValidationError(
            f"The error handler's first parameter is annotated with {annotation!r}; it takes an exception type."
        )
    return types


def check_command(command: Command[Any], call: Mapping[str, Any], key: str, bare: bool) -> Command[Any]:
    """Return a tool's command, if it answers the call.

    Args:
        bare: whether the node was given a list of messages, so that an update is one too.

    Raises:
        InvalidUpdateError: its update has no message for the call, or is of another kind than the node's input.
    """
    update, name = command.update, call["name"]
    if (bare and isinstance(update, Mapping)) or (not bare and isinstance(update, list) and not _pairs(update)):
        raise InvalidUpdateError(
            f"Tool '{name}' returned a Command whose update is a {type(update).__name__}, but the node was given "
            f"{'a list of messages' if bare else f'a state with {key!r}'}; update what it was given."
        )
    if command.graph == Command.PARENT:
        return command
    messages: Any = update if bare else dict(update or {}).get(key)
    listed = messages if isinstance(messages, list) else [] if messages is None else [messages]
    if not any(_answers(message, call) for message in listed):
        raise InvalidUpdateError(
            f"The Command of tool '{name}' has no answer to its call {call['id']!r}: every tool call needs one. Add "
            f"ToolMessage('...', tool_call_id=...) to '{key}' of its update (InjectedToolCallId gives the id)."
        )
    return command


def _pairs(update: Sequence[Any]) -> bool:
    return bool(update) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in update)


def _answers(message: Any, call: Mapping[str, Any]) -> bool:
    if getattr(message, "id", None) == REMOVE_ALL_MESSAGES:
        return True
    return is_message(message) and message.tool_call_id == call["id"]


def joined(parts: Sequence[Any]) -> list[Any]:
    """Return updates and commands with the commands for the parent graph put together: only one can leave a graph."""
    parents = [part for part in parts if isinstance(part, Command) and part.graph == Command.PARENT]
    if len(parents) < 2:
        return list(parts)
    whole: Command[Any] = Command(
        graph=Command.PARENT,
        update=[pair for command in parents for pair in _as_pairs(command.update)],
        goto=[place for command in parents for place in _places(command.goto)],
    )
    return [*(part for part in parts if part not in parents), whole]


def _as_pairs(update: Any) -> list[tuple[str, Any]]:
    return list(update.items()) if isinstance(update, Mapping) else list(update or [])


def _places(goto: Any) -> list[Any]:
    return [goto] if isinstance(goto, str | Send) else list(goto)
