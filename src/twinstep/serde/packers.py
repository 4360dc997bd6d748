"""Packers that are used again and again: making one costs more than packing a small value."""

from __future__ import annotations

from typing import Any, Final

from msgpack import Packer

from twinstep.serde.kinds import parts_of

_KEEP: Final = 1 << 20
"""Bytes; a packer that has held more is thrown away with its buffer."""


class Packers:
    """A pool of packers, safe for threads and for packing within packing.

    A packer is in use by one call alone, and one that failed half-way is never used again.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._idle: list[Packer] = []

    def pack(self, obj: Any) -> bytes:
        """Return the bytes of a value."""
        try:
            packer = self._idle.pop()
        except IndexError:
            packer = Packer(default=parts_of, strict_types=True, **self._options)
        data: bytes = packer.pack(obj)
        if len(data) < _KEEP:
            self._idle.append(packer)
        return data
