"""Encryption of what is stored, with any cipher; AES-GCM from the library `cryptography` comes with it.

An encrypted value is, in this order: the byte C1 (which begins no MessagePack value), the length of the cipher's name
in one byte, the name in UTF-8, and what the cipher made of *place digest* and encoded value. The place digest is the
16-byte BLAKE2b digest (personalised with `twinstep`) of where the value belongs: thread, namespace and checkpoint. The
cipher protects it like the rest, so a value that was moved to another place is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Protocol, Self, runtime_checkable

from twinstep.errors import CheckpointCorruptError, InvalidConfigError
from twinstep.serde.codec import ENCRYPTED, FORMAT, Serializer

KEY_VARIABLE = "TWINSTEP_AES_KEY"
_NONCE = 12
"""Bytes of a nonce, NIST SP 800-38D, section 5.2.1.1."""
_PLACE = 16


@runtime_checkable
class CipherProtocol(Protocol):
    """Encrypts bytes, and decrypts what it has encrypted; it must notice what was changed."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Return the name under which `decrypt` knows how this was encrypted (up to 255 bytes), and the ciphertext."""
        ...

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Return the plaintext; raise when the key is another one or something was changed."""
        ...


class AesCipher:
    """AES-GCM with 128, 192 or 256 bits and a random nonce for each value.

    Values are named after the key that encrypts them, `aes-gcm:` and four bytes of its digest, so keys can be rotated:
    the first encrypts, all decrypt. One key is good for 2^32 values (NIST SP 800-38D, section 8.3).

    Args:
        keys: keys of 16, 24 or 32 bytes.

    Raises:
        InvalidConfigError: there is no key, or one has another length.
        ImportError: the extra `twinstep[encryption]` is not installed.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ImportError(
                "Encryption needs the library 'cryptography': pip install 'twinstep[encryption]'."
            ) from error
        if not keys or any(len(key) not in (16, 24, 32) for key in keys):
            sizes = ", ".join(str(len(key)) for key in keys) or "none"
            raise InvalidConfigError(f"AES needs keys of 16, 24 or 32 bytes, got {sizes}.")
        self._keys = {f"aes-gcm:{_digest(key, 4).hex()}": AESGCM(key) for key in keys}
        self._name, self._first = next(iter(self._keys.items()))

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Return the name of the first key, and the nonce followed by the ciphertext."""
        nonce = os.urandom(_NONCE)
        return self._name, nonce + self._first.encrypt(nonce, plaintext, None)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            CheckpointCorruptError: no key has this name, or something was changed.
        """
        key = self._keys.get(ciphername)
        if key is None:
            raise CheckpointCorruptError(
                f"A value was encrypted with the key '{ciphername}', which this program does not have; it has "
                f"{', '.join(self._keys)}. Add the old key behind the new one."
            )
        return key.decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], None)


