"""How many supersteps a run may still take, as state keys."""

from __future__ import annotations

from typing import Annotated, Any


class ManagedValue:
    """A state key that is computed when a node reads it, never written and never stored."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, remaining: int) -> Any:
        """Return the value for a node in a run that may take `remaining` supersteps, this one included."""
        return remaining <= 1 if self.name == "is_last_step" else remaining

    def __repr__(self) -> str:
        return f"ManagedValue({self.name!r})"


IsLastStep = Annotated[bool, ManagedValue("is_last_step")]
"""Whether the recursion limit allows no superstep after this one."""
RemainingSteps = Annotated[int, ManagedValue("remaining_steps")]
"""How many supersteps the recursion limit allows, this one included."""
