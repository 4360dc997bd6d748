"""How ids and heads stand in the columns of the journal's tables."""

from __future__ import annotations

import re
from binascii import crc32
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, TypeVar

from twinstep.checkpoint.rows import Head
from twinstep.errors import CheckpointCorruptError

T = TypeVar("T")
_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@lru_cache(4096)
def pack(id: str) -> bytes:
    """Return the bytes an id is stored as: 16 for a UUID; they sort like the ids of checkpoints do."""
    if _UUID.fullmatch(id):
        return bytes.fromhex(id.replace("-", ""))
    text = b"\xff" + id.encode()  # a byte that no UTF-8 has; twice where the length would be that of a UUID
    return text if len(text) != 16 else b"\xff" + text


@lru_cache(4096)
def unpack(stored: Any) -> str:
    """Return the id that `pack` made bytes of."""
    id = of(bytes, stored)
    if len(id) != 16:
        return id.lstrip(b"\xff").decode(errors="replace")
    text = id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def of(kind: type[T], stored: Any) -> T:
    """Return a stored value that must be of one type."""
    if type(stored) is not kind:
        raise CheckpointCorruptError(
            f"The checkpoint tables are damaged: they hold {type(stored).__name__} where {kind.__name__} belongs."
        )
    return stored


def seal_of_record(*parts: Any) -> int:
    """Return a checksum that a single flipped bit in one of the parts changes."""
    return crc32(repr(parts).encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=64)  # what a commit has written is checked by the next
def seal_of_head(thread_id: str, ns: str, head: Head) -> int:
    """Return the checksum of a head: a flipped bit must not hide a run's records or make it look finished."""
    return crc32(head.info, seal_of_record(thread_id, ns, *head[:3]))


@lru_cache(1024)
def name_of(thread_id: str, ns: str) -> int:
    """Return a number by which a namespace can be found without its thread."""
    digest = blake2b(repr((thread_id, ns)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
