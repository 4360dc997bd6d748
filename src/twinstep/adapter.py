"""Validation of values against types, by pydantic."""

from __future__ import annotations

import sys
import typing
from functools import lru_cache
from typing import Any

import typing_extensions


@lru_cache(maxsize=1024)
def adapter(type: Any) -> Any:
    """Return the pydantic `TypeAdapter` of a type; pydantic is loaded when it is first needed."""
    from pydantic import TypeAdapter

    return TypeAdapter(portable(type))


def portable(type: Any, within: tuple[Any, ...] = ()) -> Any:
    """Return a type in which every `typing.TypedDict` is one of typing_extensions.

    Before Python 3.12 pydantic cannot work with those of `typing`, which do not know their required keys exactly. One
    that contains itself (it stands in `within`) is a plain dict there.
    """
    if sys.version_info >= (3, 12):
        return type
    if type in within:
        return dict[str, Any]
    if typing.is_typeddict(typing.get_origin(type)):  # with type arguments, which are not checked then
        type = typing.get_origin(type)
    if typing.is_typeddict(type) and type.__module__ != "typing_extensions":
        hints = typing.get_type_hints(type, include_extras=True)
        fields = {
            key: hint
            if typing.get_origin(hint) in (typing.Required, typing.NotRequired)
            else (typing.Required if key in type.__required_keys__ else typing.NotRequired)[
                portable(hint, (*within, type))
            ]
            for key, hint in hints.items()
        }
        return typing_extensions.TypedDict(type.__name__, fields)  # type: ignore[operator]  # made at run time
    arguments = typing.get_args(type)
    if not arguments or typing.get_origin(type) in (typing.Annotated, typing.Literal):
        return type
    changed = tuple(portable(argument, within) for argument in arguments)
    return type if changed == arguments else typing.get_origin(type)[changed]
