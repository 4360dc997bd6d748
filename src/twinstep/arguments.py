"""Arguments are looked at where they are given: one of the wrong type is refused at once, and not from deep inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, TypeVar

from twinstep.errors import InvalidArgumentError

T = TypeVar("T")


def expect(what: str, value: T, kind: Any, wanted: str, *, optional: bool = True) -> T:
    """Return an argument that is of a kind, or (when it may be left out) None.

    Raises:
        InvalidArgumentError: it is something else; `what` names it and `wanted` says what to give.
    """
    if isinstance(value, kind) or (optional and value is None):
        return value
    raise InvalidArgumentError(f"{what} takes {wanted}, got {value!r}.")


def expect_function(what: str, value: T) -> T:
    """Return an argument that can be called, or None.

    Raises:
        InvalidArgumentError: it is something else.
    """
    return expect(what, value, Callable, "a function")


def expect_several(what: str, value: T, wanted: str, *, optional: bool = False) -> T:
    """Return an argument that holds several things and is no text.

    Raises:
        InvalidArgumentError: it is something else.
    """
    if isinstance(value, str | bytes):
        raise InvalidArgumentError(f"{what} takes {wanted}, got {value!r}.")
    return expect(what, value, Iterable, wanted, optional=optional)


def expect_seconds(what: str, value: T, *, optional: bool = True) -> T:
    """Return an argument that is a number of seconds above 0, or None.

    Raises:
        InvalidArgumentError: it is something else.
    """
    wanted = "a number of seconds above 0"
    expect(what, value, int | float, wanted, optional=optional)
    if value is not None and (isinstance(value, bool) or not value > 0):  # type: ignore[operator]  # it is a number
        raise InvalidArgumentError(f"{what} takes {wanted}, got {value!r}.")
    return value


def expect_type(what: str, value: T) -> T:
    """Return a schema: a class, or a type such as `dict[str, int]`; or None.

    Raises:
        InvalidArgumentError: it is something else.
    """
    if isinstance(value, str | bytes | int | float | list | tuple | set | Mapping | FunctionType):
        raise InvalidArgumentError(f"{what} takes a class such as a TypedDict, or a type such as int; got {value!r}.")
    return value
