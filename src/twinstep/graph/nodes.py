"""What a builder knows of its nodes and branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinstep.pregel.action import Action
from twinstep.types import CachePolicy, RetryPolicy, TimeoutPolicy


@dataclass(slots=True)
class NodeDef:
    """A node as it was added; `ends` are the possible destinations of its commands, with labels."""

    name: str
    action: Action
    schema: Any
    defer: bool = False
    metadata: dict[str, Any] | None = None
    retry: tuple[RetryPolicy, ...] = ()
    cache: CachePolicy | None = None
    error_handler: Action | None = None
    ends: dict[str, str] | None = None
    timeout: TimeoutPolicy | None = None


@dataclass(slots=True)
class BranchDef:
    """A branch as it was added; `ends` maps results of the path function to nodes, None when any node is possible."""

    name: str
    path: Action
    ends: dict[Any, str] | None
