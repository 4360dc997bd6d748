"""A cache in the memory of this process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import inf
from threading import Lock
from typing import Final, NamedTuple, TypeVar

from twinstep.cache.base import BaseCache, FullKey, Namespace, Serde, check_namespaces

V = TypeVar("V")
_SWEEP_FROM: Final = 256
"""Entries from which writing looks for expired ones."""


class _Entry(NamedTuple):
    data: bytes
    expires: float
    """On the monotonic clock."""


class InMemoryCache(BaseCache[V]):
    """Keep values as bytes until they expire, are cleared or the process ends.

    Safe to use from several threads. Expired values are never returned; their memory is freed by later writes.

    Args:
        serde: turns values into bytes and back; `twinstep.serde.Serializer()` when left out.
    """

    blocking = False

    def __init__(self, *, serde: Serde | None = None) -> None:
        super().__init__(serde=serde)
        self._entries: dict[FullKey, _Entry] = {}
        self._sweep_at = _SWEEP_FROM
        self._lock = Lock()

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """Return copies of the values that are there and have not expired; missing keys are left out."""
        now = time.monotonic()
        with self._lock:
            found = {key: entry.data for key in keys if (entry := self._entries.get(key)) and entry.expires > now}
        return {key: self.serde.loads(data) for key, data in found.items()}

    def set(self, pairs: Mapping[FullKey, tuple[V, float | None]]) -> None:
        """Keep copies of values, each for its time to live in seconds; see `BaseCache.set`."""
        now = time.monotonic()
        entries = {
            key: _Entry(self.serde.dumps(value), inf if ttl is None else now + ttl)
            for key, (value, ttl) in pairs.items()
        }
        with self._lock:
            self._entries.update(entries)
            if len(self._entries) >= self._sweep_at:
                self._sweep(now)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget what is kept under exactly these namespaces, or everything; see `BaseCache.clear`."""
        check_namespaces(namespaces or ())
        with self._lock:
            if namespaces is None:
                self._entries.clear()
            else:
                gone = set(namespaces)
                self._entries = {key: entry for key, entry in self._entries.items() if key[0] not in gone}

    def _sweep(self, now: float) -> None:
        """Drop expired entries; waiting until the rest has doubled makes the cost of a write constant on average."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.expires > now}
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._entries))
