"""What was added to a list since it was last stored, told by its content."""

from __future__ import annotations

from typing import Any, NamedTuple

from twinstep.serde import Serializer


class _Known(NamedTuple):
    length: int
    items: bytes


class Growth:
    """Remembers how lists were encoded, so that only what was added to them has to be stored.

    Comparing the encoded items (not the objects) also notices an item that user code has changed in place: such a list
    has not grown, it is another one.

    Args:
        serde: encodes the items.
    """

    __slots__ = ("_known", "_serde")

    def __init__(self, serde: Serializer) -> None:
        self._serde = serde
        self._known: dict[str, _Known] = {}

    def note(self, name: str, value: Any) -> None:
        """Remember a value as stored."""
        if type(value) is list and value:
            self._known[name] = self._encoded(name, value)
        else:
            self._known.pop(name, None)

    def added(self, name: str, value: Any) -> tuple[int, list[Any]] | None:
        """Return how many items of the stored list were kept, and those after them; None if it is another value.

        The value is remembered as stored.
        """
        before = self._known.get(name)
        self.note(name, value)
        if before is None or type(value) is not list or len(value) < before.length:
            return None
        if not self._known[name].items.startswith(before.items):
            return None
        return before.length, value[before.length :]

    def _encoded(self, name: str, value: list[Any]) -> _Known:
        data = self._serde.dumps(value, at=f"state.{name}")
        header = 1 if len(value) < 16 else 3 if len(value) < 65536 else 5  # MessagePack's array headers
        return _Known(len(value), data[header:])
