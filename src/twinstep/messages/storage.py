"""How messages are stored: content and id, and of the other fields those that say something."""

from __future__ import annotations

from typing import Any

from twinstep.messages.base import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    given,
)
from twinstep.messages.chunk import AIMessageChunk
from twinstep.serde.registry import register_shape
from twinstep.serde.shapes import Shape


def shape_of(cls: type[BaseMessage]) -> Shape:
    """Return how messages of a class are put together; they are taken apart all alike."""

    def build(content: Any, id: Any, told: Any = None) -> BaseMessage:
        message: BaseMessage = object.__new__(cls)
        message.content = content
        if id is not None:
            message.id = id
        if told is not None:
            if type(told) is not dict:
                raise TypeError("the fields of a message are no mapping")
            message.__dict__.update(told)
        return message

    return Shape(_parts, build)


def _parts(message: Any) -> tuple[Any, ...]:
    held = message.__dict__
    if len(held) == 2 and "id" in held and "content" in held:
        return held["content"], held["id"]
    told = given(message)
    told.pop("content", None)
    told.pop("id", None)
    return (message.content, message.id, told) if told else (message.content, message.id)


for _cls in (HumanMessage, SystemMessage, AIMessage, AIMessageChunk, ToolMessage, RemoveMessage):
    register_shape(_cls, shape_of(_cls), name=f"twinstep.messages:{_cls.__name__}")
