"""A cache on a Redis server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import iscoroutinefunction
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twinstep.cache.base import FullKey, Namespace, Serde
from twinstep.cache.shared import SharedCache, text
from twinstep.errors import InvalidConfigError, StorageError

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["RedisCache"]

V = TypeVar("V")
_MANY: Final = 500
"""Keys that one command removes."""


class RedisCache(SharedCache[V]):
    """Keep values on a Redis server until they expire or are cleared, for all processes that use it.

    Safe to use from several threads and event loops; asynchronous calls run in threads. How long a call waits for a
    server that does not answer is up to the client (`socket_timeout`).

    Args:
        redis: a `redis.Redis` client without `decode_responses`; it is not closed.
        serde: turns values into bytes and back; `twinstep.serde.Serializer()` when left out.
        prefix: begins the names of all keys; `clear()` removes what has it.

    Raises:
        InvalidConfigError: the client is asynchronous, or decodes what it reads.
    """

    redis: Any
    prefix: str

    def __init__(self, redis: Redis, *, serde: Serde | None = None, prefix: str = "twinstep:cache:") -> None:
        super().__init__(serde=serde)
        if iscoroutinefunction(getattr(redis, "execute_command", None)) or not hasattr(redis, "mget"):
            raise InvalidConfigError(
                f"RedisCache got a {type(redis).__module__}.{type(redis).__name__}. Pass a redis.Redis client; "
                "asynchronous callers are served by it too."
            )
        if redis.get_encoder().decode_responses:
            raise InvalidConfigError("RedisCache needs bytes: make the client without decode_responses=True.")
        self.redis, self.prefix = redis, prefix

    def _name(self, key: FullKey) -> str:
        return f"{self.prefix}{text(key[0])}:{text(key[1])}"

    def _fetch(self, keys: Sequence[FullKey]) -> Mapping[FullKey, bytes]:
        with _failures():
            values: Any = self.redis.mget([self._name(key) for key in keys])
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def _keep(self, rows: Mapping[FullKey, tuple[bytes, float | None]]) -> None:
        with _failures(), self.redis.pipeline(transaction=True) as pipe:
            for key, (data, ttl) in rows.items():
                if ttl is not None and ttl <= 0:
                    pipe.delete(self._name(key))
                else:
                    pipe.set(self._name(key), data, px=None if ttl is None else max(1, round(ttl * 1000)))
            pipe.execute()

    def _forget(self, namespaces: Sequence[Namespace] | None) -> None:
        starts = [self.prefix] if namespaces is None else [f"{self.prefix}{text(ns)}:" for ns in namespaces]
        with _failures():
            for start in starts:
                names = iter(self.redis.scan_iter(match=_escaped(start) + "*", count=_MANY))
                while some := list(islice(names, _MANY)):
                    self.redis.unlink(*some)


def _escaped(start: str) -> str:
    """Return a pattern of Redis that matches a text literally."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", start)


@contextmanager
def _failures() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise StorageError(f"The Redis server failed: {error} ({type(error).__name__}).") from error
