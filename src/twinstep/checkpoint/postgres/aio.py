"""The name that asynchronous programs look for; one class serves both kinds of callers."""

from __future__ import annotations

from twinstep.checkpoint.postgres import PostgresSaver

__all__ = ["AsyncPostgresSaver"]

AsyncPostgresSaver = PostgresSaver
