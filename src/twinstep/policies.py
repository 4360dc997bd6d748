"""How nodes and tasks are run: retried, cached, timed, shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from twinstep.arguments import expect_function
from twinstep.errors import InvalidConfigError, TwinstepError


def default_retry_on(error: BaseException) -> bool:
    """Tell whether an error looks temporary.

    Connection, timeout and other operating-system errors, and exceptions of unknown kinds, are retried; mistakes of
    the program (wrong value, type, name, assertion ...) are not. HTTP errors are judged by their status: 408, 425,
    429 and 5xx are temporary.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status in (408, 425, 429) or status >= 500
    if isinstance(error, TwinstepError):
        return isinstance(error, TimeoutError | ConnectionError)
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | PermissionError | FileExistsError | IsADirectoryError)
    return isinstance(error, Exception) and not isinstance(error, _PROGRAM_ERRORS)


_PROGRAM_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    LookupError,
    NameError,
    SyntaxError,
    RuntimeError,
    ReferenceError,
    StopIteration,
    StopAsyncIteration,
)

RetryOn = type[BaseException] | Sequence[type[BaseException]] | Callable[[BaseException], bool]


class RetryPolicy(NamedTuple):
    """When and how often a failed node or task is tried again.

    The pause before try `k + 1` is `min(max_interval, initial_interval * backoff_factor ** (k - 1))` seconds; with
    jitter it is drawn between half of that and all of it.

    Args:
        initial_interval: seconds before the second try.
        backoff_factor: growth of the pause from try to try.
        max_interval: longest pause in seconds.
        max_attempts: tries in all, the first included.
        jitter: spread the pauses of many clients.
        retry_on: exception class, sequence of classes, or predicate.
    """

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: RetryOn = default_retry_on

    def matches(self, error: BaseException) -> bool:
        """Tell whether this policy retries the error."""
        rule = self.retry_on
        if isinstance(rule, type):
            return isinstance(error, rule)
        if callable(rule):
            return bool(rule(error))
        return isinstance(error, tuple(rule))


Retry = RetryPolicy | Sequence[RetryPolicy] | None
"""One policy, several (the first that matches an error decides), or none."""


def retry_policies(retry: Retry) -> tuple[RetryPolicy, ...]:
    """Return one or several retry policies as a tuple."""
    several = () if retry is None else (retry,) if isinstance(retry, RetryPolicy) else retry
    if not isinstance(several, Sequence) or not all(isinstance(policy, RetryPolicy) for policy in several):
        raise InvalidConfigError(f"A retry policy is a RetryPolicy or a sequence of them, got {retry!r}.")
    for policy in several:
        _check_retry(policy)
    return tuple(several)


def _check_retry(policy: RetryPolicy) -> None:
    for name, least in (("initial_interval", 0), ("backoff_factor", 0), ("max_interval", 0), ("max_attempts", 1)):
        value = getattr(policy, name)
        if not isinstance(value, int | float) or not value >= least:
            raise InvalidConfigError(f"RetryPolicy({name}=...) is a number of at least {least}, got {value!r}.")
    rule = policy.retry_on
    several = rule if isinstance(rule, Sequence) and not isinstance(rule, str) else (rule,)
    if not callable(rule) and not (several and all(isinstance(each, type) for each in several)):
        raise InvalidConfigError(
            f"RetryPolicy(retry_on=...) is an exception class, a sequence of them or a function, got {rule!r}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Keep the result of a node or task for calls with the same arguments.

    Args:
        key_func: makes the key from the arguments; by default a digest of their encoding.
        ttl: seconds a result stays valid; None = for ever.
    """

    key_func: Callable[..., str | bytes] | None = None
    ttl: float | None = None

    def __post_init__(self) -> None:
        if self.ttl is not None and not (isinstance(self.ttl, int | float) and self.ttl >= 0):
            raise InvalidConfigError(f"CachePolicy(ttl=...) is a number of seconds or None, got {self.ttl!r}.")
        if self.key_func is not None and not callable(self.key_func):
            raise InvalidConfigError(f"CachePolicy(key_func=...) is a function, got {self.key_func!r}.")

    @classmethod
    def of(cls, value: CachePolicy | None) -> CachePolicy | None:
        """Return a cache policy, or None.

        Raises:
            InvalidConfigError: it is something else.
        """
        if value is not None and not isinstance(value, cls):
            raise InvalidConfigError(f"cache_policy takes a CachePolicy, got {value!r}.")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """How long one attempt of a node or task may take.

    Args:
        run_timeout: limit of the whole attempt, in seconds or as a timedelta.
        idle_timeout: limit of the time without a sign of life (a write, a stream chunk, a child task, a heartbeat).
        refresh_on: `auto` counts every sign of life, `heartbeat` only `runtime.heartbeat()`.
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    def __post_init__(self) -> None:
        for name in ("run_timeout", "idle_timeout"):
            value = getattr(self, name)
            seconds = value.total_seconds() if isinstance(value, timedelta) else value
            if seconds is not None and not isinstance(seconds, int | float):
                raise InvalidConfigError(f"{name} is a number of seconds or a timedelta, got {seconds!r}.")
            if seconds is not None and not seconds > 0:
                raise InvalidConfigError(f"{name} must be greater than 0 seconds, got {seconds!r}.")
            object.__setattr__(self, name, seconds)
        if self.refresh_on not in ("auto", "heartbeat"):
            raise InvalidConfigError(f"refresh_on is 'auto' or 'heartbeat', got {self.refresh_on!r}.")

    @classmethod
    def of(cls, value: Timeout) -> TimeoutPolicy | None:
        """Return the policy that a number of seconds, a timedelta or a policy stands for."""
        return value if value is None or isinstance(value, TimeoutPolicy) else cls(run_timeout=value)


Timeout = float | timedelta | TimeoutPolicy | None
"""Seconds, a timedelta or a policy; None for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePolicy:
    """What the `tasks` and `debug` streams show of a node, where its values are large or secret.

    State, `values` and `updates` are not changed by it, and neither is what is stored.

    Args:
        process_inputs: makes what is shown from the node's input; by default the input itself.
        process_outputs: makes what is shown from the node's writes, a mapping of state keys.
    """

    process_inputs: Callable[[Any], Any] | None = None
    process_outputs: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        for name in ("process_inputs", "process_outputs"):
            expect_function(f"TracePolicy({name}=...)", getattr(self, name))


def omit_payload(_value: Any) -> dict[str, Any]:
    """Return an empty mapping: for a `TracePolicy` that shows nothing.

    Example:
        >>> from twinstep.types import TracePolicy, omit_payload
        >>> TracePolicy(process_inputs=omit_payload).process_inputs({"password": "1234"})
        {}
    """
    return {}
