"""The names of the channels that hold errors and questions among pending writes."""

from __future__ import annotations

from twinstep.constants import ERROR, INTERRUPT

__all__ = ["ERROR", "INTERRUPT"]
