"""Where the running code is: one typed object in one context variable.

The engine enters a scope around every node, task and entrypoint; what user code asks for (`interrupt`, `get_config`,
`get_stream_writer`, `task(...)`, a child's `invoke`) is answered by the scope of the caller.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from twinstep.errors import OutsideRunError


class Scope(Protocol):
    """What the code of a running node or task may ask of the engine."""

    @property
    def run(self) -> Any:
        """The run this code belongs to."""
        ...

    @property
    def name(self) -> str:
        """Name of the node or task."""
        ...

    @property
    def started(self) -> int:
        """How many tasks and nested runs it has started, and questions it has asked."""
        ...

    @property
    def path(self) -> tuple[Any, ...]:
        """The place in the run, stable over resumes."""
        ...

    def occurrence(self, key: Any) -> int:
        """Return how often `key` was counted before, since the code began."""
        ...

    def ask(self, value: Any, schema: Any, key: str | None, site: str) -> Any:
        """Return the answer to a question, or stop the run to wait for it."""
        ...

    def write(self, value: Any) -> None:
        """Send one value to the `custom` stream."""
        ...

    def message(self, message: Any, about: dict[str, Any] | None = None) -> None:
        """Send one message, or a piece of one, to the `messages` stream, with what its metadata should tell besides."""
        ...

    def push(self, key: str, value: Any) -> None:
        """Add to the update of the node that this code belongs to."""
        ...

    def tool(self, data: dict[str, Any]) -> None:
        """Send what happens to a call of a tool to the `tools` stream."""
        ...

    def config(self) -> Any:
        """Return the config as this code should see it."""
        ...

    def runtime(self) -> Any:
        """Return the `Runtime` of this code."""
        ...


SCOPE: ContextVar[Scope | None] = ContextVar("twinstep_scope", default=None)


def current_scope() -> Scope | None:
    """Return the scope of the calling code, or None outside of a run."""
    return SCOPE.get()


def require_scope(asked: str) -> Scope:
    """Return the scope of the calling code.

    Raises:
        OutsideRunError: there is none; `asked` names what was called.
    """
    scope = SCOPE.get()
    if scope is None:
        raise OutsideRunError(f"{asked} was called outside of a run; call it in a node, a task or an entrypoint.")
    return scope
