"""Results of nodes and tasks that a cache keeps beyond the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twinstep.cache.flight import SingleFlight
from twinstep.pregel.effects import CacheGet, CachePut, Program, Wait
from twinstep.pregel.task import Task

T = TypeVar("T", bound=Task)
FLIGHTS = SingleFlight()
"""The cached calls that run at this moment, in the whole process."""


def cached(task: T, make: Callable[[T], Program[Any]]) -> Program[Any]:
    """Return what the cache holds for a task's arguments, or make it and keep it.

    Calls with equal keys that run at the same time wait for the first of them.
    """
    policy, cache = task.cache, task.run.cache
    assert policy is not None
    from twinstep.cache.key import default_cache_key  # only programs that cache pay for it

    arguments = (policy.key_func or default_cache_key)(*task.args, **task.kwargs)
    key = (task.action.cache_namespace(), arguments if isinstance(arguments, str) else arguments.hex())
    while not (claim := FLIGHTS.claim((id(cache), key))).leads:
        yield Wait(claim.done)
    with claim:
        hit = yield CacheGet(cache, key)
        if hit is not None:
            task.cached = True
            return hit[0]
        value = yield from make(task)
        yield CachePut(cache, key, value, policy.ttl)
        return value
