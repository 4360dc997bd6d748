"""The one wire format: exact round trips, data-only decoding, types by registered name."""

from twinstep.serde.base import SerializerProtocol
from twinstep.serde.codec import Serializer
from twinstep.serde.encrypted import CipherProtocol, EncryptedSerializer
from twinstep.serde.jsonplus import JsonPlusSerializer
from twinstep.serde.registry import register_constant, register_type
from twinstep.serde.schemas import register_schema_types
from twinstep.serde.values import holds_set

__all__ = [
    "CipherProtocol",
    "EncryptedSerializer",
    "JsonPlusSerializer",
    "Serializer",
    "SerializerProtocol",
    "holds_set",
    "register_constant",
    "register_schema_types",
    "register_type",
]
