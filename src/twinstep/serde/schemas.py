"""The types that annotations name: a program's schemas and signatures say what its stored values may be."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

from twinstep.serde.registry import ensure_registered
from twinstep.serde.shapes import is_data, is_model

# Classes of these packages are bases of everything: their subclasses are not a schema's.
_FOUNDATIONS: Final = frozenset({*sys.stdlib_module_names, "pydantic", "numpy"})
# Nothing in the fields of these has to be registered, and to look there takes long.
_PLAIN: Final = "twinstep.messages."


def register_schema_types(schema: Any) -> None:
    """Register every class that a schema or a function's annotations name.

    Walks TypedDicts, dataclasses, pydantic models, named tuples, generic aliases, unions, literals, `Annotated`, type
    aliases and functions, and the fields of what it finds. Registers dataclasses, models, enums, named tuples,
    exceptions and subclasses of builtins, with their subclasses as known now. Never raises: an annotation that cannot
    be resolved is left out, and a value of its type is refused when it is stored.

    Args:
        schema: a class, an annotation, or a callable.
    """
    seen: dict[int, Any] = {}  # keeps what it names alive, so that no id is given twice
    waiting: list[Any] = [schema]
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen[id(found)] = found
            with suppress(Exception):  # an odd alias, or an annotation of the program that raises
                waiting += _named_by(found)


def _named_by(found: Any) -> Iterable[Any]:
    """Register what an annotation names directly, and return the annotations inside of it."""
    if isinstance(found, type):
        return _class(found)
    if isinstance(found, list | tuple):  # the parameters of a Callable
        return found
    if isinstance(found, Enum):  # in a Literal
        return [type(found)]
    if hasattr(found, "__metadata__"):  # Annotated
        return [found.__origin__]
    if isinstance(found, partial):
        return [found.func]
    if isinstance(found, TypeVar):
        return [found.__bound__, *found.__constraints__]
    if get_args(found):
        return [get_origin(found), *get_args(found)]
    for inner in ("__supertype__", "__value__"):  # a NewType, an alias made by a type statement
        if hasattr(found, inner):
            return [getattr(found, inner)]
    return _signature(found) if callable(found) else ()


def _signature(func: Any) -> Iterable[Any]:
    if not isinstance(func, FunctionType | MethodType):
        func = type(func).__call__
    inner = inspect.unwrap(func)
    return _hints(inner, inspect.getclosurevars(inner).nonlocals if inner.__closure__ else {})


def _class(cls: type) -> Iterable[Any]:
    data = issubclass(cls, BaseException) or is_data(cls)
    if data:
        ensure_registered(cls)
    if cls.__module__.partition(".")[0] in _FOUNDATIONS:
        return ()
    inner: list[Any] = type.__subclasses__(cls)
    if is_typeddict(cls) or (data and not cls.__module__.startswith(_PLAIN)):
        inner += _hints(cls, {})
    if is_model(cls):
        inner += [field.annotation for field in cls.model_fields.values()]  # type: ignore[attr-defined]
    return inner


def _hints(obj: Any, local: Mapping[str, Any]) -> list[Any]:
    """Return the resolved annotations of a class or function, without those that cannot be resolved."""
    try:
        return list(get_type_hints(obj, localns=dict(local) or None, include_extras=True).values())
    except Exception:
        owners = obj.__mro__ if isinstance(obj, type) else (obj,)
        return [hint for owner in owners for hint in _hints_one_by_one(owner, local)]


def _hints_one_by_one(owner: Any, local: Mapping[str, Any]) -> Iterator[Any]:
    names = vars(sys.modules[owner.__module__])
    for name, annotation in getattr(owner, "__annotations__", {}).items():
        holder = SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            yield from get_type_hints(holder, names, dict(local), include_extras=True).values()
