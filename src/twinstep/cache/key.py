"""Under which key a result is kept: what the arguments and the function contribute to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

from twinstep.errors import EncodingError
from twinstep.serde import Serializer

_serializer: Final = Serializer()
_OBJECT_DEPTH: Final = 3
"""Levels of objects in objects whose attributes count; deeper ones count by their type alone."""


def default_cache_key(*args: Any, **kwargs: Any) -> str:
    """Return a digest of arguments that is the same in every process.

    The order of keyword arguments, dict keys and set elements does not matter; types do: `1`, `1.0` and `True` differ.

    Raises:
        EncodingError: an argument cannot be encoded; the message names its place.
    """
    try:
        _serializer.dumps(args, at="args")
        _serializer.dumps(kwargs, at="kwargs")
    except EncodingError as error:
        raise EncodingError(
            f"The cache key of a call cannot be made from its arguments: {error} "
            "Or give the CachePolicy a key_func that makes the key from what matters."
        ) from error
    return _serializer.digest_call(args, kwargs)


def function_identity(func: Callable[..., Any]) -> str:
    """Return a text that tells a function from others, with what it has captured.

    It holds the module and name, and a digest of the code, the defaults and the captured values: those of closures, the
    attributes of the object a method is bound to or of a callable object, the arguments of a partial. It is the same
    in every process that runs the same Python version and source. Globals that the code refers to count by name only.

    Captured values count as they are now. Make the identity once, when the function is handed over, and keep it.
    """
    return f"{_name(func)}:{_Walk().digest(func).hex()}"


def _name(func: Any) -> str:
    while isinstance(func, (partial, MethodType)):
        func = func.func if isinstance(func, partial) else func.__func__
    named = func if hasattr(func, "__qualname__") else type(func)
    return f"{named.__module__}.{named.__qualname__}"


class _Walk:
    """Digests a function from its captured values upwards, each object once, so that cycles end."""

    def __init__(self) -> None:
        # The object is kept beside its digest, so that its id is not given to another one meanwhile.
        self._seen: dict[tuple[int, int], tuple[Any, bytes]] = {}

    def digest(self, value: Any, depth: int = 0) -> bytes:
        """Return 16 bytes that depend on the content of a value and not on its address."""
        if not isinstance(value, _CODE) and _encodes(value):
            return _serializer.digest(value)
        place = id(value), depth
        if place not in self._seen:
            self._seen[place] = value, b"cycle %d" % len(self._seen)
            parts = [type(value).__qualname__, *self._parts(value, depth)]
            self._seen[place] = value, _serializer.digest(parts)
        return self._seen[place][1]

    def _parts(self, value: Any, depth: int) -> Iterator[str | bytes]:
        captured: list[Any] = []
        match value:
            case FunctionType():
                captured = [value.__code__, value.__defaults__, value.__kwdefaults__, *(value.__closure__ or ())]
                yield from (value.__module__ or "", value.__qualname__)
            case CodeType():
                captured = [value.co_names, value.co_varnames, value.co_flags, *value.co_consts]
                yield value.co_code
            case CellType():
                captured = _contents(value)
            case MethodType():
                captured = [value.__func__, value.__self__]
            case BuiltinFunctionType():
                captured = [value.__self__]
                yield value.__qualname__
            case partial():
                captured = [value.func, value.args, value.keywords]
            case type():
                captured = _local_functions(value)
                yield from (value.__module__, value.__qualname__)
            case ModuleType():
                yield value.__name__
            case list() | tuple():
                captured = list(value)
            case dict():
                captured = [part for pair in value.items() for part in pair]
            case set() | frozenset():
                yield from sorted(self.digest(element, depth) for element in value)
            case _:
                captured = _attributes(value) if depth < _OBJECT_DEPTH else []
                depth += 1
                yield type(value).__module__
        for part in captured:
            yield self.digest(part, depth)


_CODE: Final = (FunctionType, CodeType, CellType, MethodType, BuiltinFunctionType, partial, type, ModuleType)


def _encodes(value: Any) -> bool:
    try:
        _serializer.dumps(value)
    except EncodingError:
        return False
    return True


def _contents(cell: CellType) -> list[Any]:
    """Return what a cell holds: nothing yet, when the name is bound after the function is made."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _local_functions(cls: type) -> list[Any]:
    """Return the methods of a class that a function made, which may have captured values; others are known by name."""
    if "<locals>" not in cls.__qualname__:
        return []
    return [member for member in vars(cls).values() if isinstance(member, FunctionType)]


def _attributes(value: Any) -> list[Any]:
    """Return the names and values of an object's slots and attributes, its number or text, and what calling it runs."""
    members = (item for cls in type(value).__mro__ for item in vars(cls).items())
    slots = {name: getattr(value, name, None) for name, member in members if isinstance(member, MemberDescriptorType)}
    state = {**slots, **getattr(value, "__dict__", {})}
    plain = value.__getnewargs__() if isinstance(value, (int, float, str, bytes)) else ()
    call = [type(value).__call__] if callable(value) else []
    return [part for pair in state.items() for part in pair] + [*plain, *call]
