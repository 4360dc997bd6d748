"""Exceptions: a failure can always be recorded, whatever it carries."""

from __future__ import annotations

import builtins
from types import NoneType
from typing import Any, Final

from twinstep import errors
from twinstep.errors import RecordedError
from twinstep.serde.kinds import Kind, is_builtin, qualified
from twinstep.serde.registry import find, register_type, registered_name

Failure = tuple[str, str, list[Any], dict[str, Any]]


def failure_parts(error: BaseException) -> Failure:
    """Take an exception apart: registered name, text, arguments and attributes; any of these may be unstorable."""
    cls = type(error)
    return registered_name(cls) or qualified(cls), _text(error), _arguments(error), dict(error.__dict__)


def _arguments(error: BaseException) -> list[Any]:
    if isinstance(error, OSError) and error.filename is not None and len(error.args) == 2:
        # `args` leaves out the file names, the constructor takes them.
        return [*error.args, error.filename, None, error.filename2]
    return list(error.args)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a broken __str__ must not hide the failure
        return ""


def _build(name: str, text: str, args: list[Any], attributes: dict[str, Any] | None = None) -> BaseException:
    if not (type(text) is str and type(args) is list and type(attributes) in (dict, NoneType)):
        raise TypeError("the parts of an exception have the wrong types")
    entry = find(name)
    cls = entry.cls if entry is not None else _loaded(name)
    made = _make(cls, args) if cls is not None and issubclass(cls, BaseException) else None
    if made is None:
        made = RecordedError(f"{name}: {text}", type_name=name)
        attributes = {"__notes__": attributes["__notes__"]} if attributes and "__notes__" in attributes else None
    if attributes:
        made.__dict__.update(attributes)
    return made


def _loaded(name: str) -> type[BaseException] | None:
    """Return the exception class of this name among those the program has defined.

    To be raised is what an exception class is made for, so it needs no registration; nothing is imported or called.
    """
    seen: set[type[BaseException]] = set()
    waiting: list[type[BaseException]] = [BaseException]
    while waiting:
        cls = waiting.pop()
        if qualified(cls) == name:
            return cls
        new = set(type.__subclasses__(cls)) - seen
        seen |= new
        waiting.extend(new)
    return None


def _is_error(value: Any) -> bool:
    return isinstance(value, BaseException)


# Builtin constructors that look into their arguments: objects of the program's classes must not get there.
_CURIOUS: Final = (OSError, UnicodeError, SyntaxError, BaseExceptionGroup)


def _make(cls: type[BaseException], args: list[Any]) -> BaseException | None:
    """Make an exception with the constructor of the builtin it extends; None when that refuses the arguments."""
    root: Any = next(base for base in cls.__mro__ if is_builtin(base))
    if issubclass(cls, _CURIOUS) and any(registered_name(type(arg)) and not _is_error(arg) for arg in args):
        return None
    try:
        made: BaseException = root.__new__(cls, *args)
        root.__init__(made, *args)
    except (TypeError, ValueError):
        return None
    return made


FAILURE: Final = Kind(41, "exception", _build)
"""An exception: name, text, arguments, and its attributes when it has any."""

for _module in (builtins, errors):
    for _cls in list(vars(_module).values()):
        if isinstance(_cls, type) and issubclass(_cls, BaseException):
            register_type(_cls)
register_type(errors.NodeError)
register_type(errors.ErrorCode)
