"""Values of the state as bytes, so that a list can grow without being encoded, or copied, anew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from twinstep.pregel.objects import Objects, objects_in
from twinstep.serde import Serializer, holds_set
from twinstep.serde.kinds import SCALARS

MOST_PIECES: Final = 32
ROW_SIZE: Final = 256
"""Bytes that a dict takes beside its content, about."""
_DICT: Final = frozenset({dict})


class Encoded(NamedTuple):
    """An encoded value; a list may be in pieces, each of which is the encoded list of the next items.

    Attributes:
        pieces: the bytes.
        items: number of items of a list, None for any other value.
        ordered: whether the same value, read from the bytes, is encoded to the same bytes: not if it may hold a set.
        rows: the items of a list of flat dicts, handed to nobody: copying them is faster than reading the bytes.
        objects: the items of a list of messages, for the same reason.
    """

    pieces: tuple[bytes, ...]
    items: int | None = None
    ordered: bool = True
    rows: list[dict[Any, Any]] | None = None
    objects: Objects | None = None

    @property
    def size(self) -> int:
        """The bytes that it takes, about."""
        size = sum(map(len, self.pieces))
        apart = self.rows if self.objects is None else self.objects.rows
        return size if apart is None else 2 * size + ROW_SIZE * len(apart)

    def with_rows(self, value: Any, before: Encoded | None = None) -> Encoded:
        """Return the same with its rows, if it is a list of flat dicts.

        Args:
            value: what the bytes hold; no code of the user has seen it yet.
            before: an encoded list that it begins with.
        """
        if not self.items or (before is not None and before.rows is None):
            return self
        known = before.rows if before is not None and before.rows is not None else []
        added = flat_rows(value[len(known) :])
        return self if added is None else self._replace(rows=[*known, *added])

    def followed(self, serde: Serializer, added: Sequence[Any], at: str) -> Encoded:
        """Return the list with more items, which alone are encoded."""
        more = encode(serde, list(added), at)
        objects = self.objects.grown(serde, added) if self.objects is not None else None
        grown = self._grown(more.pieces[0], len(added))
        return grown._replace(ordered=self.ordered and more.ordered, objects=objects)

    def with_objects(self, serde: Serializer, value: Any) -> Encoded:
        """Return the same with its objects, if it is a long list of such; they are as they were encoded."""
        return self if self.objects is not None else self._replace(objects=objects_in(serde, value))

    def begins(self, data: bytes, count: int) -> Encoded | None:
        """Return an encoded list of so many items in the pieces of this one and another; None if it is another list."""
        assert self.items is not None
        end = _start(data)
        for piece in self.pieces:
            items = memoryview(piece)[_start(piece) :]
            if not data.startswith(items, end):
                return None
            end += len(items)
        return self._grown(_header(count - self.items) + data[end:], count - self.items)

    def _grown(self, piece: bytes, count: int) -> Encoded:
        assert self.items is not None
        if not count:
            return self
        pieces, items = (*self.pieces, piece), self.items + count
        if len(pieces) > MOST_PIECES:
            pieces = (b"".join((_header(items), *(memoryview(each)[_start(each) :] for each in pieces))),)
        return Encoded(pieces, items, self.ordered)

    def decoded(self, serde: Serializer) -> Any:
        """Return the value, made anew."""
        if self.rows is not None:
            return list(map(dict.copy, self.rows))
        if self.objects is not None and (made := self.objects.made(serde)) is not None:
            return made
        value = serde.loads(self.pieces[0])
        for piece in self.pieces[1:]:
            value += serde.loads(piece)
        return value


def encode(serde: Serializer, value: Any, at: str) -> Encoded:
    """Encode a value; `at` is what an error calls it."""
    data = serde.dumps(value, at=at)
    return Encoded((data,), len(value), not holds_set(data)) if type(value) is list else Encoded((data,))


def flat_rows(items: Sequence[Any]) -> list[dict[Any, Any]] | None:
    """Return copies of items that are dicts of texts and other scalars; None if one is something else."""
    if not _DICT.issuperset(map(type, items)):
        return None
    keys, values = chain.from_iterable(items), chain.from_iterable(map(dict.values, items))
    flat = SCALARS.issuperset(map(type, keys)) and SCALARS.issuperset(map(type, values))
    return list(map(dict.copy, items)) if flat else None


def _header(count: int) -> bytes:
    """Return how MessagePack begins an array of so many items."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 65536 else b"\xdd" + count.to_bytes(4, "big")


def _start(data: bytes) -> int:
    """Return where the items of an encoded list begin."""
    return {0xDC: 3, 0xDD: 5}.get(data[0], 1)
