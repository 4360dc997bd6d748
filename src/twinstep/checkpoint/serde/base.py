"""What a serializer and a cipher must do."""

from __future__ import annotations

from twinstep.serde.base import SerializerProtocol
from twinstep.serde.encrypted import CipherProtocol

__all__ = ["CipherProtocol", "SerializerProtocol"]
