"""The path that programs import `DeltaChannel` from."""

from twinstep.channels.binop import DeltaChannel

__all__ = ["DeltaChannel"]
