"""Values of the state as bytes, so that a list can grow without being encoded, or copied, anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from twinstep.pregel.isolation import Contents, own
from twinstep.pregel.objects import Objects, objects_in
from twinstep.serde import Serializer, holds_set

MOST_PIECES: Final = 32


class PlainList(NamedTuple):
    """A list with nothing in it, at any depth, but containers and scalars, which nobody changes."""

    items: list[Any]
    contents: Contents

    def copy(self) -> list[Any]:
        """Return a list of which nobody else has any part."""
        copy: list[Any] = self.contents.copy(self.items)
        return copy


def plain_list(value: list[Any], before: PlainList | None = None, kept: int = 0) -> PlainList | None:
    """Return a copy of a list that begins with items of another one, which are not copied; None if it is not plain."""
    items, contents = ([], Contents()) if before is None else (before.items[:kept], before.contents.first(kept))
    if not contents.is_plain(value):
        return None
    items += own(value[len(items) :])
    contents.look(items)
    return PlainList(items, contents)


class Encoded(NamedTuple):
    """An encoded value; a list may be in pieces, each of which is the encoded list of the next items.

    Attributes:
        pieces: the bytes; none of a plain list that is always shared, never made anew.
        items: number of items of a list, None for any other value.
        ordered: whether the same value, read from the bytes, is encoded to the same bytes: not if it may hold a set.
        plain: the list, if it is plain: copying that is faster than reading the bytes.
        objects: the items of a list of messages, for the same reason.
    """

    pieces: tuple[bytes, ...]
    items: int | None = None
    ordered: bool = True
    plain: PlainList | None = None
    objects: Objects | None = None

    @property
    def apart(self) -> int:
        """How many items stand beside the bytes."""
        return self.items or 0 if self.plain is not None or self.objects is not None else 0

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
        if self.plain is not None:
            return self.plain.copy()
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


def _header(count: int) -> bytes:
    """Return how MessagePack begins an array of so many items."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 65536 else b"\xdd" + count.to_bytes(4, "big")


def _start(data: bytes) -> int:
    """Return where the items of an encoded list begin."""
    return {0xDC: 3, 0xDD: 5}.get(data[0], 1)
