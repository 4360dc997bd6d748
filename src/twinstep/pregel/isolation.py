"""Copies of lists, dicts and sets, so that what user code does to them in place stays with it."""

from __future__ import annotations

from typing import Any

CONTAINERS = frozenset((list, dict, set))
MANY = 32
"""Containers in a value, or items in one of them, from which on only the outermost is copied: a growing list of records
would cost more than the step that reads it."""


def is_nested(value: Any) -> bool:
    """Tell whether a list or dict holds lists, dicts or sets, and is small enough to be copied with them."""
    if len(value) > MANY or CONTAINERS.isdisjoint(map(type, value.values() if type(value) is dict else value)):
        return False
    waiting = [value]
    for container in waiting:
        if len(container) > MANY or len(waiting) > MANY:  # also when it contains itself
            return False
        items = container.values() if type(container) is dict else container
        waiting.extend(item for item in items if type(item) in CONTAINERS)
    return True


def own(value: Any) -> Any:
    """Return a list, dict or set as a copy, with copies of those that it holds."""
    kind = type(value)
    if kind is list:
        return [own(item) if type(item) in CONTAINERS else item for item in value]
    if kind is dict:
        return {key: own(item) if type(item) in CONTAINERS else item for key, item in value.items()}
    return value.copy()
