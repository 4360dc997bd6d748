"""The warnings of this library, told at the line of the program that caused them."""

from __future__ import annotations

import sys
import warnings
from os.path import dirname
from typing import TypeVar

T = TypeVar("T")
INSIDE = dirname(__file__)


class TwinstepWarning(UserWarning):
    """Base of the warnings: something will probably not do what was meant."""


class GraphWarning(TwinstepWarning):
    """A graph has a part that cannot run, cannot end, or will fail."""


class JoinWarning(GraphWarning):
    """A run has ended while a join was still waiting."""


class TwinstepDeprecationWarning(DeprecationWarning):
    """An older spelling was used.

    Attributes:
        since: the version (major, minor) that has the newer one.
        expected_removal: the version that will no longer know the older one.
    """

    message: str
    since: tuple[int, int]

    def __init__(
        self, message: str, *args: object, since: tuple[int, int], expected_removal: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message, *args)
        self.message, self.since = message.rstrip("."), since
        self.expected_removal: tuple[int, int] = expected_removal or (since[0] + 1, 0)

    def __str__(self) -> str:
        since, removal = (".".join(map(str, version)) for version in (self.since, self.expected_removal))
        return f"{self.message}. Deprecated since twinstep {since}, to be removed in {removal}."


LangGraphDeprecationWarning = TwinstepDeprecationWarning
LangGraphDeprecatedSinceV05 = TwinstepDeprecationWarning
LangGraphDeprecatedSinceV10 = TwinstepDeprecationWarning
LangGraphDeprecatedSinceV11 = TwinstepDeprecationWarning
"""Names that the filters of programs use; there is one class of these warnings here."""


def warn(warning: Warning) -> None:
    """Issue a warning at the nearest caller that is no code of this library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, stacklevel=level)


def deprecate(old: str, new: str) -> None:
    """Warn of an older spelling."""
    warn(TwinstepDeprecationWarning(f"{old} is an older spelling; use {new}", since=(0, 1)))


def renamed(old: str, new: str, older: T, value: T) -> T:
    """Return an argument that may have been given under its older name, which is warned of."""
    if older is None:
        return value
    deprecate(f"{old}=", f"{new}=")
    return older if value is None else value
