"""`entrypoint`: a function as a whole program, with checkpoints, memory and resuming."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, get_args, get_origin, overload

from twinstep.channels import EphemeralValue, LastValue, Topic
from twinstep.checkpoint.base import Journal
from twinstep.constants import CONFLICT_TIMEOUT, END, PREVIOUS, START, TASKS
from twinstep.errors import GraphValidationError, InvalidUpdateError, did_you_mean
from twinstep.pregel import Pregel
from twinstep.pregel.action import INJECTABLE, Action
from twinstep.pregel.futures import is_handle
from twinstep.pregel.spec import NodeSpec, ProgramSpec
from twinstep.serde import register_schema_types
from twinstep.stream.events import Write
from twinstep.types import (
    CachePolicy,
    Mismatch,
    OnConflict,
    Retry,
    RetryPolicy,
    Send,
    Timeout,
    TimeoutPolicy,
    retry_policies,
)
from twinstep.warnings import renamed as spelled

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
FILLED_IN = [name for name in INJECTABLE if name != "error"]
"""What parameters of an entrypoint may be called to be filled in."""


class entrypoint:  # a decorator, written like one
    """Make a function a program that can be invoked, streamed, interrupted and resumed.

    The function's first parameter is the input (use a mapping for several values). Parameters named `previous`,
    `config`, `writer`, `store` and `runtime` are filled in, whatever their annotation (`previous` is None, or the
    parameter's default, when nothing is saved). When a run is resumed the body
    runs again from its start, and its tasks return what is on record instead of running again.

    Args:
        checkpointer: where threads are kept.
        store: long-term memory, shared by all threads.
        cache: results of tasks (and of this entrypoint) that have a `cache_policy`.
        context_schema: type of the `context` argument of `invoke`.
        cache_policy: keep whole results by input.
        retry_policy: run the body again when it fails; finished tasks are not repeated.
        timeout: seconds that one attempt of the body may take.
        on_mismatch: what a resumed run does when it makes other calls than were recorded.
        on_conflict: what a run does while another one works on its thread: fail (`"error"`), or wait for its end.
        conflict_timeout: seconds for which the other run may store nothing before one that waits gives up; None: as
            long as that run lives.
        version: number of the form of what is saved, kept with every checkpoint; 0 where none was given.
        renamed: tasks by the name they had before; None for those that are no longer wanted.
        migrations: by version, what turns the saved value (`previous`) into that of the next version.
        retry, config_schema: older spellings of `retry_policy` and `context_schema`.

    Raises:
        GraphValidationError: the function has no parameter, or is a generator.

    Example:
        >>> from twinstep.checkpoint.memory import InMemorySaver
        >>> from twinstep.func import entrypoint
        >>> @entrypoint(checkpointer=InMemorySaver())
        ... def count(step: int, previous: int | None) -> entrypoint.final[str, int]:
        ...     total = (previous or 0) + step
        ...     return entrypoint.final(value=f"{total} so far", save=total)
        >>> thread = {"configurable": {"thread_id": "1"}}
        >>> count.invoke(2, thread), count.invoke(3, thread)
        ('2 so far', '5 so far')
    """

    def __init__(
        self,
        checkpointer: Journal | bool | None = None,
        store: Any = None,
        cache: Any = None,
        context_schema: type[Any] | None = None,
        cache_policy: CachePolicy | None = None,
        retry_policy: Retry = None,
        timeout: Timeout = None,
        *,
        on_mismatch: Mismatch = "error",
        on_conflict: OnConflict = "error",
        conflict_timeout: float | None = CONFLICT_TIMEOUT,
        version: int = 0,
        renamed: Mapping[str, str | None] | None = None,
        migrations: Mapping[int, Callable[[Any], Any]] | None = None,
        retry: Retry = None,
        config_schema: type[Any] | None = None,
    ) -> None:
        if callable(checkpointer):
            raise GraphValidationError("entrypoint takes options, not the function: write @entrypoint() above it.")
        self.options: dict[str, Any] = {
            "checkpointer": checkpointer,
            "store": store,
            "cache": cache,
            "context_schema": spelled("config_schema", "context_schema", config_schema, context_schema),
            "on_mismatch": on_mismatch,
            "on_conflict": on_conflict,
            "conflict_timeout": conflict_timeout,
            "version": version,
            "renamed": renamed,
            "migrations": migrations,
        }
        self.cache_policy: CachePolicy | None = CachePolicy.of(cache_policy)
        self.retry: tuple[RetryPolicy, ...] = retry_policies(spelled("retry", "retry_policy", retry, retry_policy))
        self.timeout: TimeoutPolicy | None = TimeoutPolicy.of(timeout)

    @dataclass(frozen=True, kw_only=True)
    class final(Generic[R, S]):  # read as entrypoint.final
        """Return one value to the caller and save another for the next run's `previous`."""

        value: R
        save: S

    @overload
    def __call__(self, func: Callable[Concatenate[InputT, P], Awaitable[final[R, Any]]]) -> Entrypoint[InputT, R]: ...
    @overload
    def __call__(self, func: Callable[Concatenate[InputT, P], Awaitable[R]]) -> Entrypoint[InputT, R]: ...
    @overload
    def __call__(self, func: Callable[Concatenate[InputT, P], final[R, Any]]) -> Entrypoint[InputT, R]: ...
    @overload
    def __call__(self, func: Callable[Concatenate[InputT, P], R]) -> Entrypoint[InputT, R]: ...
    def __call__(self, func: Callable[..., Any]) -> Entrypoint[Any, Any]:
        """Make the program: it takes what the function's first parameter takes, and returns what the caller gets."""
        register_schema_types(func)
        return Entrypoint(func, entrypoint_spec(func, self), self.options)


class Entrypoint(Pregel[Any, Any, InputT, OutputT]):
    """A compiled entrypoint.

    Attributes:
        func: the function.
    """

    def __init__(self, func: Callable[..., Any], spec: ProgramSpec, options: dict[str, Any]) -> None:
        super().__init__(spec, **options)
        self.func = func
        self.__doc__ = func.__doc__
        self.__name__: str = spec.name
        self.__module__ = func.__module__


def entrypoint_spec(func: Callable[..., Any], options: entrypoint) -> ProgramSpec:
    """Compile a function to the program of one node."""
    action = Action(func)
    if action.is_generator:
        raise GraphValidationError(
            f"Entrypoint '{action.name}' is a generator: return its result, and send what should be seen at once to "
            "get_stream_writer()."
        )
    input_type, output_type, saved_type = _types(func, input_parameter(func, action))
    node = NodeSpec(
        name=action.name,
        action=action,
        read=lambda view: view.value(START),
        writes=_writes,
        triggers=(START,),
        plain=True,
        retry=options.retry,
        cache=options.cache_policy,
        timeout=options.timeout,
    )
    return ProgramSpec(
        name=action.name,
        nodes={action.name: node},
        channels={
            START: EphemeralValue(input_type),
            END: LastValue(output_type),
            PREVIOUS: LastValue(saved_type),
            TASKS: Topic(Send),
        },
        keys=(END,),
        input=lambda value: [(START, value)],
        output=_output,
        stream=_output,
        goto=_refuse_goto,
        update=_refuse_update,
        output_keys=(END,),
        input_type=input_type,
        output_type=output_type,
        transitions=lambda: [(START, action.name, None, False), (action.name, END, None, True)],
        functional=True,
    )


def input_parameter(func: Callable[..., Any], action: Action) -> inspect.Parameter:
    """Return the parameter that receives the input.

    Raises:
        GraphValidationError: there is none, or another one is required that nothing would fill.
    """
    try:
        parameters = list(inspect.signature(func).parameters.values())
    except ValueError:  # some builtins do not tell
        return inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)
    given = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if not given:
        raise GraphValidationError(f"Entrypoint '{action.name}' must have at least one parameter: its input.")
    for other in parameters:
        if other is not given[0] and _is_required(other) and other.name not in action.inject:
            raise GraphValidationError(
                f"Entrypoint '{action.name}' takes one input, '{given[0].name}'; nothing would fill '{other.name}'. "
                "Take one mapping for several values, or give it a default. Filled in by name are "
                f"{', '.join(FILLED_IN)}." + did_you_mean(other.name, FILLED_IN)
            )
    return given[0]


