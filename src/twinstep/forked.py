"""Forked children: what has threads, connections or locks starts over in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import MethodType
from typing import Any, cast
from weakref import WeakKeyDictionary

_methods: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def when_forked(method: Callable[[], None]) -> None:
    """Call a bound method in every forked child, first of all, for as long as its object lives; one of each object."""
    bound = cast(MethodType, method)
    _methods[bound.__self__] = bound.__func__


def _start_over() -> None:
    for owner, method in list(_methods.items()):
        method(owner)


if hasattr(os, "register_at_fork"):  # where there is no fork there is nothing to do
    os.register_at_fork(after_in_child=_start_over)
