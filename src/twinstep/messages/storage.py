"""How messages are stored: content and id, and of the other fields those that say something.

Instances of subclasses that a program registers are stored like those of any other class: with all their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import Any, Final

from twinstep.messages.base import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from twinstep.messages.chunk import AIMessageChunk
from twinstep.messages.fields import STANDING, encoded, others, told
from twinstep.serde.registry import register_shape
from twinstep.serde.shapes import SHAPERS, Bulk, Row, Shape, plain_shape


def shape_of(cls: type[BaseMessage]) -> Shape:
    """Return how messages of a class are put together; they are taken apart all alike."""
    names = cls._defaults.keys() - STANDING

    def build(content: Any, id: Any, more: Any = None) -> BaseMessage:
        if more is not None and (type(more) is not dict or not more.keys() <= names):
            raise TypeError(f"{more!r} are no fields of a {cls.__name__}")
        message: BaseMessage = object.__new__(cls)
        message.content, message.id, message._more = content, id, more
        return message

    return Shape(_parts, build, _BULK)


def _parts(message: Any) -> tuple[Any, ...]:
    if message._more is not None and (more := told(message)):
        return message.content, message.id, more
    return message.content, message.id


def _row(message: Any) -> Row | None:
    content, id = message.content, message.id
    return (content, id, encoded(message)) if type(content) is str and type(id) in _ID else None


def _make(classes: Sequence[type], rows: Sequence[Row]) -> list[Any]:
    messages: list[Any] = list(map(object.__new__, classes))
    for message, (content, id, more) in zip(messages, rows, strict=True):
        message.content, message.id, message._more = content, id, more
    return messages


def _differing(messages: Sequence[Any], rows: Sequence[Row]) -> list[int]:
    return [
        place
        for place, message, (content, id, more) in zip(range(len(rows)), messages, rows, strict=True)
        if message.content is not content or message.id is not id or message._more is not more
    ]


_ID: Final = (str, NoneType)
_BULK: Final = Bulk(_row, _make, _differing, blank=(object(), None, None))


def subclass_shape(cls: type[BaseMessage]) -> Shape:
    """Return how messages of a subclass are taken apart and put together."""
    names = cls._defaults.keys() - STANDING
    plain = plain_shape(cls, leaving=names)

    def parts(message: Any) -> tuple[Any, ...]:
        attributes = dict(plain.parts(message)[0])
        del attributes["_more"]
        return ({**message._defaults, **attributes, **(others(message) or {})},)

    def build(attributes: Any) -> Any:
        if type(attributes) is not dict:
            raise TypeError("the attributes are no mapping")
        more = {name: attributes.pop(name) for name in names & attributes.keys()}
        return plain.build({**attributes, "_more": more})

    return Shape(parts, build)


SHAPERS[BaseMessage] = subclass_shape
for _cls in (HumanMessage, SystemMessage, AIMessage, AIMessageChunk, ToolMessage, RemoveMessage):
    register_shape(_cls, shape_of(_cls), name=f"twinstep.messages:{_cls.__name__}")
