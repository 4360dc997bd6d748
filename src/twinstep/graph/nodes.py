"""What a builder knows of its nodes, branches and joins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from twinstep.pregel.action import Action
from twinstep.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy

Join = Literal["all", "any"] | int
"""How many nodes of a list edge have to run before its end does."""


@dataclass(slots=True)
class NodeDef:
    """A node as it was added; None where the graph's defaults decide.

    `ends` are the possible destinations of its commands, with labels.
    """

    name: str
    action: Action
    schema: Any
    defer: bool = False
    metadata: dict[str, Any] | None = None
    retry: tuple[RetryPolicy, ...] | None = None
    cache: CachePolicy | None = None
    error_handler: Action | None = None
    ends: dict[str, str] | None = None
    timeout: TimeoutPolicy | None = None
    trace: TracePolicy | None = None


@dataclass(slots=True)
class NodeDefaults:
    """What nodes have that do not say otherwise."""

    retry: tuple[RetryPolicy, ...] = ()
    cache: CachePolicy | None = None
    error_handler: Action | None = None
    timeout: TimeoutPolicy | None = None


@dataclass(slots=True)
class BranchDef:
    """A branch as it was added; `ends` maps results of the path function to nodes, None when any node is possible."""

    name: str
    path: Action
    ends: dict[Any, str] | None


def targets(edges: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what the edges of each node lead to."""
    found: dict[str, list[str]] = {}
    for start, end in sorted(edges):
        found.setdefault(start, []).append(end)
    return found
