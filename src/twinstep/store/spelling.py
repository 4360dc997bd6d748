"""What databases spell differently in the statements of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twinstep.sql.schema import Program
from twinstep.store.rows import Place

Hits = list[tuple[int, float]]
"""Numbers of items with the (rough) similarities of their vectors, the nearest first."""


class VectorTable(Protocol):
    """The vectors once more, arranged for searches; `twinstep_store_vectors` says which of them count."""

    def catch_up(self) -> Program[None]:
        """Take in what has changed in the table of vectors."""
        ...

    def nearest(self, place: Place, vector: Any, size: int) -> Program[Hits | None]:
        """Return near vectors in a place, or None where another way is faster or the only one."""
        ...


@dataclass(frozen=True)
class Spelling:
    """What databases spell differently.

    Attributes:
        among: the condition that a number is one of a list, which is one parameter.
        numbers: makes that parameter.
        narrowed: narrows a place to the items that have one of each list of terms; None when there is none.
        put_term: notes a term of an item, given its namespace and key; None where the column is indexed itself.
        for_update: appended to reads of rows that are written next.
        lock: a statement that makes transactions which write several rows wait for each other; empty if they do anyway.
        vector: a parameter that is a vector.
        number: a parameter that is a whole number where the database cannot tell.
        distance: the distance of a kept vector from a parameter, where the database can compute it.
        similarity: what a distance is as a similarity.
        to_column: makes a parameter of a vector's bytes.
        from_column: makes the bytes of what the database returns.
        table: answers searches in place of the table of vectors; it may miss some of the nearest.
        far: whether it takes a while to reach the database, so that one statement is better than several.
    """

    among: str
    numbers: Callable[[Sequence[int]], Any]
    narrowed: Callable[[Place, list[list[int]]], Program[Place | None]]
    put_term: str | None = None
    for_update: str = ""
    lock: str = ""
    vector: str = "?"
    number: str = "?"
    distance: str | None = None
    similarity: Callable[[float], float] = float
    to_column: Callable[[bytes], Any] = bytes
    from_column: Callable[[Any], bytes] = bytes
    table: VectorTable | None = None
    far: bool = False
