"""The name that asynchronous programs look for; one class serves both kinds of callers."""

from __future__ import annotations

from twinstep.store.sqlite import AsyncSqliteStore

__all__ = ["AsyncSqliteStore"]
