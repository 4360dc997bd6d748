"""How pydantic models take messages: as they are, or made of what looks like one."""

from __future__ import annotations

from typing import Any

from pydantic_core import core_schema

from twinstep.messages.base import BaseMessage
from twinstep.messages.convert import as_message


def message_schema(cls: type[BaseMessage]) -> core_schema.CoreSchema:
    """Return pydantic's schema of a message class.

    A message of another library is taken where a class of the same `type` is asked for.
    """

    def check(value: Any) -> Any:
        message = value if isinstance(value, cls) else as_message(value)
        if isinstance(message, cls) or (not isinstance(message, BaseMessage) and message.type == cls.type):
            return message
        raise ValueError(f"a {cls.__name__} was expected, got a {type(message).__name__}")

    shape = core_schema.typed_dict_schema(
        {
            "role": core_schema.typed_dict_field(core_schema.str_schema()),
            "content": core_schema.typed_dict_field(
                core_schema.union_schema([core_schema.str_schema(), core_schema.list_schema(core_schema.any_schema())])
            ),
        }
    )
    return core_schema.json_or_python_schema(
        json_schema=core_schema.no_info_after_validator_function(check, shape),
        python_schema=core_schema.no_info_plain_validator_function(check),
    )
