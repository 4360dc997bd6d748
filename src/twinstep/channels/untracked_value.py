"""The path that programs import `UntrackedValue` from."""

from twinstep.channels.ephemeral_value import UntrackedValue

__all__ = ["UntrackedValue"]