class EncryptedSerializer(Serializer):
    """A serializer whose bytes only those can read who have the key.

    What savers store of values is covered: state, writes, results, questions, answers and metadata. A value is bound to
    its thread, namespace and checkpoint. What stays readable: thread, run and checkpoint ids, namespaces (with them the
    names of nodes), status, sizes and times.

    Args:
        cipher: encrypts; see `AesCipher`.
        serde: encodes; a `Serializer` by default.
        allow_plain: also read values that are not encrypted: those stored before there was a key. Without it they are
            refused, so that nobody can replace an encrypted value by a plain one.

    Example:
        >>> serde = EncryptedSerializer.from_aes(key=b"0123456789abcdef")
        >>> serde.loads(serde.dumps({"secret": (1, 2)}))
        {'secret': (1, 2)}
    """

    def __init__(self, cipher: CipherProtocol, serde: Serializer | None = None, *, allow_plain: bool = False) -> None:
        if not isinstance(cipher, CipherProtocol):
            raise InvalidConfigError(f"A cipher needs encrypt() and decrypt(), got {cipher!r}.")
        self._cipher, self._inner, self._allow_plain = cipher, serde or Serializer(), allow_plain

    @classmethod
    def from_aes(
        cls,
        serde: Serializer | None = None,
        *,
        key: bytes | str | None = None,
        old_keys: Sequence[bytes | str] = (),
        allow_plain: bool = False,
    ) -> Self:
        """Return a serializer that encrypts with AES-GCM.

        Args:
            serde: encodes; a `Serializer` by default.
            key: 16, 24 or 32 bytes; text stands for its UTF-8 bytes. By default the environment's `TWINSTEP_AES_KEY`,
                which may name old keys too, behind commas.
            old_keys: keys that only decrypt.
            allow_plain: also read values that are not encrypted.

        Raises:
            InvalidConfigError: there is no key, or one has another length.
            ImportError: the extra `twinstep[encryption]` is not installed.
        """
        named = os.environ.get(KEY_VARIABLE, "")
        keys = [*(named.split(",") if key is None and named else ()), *(() if key is None else (key,)), *old_keys]
        if key is None and not named:
            raise InvalidConfigError(f"There is no key: pass key=..., or set the environment variable {KEY_VARIABLE}.")
        cipher = AesCipher([each.encode() if isinstance(each, str) else each for each in keys])
        return cls(cipher, serde, allow_plain=allow_plain)

    @classmethod
    def from_pycryptodome_aes(cls, serde: Serializer | None = None, *, key: bytes | str | None = None) -> Self:
        """Do what `from_aes` does, under the name that people who move here know."""
        return cls.from_aes(serde, key=key)

    @property
    def plain(self) -> Serializer:
        """What encodes before anything is encrypted."""
        return self._inner

    def dumps(self, obj: Any, *, at: str = "", place: bytes = b"") -> bytes:
        """Encode and encrypt a value for one place; errors as in `Serializer.dumps`."""
        name, data = self._cipher.encrypt(_digest(place, _PLACE) + self._inner.dumps(obj, at=at))
        return ENCRYPTED + bytes([len(name.encode())]) + name.encode() + data

    def loads(self, data: bytes, *, place: bytes = b"") -> Any:
        """Decrypt and decode a value.

        Raises:
            CheckpointCorruptError: the key is another one, the value was changed, belongs to another place, or is not
                encrypted.
            UnknownTypeError: the value has a type that this program has not registered.
        """
        if data[:1] == ENCRYPTED:
            return self._inner.loads(self._decrypted(data, place))
        if self._allow_plain:
            return self._inner.loads(data)
        raise CheckpointCorruptError(
            "A value is not encrypted, though this program encrypts. If it was stored before there was a key, read it "
            "with allow_plain=True."
        )

    def _decrypted(self, data: bytes, place: bytes) -> bytes:
        end = 2 + data[1] if len(data) > 1 else 2
        try:
            plaintext = self._cipher.decrypt(data[2:end].decode(), data[end:])
        except CheckpointCorruptError:
            raise
        except Exception as error:  # every cipher has errors of its own
            raise CheckpointCorruptError(
                f"A value cannot be decrypted ({type(error).__name__}): the key is another one, or it was changed."
            ) from error
        if plaintext[:_PLACE] != _digest(place, _PLACE):
            raise CheckpointCorruptError("A value was encrypted for another place than the one where it stands.")
        return plaintext[_PLACE:]

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Encode and encrypt a value, and name the format with the cipher."""
        data = self.dumps(obj)
        return f"{FORMAT}+{data[2 : 2 + data[1]].decode()}", data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Decrypt and decode a value of a named format."""
        return super().loads_typed((data[0].partition("+")[0], data[1]))

    def digest(self, obj: Any) -> bytes:
        """Return what the inner serializer's `digest` does; it is stored encrypted."""
        return self._inner.digest(obj)

    def digest_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return what the inner serializer's `digest_call` does."""
        return self._inner.digest_call(args, kwargs)


def _digest(data: bytes, size: int) -> bytes:
    return blake2b(data, digest_size=size, person=b"twinstep").digest()
