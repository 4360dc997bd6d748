"""`task`: functions whose results are recorded, so that a resumed run does not repeat them."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, overload

from twinstep.arguments import expect, expect_function
from twinstep.errors import EncodingError, GraphValidationError
from twinstep.pregel.action import Action
from twinstep.pregel.executors import Where, placed
from twinstep.pregel.futures import call
from twinstep.serde import register_schema_types
from twinstep.types import CachePolicy, Retry, RetryPolicy, TaskFuture, Timeout, TimeoutPolicy, retry_policies
from twinstep.warnings import renamed

P = ParamSpec("P")
T = TypeVar("T")


class TaskFunction(Generic[P, T]):
    """A function made into a task; calling it starts the task and returns its handle.

    Attributes:
        func: the function itself, unchanged.
        name: shown in streams and errors, and part of the task's identity.
    """

    retry_policy: tuple[RetryPolicy, ...]
    cache_policy: CachePolicy | None

    def __init__(
        self,
        func: Callable[P, T],
        *,
        name: str | None = None,
        key: Callable[P, str] | None = None,
        retry_policy: Retry = None,
        cache_policy: CachePolicy | None = None,
        timeout: Timeout = None,
        executor: Where = None,
    ) -> None:
        self.func = func
        self.action: Action = placed(Action(func, taken=0), executor)
        if self.action.is_generator:
            raise GraphValidationError(
                f"Task '{self.action.name}' is a generator, which has no result to record: return a list instead, and "
                "send what should be seen at once to get_stream_writer()."
            )
        self.name: str = expect("task(name=...)", name, str, "a name") or self.action.name
        self.key: Callable[P, str] | None = expect_function("task(key=...)", key)
        self.retry_policy, self.cache_policy = retry_policies(retry_policy), CachePolicy.of(cache_policy)
        self.timeout: TimeoutPolicy | None = TimeoutPolicy.of(timeout)
        if cache_policy is not None:
            self.action.cache_namespace()  # what the function has captured counts as it is now
        register_schema_types(func)
        functools.update_wrapper(self, func, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[T]:
        """Start the task.

        Raises:
            OutsideRunError: called outside of an entrypoint, graph node or task.
        """
        key = None if self.key is None else self.key(*args, **kwargs)
        return call(self.action, self.name, args, kwargs, key, self.retry_policy, self.cache_policy, self.timeout)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind a task that was defined in a class to an instance."""
        return self if instance is None else functools.partial(self, instance)

    def clear_cache(self, cache: Any) -> None:
        """Forget this task's cached results."""
        cache.clear([self.action.cache_namespace()])

    async def aclear_cache(self, cache: Any) -> None:
        """Do what `clear_cache` does, on the running event loop."""
        await cache.aclear([self.action.cache_namespace()])

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it is what its name stands for, as a function is

    def __reduce__(self) -> str:
        """Let it be pickled as a function is: by the name under which a module has it.

        Raises:
            EncodingError: no module has it under its function's name.
        """
        module, name = self.func.__module__, getattr(self.func, "__qualname__", "")
        try:
            found = operator.attrgetter(name)(sys.modules[module])
        except (KeyError, AttributeError):
            found = None
        if found is not self:
            raise EncodingError(
                f"Task '{self.name}' cannot be pickled: that is done by name, and '{module}' has no '{name}' at its "
                "top level that is this task. Decorate the function where it is defined, at the top of a module."
            )
        return name

    def __repr__(self) -> str:
        return f"<task {self.name}>"


@overload
def task(
    func: Callable[P, Awaitable[T]],
    *,
    name: str | None = None,
    key: Callable[..., str] | None = None,
    retry_policy: Retry = None,
    cache_policy: CachePolicy | None = None,
    timeout: Timeout = None,
    executor: Where = None,
    retry: Retry = None,
) -> TaskFunction[P, T]: ...
@overload
def task(
    func: Callable[P, T],
    *,
    name: str | None = None,
    key: Callable[..., str] | None = None,
    retry_policy: Retry = None,
    cache_policy: CachePolicy | None = None,
    timeout: Timeout = None,
    executor: Where = None,
    retry: Retry = None,
) -> TaskFunction[P, T]: ...
@overload
def task(
    func: None = None,
    *,
    name: str | None = None,
    key: Callable[..., str] | None = None,
    retry_policy: Retry = None,
    cache_policy: CachePolicy | None = None,
    timeout: Timeout = None,
    executor: Where = None,
    retry: Retry = None,
) -> _Decorator: ...
def task(
    func: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    key: Callable[..., str] | None = None,
    retry_policy: Retry = None,
    cache_policy: CachePolicy | None = None,
    timeout: Timeout = None,
    executor: Where = None,
    retry: Retry = None,
) -> Any:
    """Make a function a task, to be called in entrypoints, graph nodes and other tasks.

    A call returns a handle at once: `.result()` waits for it in synchronous code, `await` in asynchronous code, and
    tasks that are called before any is waited for run in parallel. With a checkpointer the result is stored before
    anybody gets it; a resumed run finds it by the place of the call and the hash of its arguments. Failures that the
    caller catches are recorded too. A task runs at least once and is recorded exactly once.

    Args:
        func: a function or coroutine function; its result must be storable when there is a checkpointer.
        name: name of the task instead of the function's.
        key: makes a name for the call from its arguments, when the order of calls may change from run to run.
        retry_policy: one or several policies; the first that matches an error decides. `retry` is the older spelling.
        cache_policy: keeps results beyond the run, if the graph or entrypoint has a cache.
        timeout: seconds (or timedelta, or `TimeoutPolicy`) that one attempt may take.
        executor: `inline` (on an event loop too), `thread`, `process` (can be killed), or any `Executor`.

    Raises:
        GraphValidationError: the function is a generator.

    Example:
        >>> from twinstep.func import entrypoint, task
        >>> @task
        ... def double(x: int) -> int: return 2 * x
        >>> @entrypoint()
        ... def total(numbers: list[int]) -> int:
        ...     return sum(future.result() for future in [double(n) for n in numbers])
        >>> total.invoke([1, 2, 3])
        12
    """
    make = functools.partial(
        TaskFunction,
        name=name,
        key=key,
        retry_policy=renamed("retry", "retry_policy", retry, retry_policy),
        cache_policy=cache_policy,
        timeout=timeout,
        executor=executor,
    )
    return make if func is None else make(func)


class _Decorator:
    """The type of `task(...)` with options: it keeps parameters and result of what it decorates."""

    @overload
    def __call__(self, func: Callable[P, Awaitable[T]], /) -> TaskFunction[P, T]: ...
    @overload
    def __call__(self, func: Callable[P, T], /) -> TaskFunction[P, T]: ...
    def __call__(self, func: Callable[..., Any], /) -> Any:
        """Make a function a task."""
        return cast(Any, TaskFunction)(func)
