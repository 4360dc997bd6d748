"""The serializer under the name that people who move here know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from twinstep.errors import InvalidConfigError
from twinstep.serde.codec import Serializer
from twinstep.serde.registry import register_type


class JsonPlusSerializer(Serializer):
    """The same as `Serializer`.

    Args:
        pickle_fallback: must be False: stored bytes never run code here.
        allowed_msgpack_modules: classes to register. True and None allow what is registered anyway.
    """

    def __init__(
        self, *, pickle_fallback: bool = False, allowed_msgpack_modules: Iterable[type[Any]] | bool | None = None
    ) -> None:
        if pickle_fallback:
            raise InvalidConfigError(
                "pickle_fallback=True is not supported, because pickled bytes can run any code; "
                "call twinstep.register_type() on the classes you store."
            )
        if allowed_msgpack_modules is not None and not isinstance(allowed_msgpack_modules, bool):
            self.with_msgpack_allowlist(allowed_msgpack_modules)

    def with_msgpack_allowlist(self, types: Iterable[type[Any]]) -> Self:
        """Register classes and return this serializer."""
        for cls in types:
            if not isinstance(cls, type):
                raise InvalidConfigError(f"The allowlist takes classes, got {cls!r}; import the class and pass it.")
            register_type(cls)
        return self
