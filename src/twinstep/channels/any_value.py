"""The path that programs import `AnyValue` from."""

from twinstep.channels.last_value import AnyValue

__all__ = ["AnyValue"]
