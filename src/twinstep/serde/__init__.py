"""The one wire format: exact round trips, data-only decoding, types by registered name."""

from twinstep.serde.base import SerializerProtocol
from twinstep.serde.codec import Serializer
from twinstep.serde.encrypted import CipherProtocol, EncryptedSerializer
from twinstep.serde.jsonplus import JsonPlusSerializer
from twinstep.serde.registry import register_constant, register_type
from twinstep.serde.schemas import register_schema_types

__all__ = [
    "CipherProtocol",
    "EncryptedSerializer",
    "JsonPlusSerializer",
    "Serializer",
    "SerializerProtocol",
    "register_constant",
    "register_schema_types",
    "register_type",
]
