"""The contract of a cache: results of tasks and nodes, kept under a namespace and a key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

from twinstep.errors import InvalidNamespaceError
from twinstep.serde import Serializer
from twinstep.threads import in_thread

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")
Namespace: TypeAlias = tuple[str, ...]
FullKey: TypeAlias = tuple[Namespace, str]


class Serde(Protocol):
    """What a cache needs to turn values into bytes and back."""

    def dumps(self, obj: Any, /) -> bytes:
        """Return a value as bytes."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """Return the value that `dumps` was given."""
        ...


class BaseCache(ABC, Generic[V]):
    """A store of values that may be forgotten at any time.

    A backend implements `get`, `set` and `clear`, safe to use from several threads. It keeps values as bytes, so that
    what comes out is a copy.

    Args:
        serde: turns values into bytes and back; `twinstep.serde.Serializer()` when left out.

    Attributes:
        blocking: whether the methods may wait for something; the async forms run them in a thread if so, else directly.
    """

    blocking: bool = True

    def __init__(self, *, serde: Serde | None = None) -> None:
        self.serde: Serde = Serializer() if serde is None else serde

    @abstractmethod
    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """Return copies of the values that are there and have not expired; missing keys are left out."""

    @abstractmethod
    def set(self, pairs: Mapping[FullKey, tuple[V, float | None]]) -> None:
        """Keep copies of values, each for its time to live in seconds, or until it is cleared when that is None.

        Raises:
            EncodingError: a value cannot be stored; none of them was.
        """

    @abstractmethod
    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget what is kept under exactly these namespaces, or everything when there are none given.

        Raises:
            InvalidNamespaceError: one of them is no tuple.
        """

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """Return what `get` returns."""
        return await self._off_loop(self.get, keys)

    async def aset(self, pairs: Mapping[FullKey, tuple[V, float | None]]) -> None:
        """Keep what `set` keeps."""
        await self._off_loop(self.set, pairs)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget what `clear` forgets."""
        await self._off_loop(self.clear, namespaces)

    async def _off_loop(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if not self.blocking:
            return call(*args, **kwargs)
        return await in_thread(call, *args, **kwargs)


def check_namespaces(namespaces: Sequence[Namespace]) -> None:
    """Refuse a single namespace in place of a list of them.

    Raises:
        InvalidNamespaceError: one of the namespaces is no tuple.
    """
    for namespace in namespaces:
        if not isinstance(namespace, tuple):
            raise InvalidNamespaceError(
                f"clear() got {namespace!r}, a {type(namespace).__name__}, for a namespace. "
                "Pass a list of tuples such as [('a', 'b')]."
            )