def _is_required(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not variable


def _output(view: Any) -> Any:
    return view.get(END)  # nobody else reads it


def _writes(result: Any) -> list[Write]:
    if type(result) is entrypoint.final:
        _refuse_handles(result.value)
        _refuse_handles(result.save)
        return [(END, result.value), (PREVIOUS, result.save)]
    _refuse_handles(result)
    return [(END, result), (PREVIOUS, result)]


def _refuse_handles(result: Any) -> None:
    """Refuse what is, or directly holds, the handle of a task (of many parts, the first are looked at).

    Raises:
        InvalidUpdateError: it does.
    """
    parts: Any = result.values() if type(result) is dict else result if type(result) in (list, tuple) else (result,)
    if any(map(is_handle, islice(parts, 16))):
        what = "the handle of a task and not its result" if is_handle(result) else "handles of tasks, not their results"
        raise InvalidUpdateError(f"An entrypoint returned {what}: call .result() on it, or await it.")


def _refuse_goto(goto: Any) -> list[Write]:
    if goto:
        raise InvalidUpdateError(f"Command(goto={goto!r}): an entrypoint has no nodes to go to.")
    return []


def _refuse_update(update: Any) -> list[Write]:
    raise InvalidUpdateError("Command(update=...): an entrypoint has no state keys; update_state replaces its result.")


def _types(func: Callable[..., Any], first: inspect.Parameter) -> tuple[Any, Any, Any]:
    """Return the types of input, output and saved value, as far as they are annotated.

    Raises:
        GraphValidationError: `entrypoint.final` is annotated with one type instead of two.
    """
    try:
        from typing import get_type_hints

        hints = get_type_hints(func)
    except TypeError as error:
        if "final" in str(error):
            raise GraphValidationError(
                f"Entrypoint '{func.__name__}': entrypoint.final takes two types, final[value, save]: {error}"
            ) from None
        hints = {}
    except Exception:  # a name that cannot be resolved is no reason to refuse a function
        hints = {}
    output = hints.get("return", Any)
    if get_origin(output) is entrypoint.final:
        value, saved = cast(tuple[Any, Any], get_args(output))
        return hints.get(first.name, Any), value, saved
    return hints.get(first.name, Any), output, output
