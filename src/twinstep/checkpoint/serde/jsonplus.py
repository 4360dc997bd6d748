"""The serializer under its older name."""

from __future__ import annotations

from twinstep.serde.jsonplus import JsonPlusSerializer

__all__ = ["JsonPlusSerializer"]
