"""How messages are stored: content and id, and of the other fields those that say something."""

from __future__ import annotations

from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

from twinstep.messages.base import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from twinstep.messages.chunk import AIMessageChunk
from twinstep.serde.registry import register_shape
from twinstep.serde.shapes import Shape


def shape_of(cls: type[BaseMessage]) -> Shape:
    """Return how messages of a class are taken apart and put together: two parts for most, three at most."""
    rest = [each for each in fields(cls) if each.name not in ("content", "id")]
    names = [each.name for each in rest]
    defaults = tuple(f.default_factory() if f.default_factory is not MISSING else f.default for f in rest)
    values_of = attrgetter(*names)

    def parts(message: Any) -> tuple[Any, ...]:
        values = values_of(message)
        if values == defaults:
            return message.content, message.id
        told = {name: value for name, value, d in zip(names, values, defaults, strict=True) if value != d}
        return message.content, message.id, told

    def build(content: Any, id: Any, told: Any = None) -> BaseMessage:
        return cls(content, id=id) if told is None else cls(content, id=id, **told)

    return Shape(parts, build)


for _cls in (HumanMessage, SystemMessage, AIMessage, AIMessageChunk, ToolMessage, RemoveMessage):
    register_shape(_cls, shape_of(_cls), name=f"twinstep.messages:{_cls.__name__}")
