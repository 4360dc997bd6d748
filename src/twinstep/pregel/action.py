"""User code as the engine calls it: a callable, its colour, and what it wants injected."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from twinstep.errors import GraphValidationError
from twinstep.scope import Scope

INJECTABLE: dict[str, Callable[[Any], Any]] = {
    "config": lambda scope: scope.config(),
    "writer": lambda scope: scope.write,
    "store": lambda scope: scope.run.store,
    "previous": lambda scope: scope.previous(),
    "runtime": lambda scope: scope.runtime(),
    "error": lambda scope: scope.failure,
}
"""What a parameter of this name receives, whatever its annotation."""
_COLOURED = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
"""The marks of code that is not run by just calling it."""


class Action:
    """A callable that was looked at once.

    Args:
        fn: function, coroutine function, method, partial, or callable object; or an object with `invoke` and
            `ainvoke` (a compiled graph, an entrypoint, any runnable), which is called with `(input, config)`.
        taken: number of leading parameters that the caller fills and that are never injected.

    Attributes:
        name: the name of the code.
        is_async: whether it must be awaited.
        is_generator: whether it yields; the last value it yields is then its result.
        inject: the injected parameters, with their position (None: keyword only).
        inline: whether it is quick, so that an event loop runs it in place although it is synchronous.
    """

    __slots__ = (
        "_namespace",
        "fn",
        "inject",
        "inline",
        "is_async",
        "is_generator",
        "is_runnable",
        "keeps_default",
        "name",
    )

    def __init__(self, fn: Any, *, taken: int = 1) -> None:
        self.fn: Any = fn
        self._namespace: tuple[str, ...] | None = None
        self.inline: bool = False
        self.keeps_default: bool = False
        self.is_async: bool = False
        self.is_generator: bool = False
        self.name: str = name_of(fn)
        as_written = is_as_written(fn)
        self.is_runnable: bool = not as_written and _is_runnable(fn)
        if not callable(fn) and not self.is_runnable:
            raise GraphValidationError(
                f"Expected a function, a callable object or a runnable, got {type(fn).__name__}."
            )
        if self.is_runnable:
            # our own graphs find the run they are nested in by themselves; a stranger has to be told
            self.inject: dict[str, int | None] = {} if hasattr(fn, "spec") else {"config": None}
            return
        self.inject = _injected(fn, taken)
        self.keeps_default = "previous" in self.inject and _has_default(fn, "previous")
        if as_written and not fn.__code__.co_flags & _COLOURED:
            return
        code = unwrap(fn)
        if not inspect.isroutine(code) and not inspect.isclass(code):
            code = unwrap(type(code).__call__)
        self.is_async = inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)
        self.is_generator = inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)
        if inspect.isgeneratorfunction(code):
            self.fn = functools.partial(_last, fn)
        elif self.is_generator:
            self.fn = functools.partial(_alast, fn)

    @property
    def code(self) -> Any:
        """The user's code, wherever it runs."""
        return self.fn

    def cache_namespace(self) -> tuple[str, ...]:
        """Return where cached results are kept: by the code and what it had captured when it was first asked."""
        if self._namespace is None:
            from twinstep.cache.key import function_identity

            self._namespace = ("twinstep", function_identity(self.fn))
        return self._namespace

    def kwargs(self, scope: Scope) -> dict[str, Any]:
        """Return the injected arguments for a call in which all of them are free."""
        return {name: INJECTABLE[name](scope) for name in self.inject}

    def fill(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return `kwargs` with the injected arguments that the caller has not given."""
        given = len(args)
        extra = {
            name: INJECTABLE[name](scope)
            for name, position in self.inject.items()
            if name not in kwargs and (position is None or position >= given)
        }
        if self.keeps_default and extra.get("previous", self) is None:
            del extra["previous"]
        return {**kwargs, **extra} if extra else kwargs


def _last(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a generator function to its end and return the last value it yields."""
    last = deque(fn(*args, **kwargs), maxlen=1)
    return last[0] if last else None


async def _alast(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run an asynchronous generator function to its end and return the last value it yields."""
    last: deque[Any] = deque(maxlen=1)
    async for value in fn(*args, **kwargs):
        last.append(value)
    return last[0] if last else None


def unwrap(fn: Any) -> Any:
    """Return the function behind partials and bound methods, where the colour and the code are."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn.__func__ if isinstance(fn, MethodType) else fn


def is_as_written(fn: Any) -> bool:
    """Tell whether a callable is a function of which its code says all: nothing, such as a mark, is attached to it."""
    return type(fn) is FunctionType and not fn.__dict__


def _is_runnable(fn: Any) -> bool:
    return not inspect.isroutine(fn) and hasattr(fn, "invoke") and hasattr(fn, "ainvoke")


def name_of(fn: Any) -> str:
    """Return the name a user would give to a callable."""
    name = getattr(fn, "name", None) if not isinstance(fn, FunctionType) else None
    if isinstance(name, str) and name:
        return name
    if isinstance(fn, functools.partial):
        return name_of(fn.func)
    return getattr(fn, "__name__", None) or type(fn).__name__


def _injected(fn: Any, taken: int) -> dict[str, int | None]:
    if is_as_written(fn) and INJECTABLE.keys().isdisjoint(fn.__code__.co_varnames):
        return {}
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # some builtins have no signature; they want nothing injected
        return {}
    found: dict[str, int | None] = {}
    for position, p in enumerate(parameters):
        if p.name not in INJECTABLE:
            continue
        if p.kind is p.KEYWORD_ONLY:
            found[p.name] = None
        elif p.kind is p.POSITIONAL_OR_KEYWORD and position >= taken:
            found[p.name] = position
    return found


def _has_default(fn: Any, name: str) -> bool:
    return inspect.signature(fn).parameters[name].default is not inspect.Parameter.empty


def holdable(error: BaseException) -> BaseException:
    """Return an error of a function that a future can hold: one that holds a `StopIteration` would never be done."""
    if not isinstance(error, StopIteration):
        return error
    held = RuntimeError("A function raised StopIteration; next(..., default) does not.")
    held.__cause__ = error
    return held
