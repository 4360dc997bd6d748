"""Results of tasks and nodes that need not be computed again."""

from twinstep.cache.base import BaseCache, FullKey, Namespace
from twinstep.cache.memory import InMemoryCache

__all__ = ["BaseCache", "FullKey", "InMemoryCache", "Namespace"]
