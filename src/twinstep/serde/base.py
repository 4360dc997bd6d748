"""What a saver expects of the thing that turns values into bytes."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class SerializerProtocol(Protocol):
    """Turns values into tagged bytes and back."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the tag of the format and the encoded value."""
        ...

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the value of a pair that `dumps_typed` made."""
        ...
