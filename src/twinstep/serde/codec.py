"""The serializer: values to bytes and back, exactly."""

from __future__ import annotations

from typing import Any, Final

from msgpack import ExtType, unpackb

from twinstep.errors import CheckpointCorruptError, EncodingError, TwinstepError
from twinstep.serde import arrays, digest, failures  # noqa: F401  # they add their kinds
from twinstep.serde.kinds import KINDS, MARK, MARK_BYTE, Kind
from twinstep.serde.packers import Packers
from twinstep.serde.walk import holds_buffer, storable

FORMAT: Final = "msgpack"
"""The tag of the one format."""
ENCRYPTED: Final = b"\xc1"
"""The first byte of an encrypted value: no MessagePack value begins with it."""
_packers: Final = Packers()


class Serializer:
    """Turns values into bytes and back.

    What comes back is equal to what was stored and of the same type; what cannot come back so is refused when it is
    stored. Bytes are data only: reading them never imports a module, makes an instance of a class that the program has
    not registered, or calls `__init__`, validators or other methods of the program's classes (but `__hash__` and
    `__eq__` of objects that are keys or members of sets). Safe for threads; all serializers share one registry.
    """

    @property
    def plain(self) -> Serializer:
        """What encodes before anything is encrypted: the serializer itself, as it does not encrypt."""
        return self

    def dumps(self, obj: Any, *, at: str = "", place: bytes = b"") -> bytes:
        """Encode a value.

        Args:
            obj: the value.
            at: what an error calls the value, such as `state.messages`; the path inside of it is added.
            place: where the value will stand; a serializer that encrypts lets it be read from nowhere else.

        Raises:
            EncodingError: part of the value cannot be stored; the message names its place and what to do.
        """
        try:
            data = _packers.pack(obj)
            # MessagePack takes a bytearray for bytes; where no byte begins a binary, there can be none.
            if not ((0xC4 in data or 0xC5 in data or 0xC6 in data) and holds_buffer(obj)):
                return data
        except Exception:  # the slow way finds out what was wrong
            pass
        try:
            return _packers.pack(storable(obj, at))
        except EncodingError:
            raise
        except Exception as error:
            raise EncodingError(f"Cannot store {at or 'the value'}: {error}") from error

    def loads(self, data: bytes, *, place: bytes = b"") -> Any:
        """Decode a value.

        Args:
            data: the bytes.
            place: what `dumps` was given.

        Raises:
            UnknownTypeError: the value has a type that this program has not registered.
            CheckpointCorruptError: the bytes are not those of a value.
        """
        try:
            if not isinstance(data, bytes):
                data = memoryview(data).tobytes()
            if MARK_BYTE not in data:
                return unpackb(data, strict_map_key=False, ext_hook=_no_mark)
            reader = _Reader()
            value = unpackb(data, strict_map_key=False, ext_hook=reader.mark, list_hook=reader.array)
        except TwinstepError:
            raise
        except Exception as error:
            if isinstance(data, bytes) and data[:1] == ENCRYPTED:
                raise CheckpointCorruptError(
                    "A value is encrypted: give the saver serde=EncryptedSerializer.from_aes(key=...)."
                ) from None
            raise CheckpointCorruptError(
                f"The bytes do not hold a value ({type(error).__name__}: {error}); they were changed or cut off."
            ) from error
        if reader.open:
            raise CheckpointCorruptError("The bytes do not hold a value: a mark stands outside of an array.")
        return value

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Encode a value and name the format."""
        return FORMAT, self.dumps(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Decode a value of a named format."""
        name, body = data
        if name != FORMAT:
            raise CheckpointCorruptError(f"A value was stored in the format '{name}'; this program reads '{FORMAT}'.")
        return self.loads(body)

    def digest(self, obj: Any) -> bytes:
        """Return 16 bytes that depend on the value alone, not on the order of dicts and sets.

        Never fails for a value that cannot be stored: its type's qualified name stands in for it.
        """
        return digest.digest(obj)

    def digest_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the digest of `(args, kwargs)` in hexadecimal digits."""
        return digest.digest_call(args, kwargs)


class _Reader:
    """One decoding: finds the marks and joins the arrays that begin with one."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = 0

    def mark(self, code: int, data: bytes) -> Any:
        if code != MARK:
            return ExtType(code, data)
        kind = KINDS.get(data)
        if kind is None:
            raise CheckpointCorruptError(
                f"A value has the unknown kind {data.hex()}; was it stored by a newer twinstep?"
            )
        self.open += 1
        return kind

    def array(self, items: list[Any]) -> Any:
        if items and type(items[0]) is Kind:
            self.open -= 1
            kind = items[0]
            del items[0]
            return kind.decode(*items)
        return items


def _no_mark(code: int, data: bytes) -> Any:
    if code == MARK:
        raise CheckpointCorruptError("The bytes do not hold a value: a mark has a form that is never written.")
    return ExtType(code, data)
