"""What a trial is: something that is done to runs or stored bytes, and the figures that came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Args:
        what: the property, in words.
        found: what was counted or measured.
        bar: the most it may be.
        of: how often it was tried.
    """

    what: str
    found: float
    bar: float
    of: int

    @property
    def met(self) -> bool:
        """Whether the bar is reached."""
        return self.found <= self.bar


@dataclass(frozen=True)
class Scale:
    """How much to try.

    Args:
        quick: a fifth of it.
        seed: of what is chosen at random.
    """

    quick: bool
    seed: int

    def __call__(self, times: int) -> int:
        """Return how often to do what is usually done so many times."""
        return max(2, times // 5) if self.quick else times


Trial = Callable[[Scale], Iterator[Figure]]
"""Yields the figures of one kind of trial; the first line of its docstring is its title."""
