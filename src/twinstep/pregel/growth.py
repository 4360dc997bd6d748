"""What was added to a list since it was last stored, told by its content."""

from __future__ import annotations

from operator import is_
from typing import Any

from twinstep.pregel.encoded import Encoded, encode
from twinstep.serde import Serializer


class Growth:
    """Remembers how lists were encoded, so that only what was added to them has to be stored.

    Comparing the encoded items (not the objects) also notices an item that user code has changed in place: such a list
    has not grown, it is another one.

    Args:
        serde: encodes the items.
    """

    __slots__ = ("_known", "_read", "_serde")

    def __init__(self, serde: Serializer) -> None:
        self._serde = serde
        self._known: dict[str, Encoded] = {}
        self._read: dict[str, list[Any]] = {}

    def note(self, name: str, value: Any) -> None:
        """Remember a value as stored."""
        if type(value) is list and value:
            self._known[name] = encode(self._serde, value, f"state.{name}")
            self._read.pop(name, None)
        elif name in self._known:
            del self._known[name]
            self._read.pop(name, None)

    def begin(self, name: str, value: Any, encoded: Encoded) -> None:
        """Remember a value that was read from just these bytes, and that no code of the user has seen yet."""
        if (
            not encoded.pieces or not encoded.items or not encoded.ordered
        ):  # a set that was read may be in another order
            self.note(name, value)
            return
        self._known[name], self._read[name] = encoded, list(value)

    def added(self, name: str, value: Any, *, untouched: bool = False) -> tuple[int, list[Any]] | None:
        """Return how many items of the stored list were kept, and those after them; None if it is another value.

        The value is remembered as stored.

        Args:
            untouched: no code of the user can have changed an item since the list was read, so that an item which is
                the same object has the same content.
        """
        before, read = self._known.get(name), self._read.pop(name, None)
        count = before.items if before is not None else None
        if before is None or count is None or type(value) is not list or len(value) < count:
            self.note(name, value)
            return None
        same = untouched and read is not None and all(map(is_, read, value))
        if same or (before.objects is not None and before.objects.begin(self._serde, value)):
            self._known[name] = before.followed(self._serde, value[count:], f"state.{name}")
            return count, value[count:]
        data = self._serde.dumps(value, at=f"state.{name}")
        after = before.begins(data, len(value))
        self._known[name] = (
            after.with_objects(self._serde, value) if after is not None else Encoded((data,), len(value))
        )
        return (count, value[count:]) if after is not None else None
