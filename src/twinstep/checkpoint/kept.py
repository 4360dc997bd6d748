"""What a process keeps in memory of the threads it worked on last."""

from __future__ import annotations

import threading
from typing import Final, Generic, Protocol, TypeVar

MOST: Final = 32 * 1024 * 1024
"""Bytes that are kept in all."""
THREADS: Final = 256
"""Number of namespaces of which anything is kept."""


class Sized(Protocol):
    """Something that knows how many bytes it takes."""

    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Kept(Generic[T]):
    """Values by thread and namespace; those that were not used for the longest time go first. Safe for threads.

    Nothing is ever found out of date here: whoever takes a value compares it with what the database holds now.
    """

    def __init__(self, most: int = MOST, threads: int = THREADS) -> None:
        self._most, self._threads = most, threads
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str], T] = {}
        self._size = 0

    def get(self, thread_id: str, ns: str) -> T | None:
        """Return what is kept of a namespace, if anything is."""
        with self._lock:
            value = self._values.pop((thread_id, ns), None)
            if value is not None:
                self._values[thread_id, ns] = value
            return value

    def put(self, thread_id: str, ns: str, value: T) -> None:
        """Keep a value instead of the one before it; one that is too large drops that only."""
        with self._lock:
            self._drop((thread_id, ns))
            if value.size > self._most // 2:
                return
            self._values[thread_id, ns] = value
            self._size += value.size
            while self._size > self._most or len(self._values) > self._threads:
                self._drop(next(iter(self._values)))

    def _drop(self, key: tuple[str, str]) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._size -= value.size
