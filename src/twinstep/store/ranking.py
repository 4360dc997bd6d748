"""The order of search results: the same on every backend, however the backend finds what is near."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Generic, TypeVar

from twinstep.store.vectors import SLACK, Vector, nearest, similarities

T = TypeVar("T")


class ExactOrder(Generic[T]):
    """Brings items that come roughly nearest first into the exact order: by score, then by age.

    A backend computes similarities in its own way, each off by less than `SLACK`. An item may leave when what is still
    to come cannot be nearer.
    """

    def __init__(self, query: Vector) -> None:
        self._query = query
        self._waiting: list[tuple[float, int, T]] = []

    def add(self, age: int, item: T, vectors: Iterable[bytes]) -> None:
        """Take in an item with its place in the order of creation, which no other item has, and its vectors."""
        heapq.heappush(self._waiting, (-nearest(self._query, vectors), age, item))

    def leave(self, similarity: float = -2.0) -> Iterator[tuple[T, float]]:
        """Yield items with their scores as long as nothing of at most this (rough) similarity can come before them."""
        while self._waiting and -self._waiting[0][0] > similarity + 2 * SLACK:
            score, _, item = heapq.heappop(self._waiting)
            yield item, -score


def ranked(query: Vector, items: Sequence[tuple[int, T, Sequence[bytes]]]) -> Iterator[tuple[T, float]]:
    """Yield items, given with their age and vectors, in the exact order."""
    found = iter(similarities(query, list(chain.from_iterable(vectors for _, _, vectors in items))))
    rough = [max(next(found) for _ in vectors) for _, _, vectors in items]
    order = ExactOrder[T](query)
    for n in sorted(range(len(items)), key=rough.__getitem__, reverse=True):
        yield from order.leave(rough[n])
        order.add(*items[n])
    yield from order.leave()
