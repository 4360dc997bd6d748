"""What the caches outside of this process share."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from logging import Logger, getLogger
from typing import TypeVar

from twinstep.cache.base import BaseCache, FullKey, Namespace, check_namespaces
from twinstep.errors import StorageError, TwinstepError

V = TypeVar("V")
log: Logger = getLogger("twinstep")


class SharedCache(BaseCache[V]):
    """A cache that several processes use.

    It must not be the reason that a run fails: when it cannot be reached, or holds a value that this program cannot
    read, nothing is found, nothing is kept, and a warning is logged. A backend implements three methods, which raise
    `StorageError`.
    """

    @abstractmethod
    def _fetch(self, keys: Sequence[FullKey]) -> Mapping[FullKey, bytes]:
        """Return what is kept and has not expired."""

    @abstractmethod
    def _keep(self, rows: Mapping[FullKey, tuple[bytes, float | None]]) -> None:
        """Keep bytes for their seconds to live, all or none."""

    @abstractmethod
    def _forget(self, namespaces: Sequence[Namespace] | None) -> None:
        """Remove what is kept under exactly these namespaces, or everything."""

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """Return copies of the values that are there and have not expired; missing keys are left out."""
        if not keys:
            return {}
        try:
            found = self._fetch(keys)
        except StorageError as error:
            log.warning("Nothing was found in the cache: %s", error)
            return {}
        values: dict[FullKey, V] = {}
        for key, data in found.items():
            try:
                values[key] = self.serde.loads(data)
            except TwinstepError as error:
                log.warning("The cache holds a value for %r that cannot be read: %s", key, error)
        return values

    def set(self, pairs: Mapping[FullKey, tuple[V, float | None]]) -> None:
        """Keep copies of values, each for its time to live in seconds; see `BaseCache.set`."""
        rows = {key: (self.serde.dumps(value), ttl) for key, (value, ttl) in pairs.items()}
        if rows:
            try:
                self._keep(rows)
            except StorageError as error:
                log.warning("Nothing was kept in the cache: %s", error)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget what is kept under exactly these namespaces, or everything; see `BaseCache.clear`.

        Raises:
            InvalidNamespaceError: one of them is no tuple.
            StorageError: the cache cannot be reached.
        """
        check_namespaces(namespaces or ())
        if namespaces is None or namespaces:
            self._forget(namespaces)


def text(part: Namespace | str) -> str:
    """Return a namespace or a key as text that every database takes, whatever characters it holds."""
    return json.dumps(part, separators=(",", ":"))
