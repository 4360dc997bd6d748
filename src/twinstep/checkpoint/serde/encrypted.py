"""The serializer that encrypts."""

from __future__ import annotations

from twinstep.serde.encrypted import AesCipher, EncryptedSerializer

__all__ = ["AesCipher", "EncryptedSerializer"]
