"""Whether, and when, a task is tried again."""

from __future__ import annotations

from twinstep.errors import StepTimeoutError, is_invalid_resume
from twinstep.types import RetryPolicy


def retry_delay(policies: tuple[RetryPolicy, ...], error: Exception, attempt: int) -> float | None:
    """Return the seconds to wait before the next attempt, or None when there is none."""
    for policy in policies:
        if policy.matches(error) and not is_invalid_resume(error) and not isinstance(error, StepTimeoutError):
            if attempt >= policy.max_attempts:
                return None
            delay = min(policy.max_interval, policy.initial_interval * policy.backoff_factor ** (attempt - 1))
            return delay * _jitter() if policy.jitter else delay
    return None


def _jitter() -> float:
    from random import uniform  # only programs that retry pay for it

    return uniform(0.5, 1)
