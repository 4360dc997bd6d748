"""Where code runs: in place, in a thread, in a process of its own, or wherever an executor takes it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, Literal

from twinstep.errors import GraphValidationError, did_you_mean
from twinstep.pregel.action import Action, holdable
from twinstep.pregel.task import Task
from twinstep.scope import require_scope
from twinstep.threads import THREADS

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from twinstep.pregel.remote import Told

Where = Literal["inline", "thread", "process"] | Executor | None
"""Where code runs; None: where the driver sees fit."""
KINDS = ("inline", "thread", "process")


class Placed(Action):
    """Code that runs elsewhere: to the engine a coroutine that waits for it; cancelling it gives the code up.

    Attributes:
        inner: the code itself.
    """

    __slots__ = ("inner",)
    inner: Action
    fn: Any
    inject: dict[str, int | None]
    name: str
    is_async: bool
    is_generator: bool
    is_runnable: bool
    inline: bool
    keeps_default: bool

    def __init__(self, inner: Action, run: Callable[..., Any], inject: dict[str, int | None]) -> None:
        self.inner, self.fn, self.inject = inner, run, inject
        self.name, self.is_async, self.is_generator, self.is_runnable = inner.name, True, False, False
        self.inline, self._namespace, self.keeps_default = False, None, inner.keeps_default

    @property
    def code(self) -> Any:
        return self.inner.code

    def cache_namespace(self) -> tuple[str, ...]:
        return self.inner.cache_namespace()


def placed(action: Action, where: Where) -> Action:
    """Return an action that runs where it is told to.

    Raises:
        GraphValidationError: there is no such place, or the code cannot get there.
    """
    if where is None:
        return action
    if hasattr(action.fn, "spec"):
        raise GraphValidationError(f"'{action.name}' is a graph: give executor= to its nodes and tasks instead.")
    if where == "inline":
        action.inline = True
        return action
    from concurrent.futures import ThreadPoolExecutor

    if where == "thread" or isinstance(where, ThreadPoolExecutor):
        pool = where if isinstance(where, ThreadPoolExecutor) else None

        async def in_thread(*args: Any, **kwargs: Any) -> Any:
            from asyncio import wrap_future

            return await wrap_future(_in_thread(pool, _call, action, args, kwargs))

        return Placed(action, in_thread, action.inject)
    if where != "process" and not isinstance(where, Executor):
        raise GraphValidationError(
            f"executor={where!r} of '{action.name}': it is one of {', '.join(KINDS)}, or a concurrent.futures.Executor."
            + did_you_mean(where, KINDS)
        )
    reference, executor = reference_of(action), where

    async def elsewhere(*args: Any, **kwargs: Any) -> Any:
        return await (
            _process(reference, args, kwargs) if executor == "process" else _job(executor, reference, args, kwargs)
        )

    return Placed(action, elsewhere, {})


def reference_of(action: Action) -> str:
    """Return the name by which another process finds a function.

    Raises:
        GraphValidationError: it has none, or wants what cannot cross.
    """
    code = action.code
    found = isinstance(code, FunctionType) or (isinstance(code, BuiltinFunctionType) and code.__module__)
    if not found or "<" in code.__qualname__ or action.is_generator:
        raise GraphValidationError(
            f"'{action.name}' cannot run in another process: only a function at the top level of a module can be found "
            f"there by its name, and this is {getattr(code, '__qualname__', repr(code))}."
        )
    if code.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        raise GraphValidationError(
            f"'{action.name}' cannot run in another process: it belongs to an interactive session, not to a module."
        )
    kept = [name for name in ("store", "previous", "error") if name in action.inject]
    if kept:
        raise GraphValidationError(
            f"'{action.name}' asks for {', '.join(kept)}, which cannot cross to another process; pass values."
        )
    return f"{code.__module__}:{code.__qualname__}"


def _call(action: Action, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from twinstep.pregel.remote import finished  # only programs that name an executor pay for it

    fn = action.fn.invoke if action.is_runnable else action.fn
    try:
        return finished(fn(*args, **kwargs))
    except StopIteration as error:
        raise holdable(error) from error


def _in_thread(pool: ThreadPoolExecutor | None, fn: Callable[..., Any], *args: Any) -> Future[Any]:
    """Run a function in a thread of a pool, or of ours, in the context of the caller."""
    context = copy_context()
    if pool is not None:
        return pool.submit(context.run, fn, *args)
    return THREADS.submit(context.run, fn, *args)


async def _process(reference: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function in a worker process, which is killed when the caller is cancelled."""
    from asyncio import CancelledError, wrap_future

    from twinstep.pregel.processes import submit
    from twinstep.pregel.remote import describe, outcome_of

    task = _task()
    tell = _teller(task)
    future, kill = submit(describe(reference, task, args, kwargs), tell)
    try:
        data = await wrap_future(future)
    except CancelledError:
        kill()
        raise
    return outcome_of(data, tell)


async def _job(executor: Any, reference: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function as a job of an executor; what it tells arrives with its outcome."""
    from asyncio import wrap_future

    from twinstep.pregel.remote import describe, outcome_of, perform

    task = _task()
    future = executor.submit(perform, describe(reference, task, args, kwargs))
    return outcome_of(await wrap_future(future), _teller(task))


def _task() -> Task:
    scope = require_scope("executor=")
    assert isinstance(scope, Task)
    return scope


def _teller(task: Task) -> Callable[[Told], None]:
    """Return what passes on what code elsewhere tells, as if the task had told it."""

    def tell(told: Told) -> None:
        kind, value = told
        if kind == "custom":
            task.write(value)
        elif kind == "message":
            task.message(*value)
        elif kind == "push":
            task.push(*value)
        elif kind == "tool":
            task.tool(value)
        else:
            task.heartbeat()

    return tell
