"""The name that asynchronous programs look for; one class serves both kinds of callers."""

from __future__ import annotations

from twinstep.checkpoint.sqlite import SqliteSaver

__all__ = ["AsyncSqliteSaver"]

AsyncSqliteSaver = SqliteSaver
