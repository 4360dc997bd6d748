"""What a builder knows of its nodes, branches and joins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, Protocol

from twinstep.errors import did_you_mean
from twinstep.pregel.action import Action
from twinstep.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy

Join = Literal["all", "any"] | int
"""How many nodes of a list edge have to run before its end does."""


class Runnable(Protocol):
    """What can be run with an input and a config: a compiled graph, an entrypoint, an object of another library."""

    def invoke(self, input: Any, config: Any = None, /) -> Any:
        """Run it and return its result."""
        ...

    async def ainvoke(self, input: Any, config: Any = None, /) -> Any:
        """Do what `invoke` does, on the running event loop."""
        ...


Node = Callable[[Any], Any] | Callable[Concatenate[Any, ...], Any] | Runnable
"""The code of a node: a function of the state, whatever its parameters are called, of any colour; or a runnable."""


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
    """Return what the edges of each node lead to, by name."""
    found: dict[str, list[str]] = {}
    for start, end in edges:
        found.setdefault(start, []).append(end)
    for ends in found.values():
        if len(ends) > 1:
            ends.sort()
    return found


def nearest(name: Any, nodes: Iterable[str]) -> str:
    """Return a hint to the node (or constant) that a name was probably meant for."""
    if name in ("END", "START"):
        return f" {name} is a constant: from twinstep.graph import {name}."
    return did_you_mean(name, nodes)
