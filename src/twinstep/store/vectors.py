"""Search by meaning: which texts of a value become vectors, and how near vectors are to each other.

Vectors are scaled to length 1 and rounded to 32 bits when they are made, so that every backend keeps the same numbers.
Databases find what is near by their own arithmetic; the order that users see comes from `dot`, the same everywhere.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from sys import byteorder
from typing import Any, Final, NamedTuple, TypeAlias, TypedDict

from twinstep.arguments import expect
from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.store.embed import Embedder, Rows
from twinstep.store.paths import WHOLE, parse_path, texts_at

Vector: TypeAlias = "array[float]"
"""32-bit numbers of a vector of length 1."""

SLACK: Final = 1e-5
"""More than the scores of two ways to compute them differ."""


class IndexConfig(TypedDict, total=False):
    """How to make values searchable by meaning.

    Keys:
        dims: numbers in a vector (required).
        embed: a function from a list of texts to a list of vectors, plain or async, an object with `embed_documents`
            and `embed_query`, or `"openai:<model>"` (required).
        fields: paths of a value whose texts are embedded; the whole value (`["$"]`) when left out.
    """

    dims: int
    embed: Any
    fields: list[str]


_KEYS: Final = ("dims", "embed", "fields")


@dataclass(slots=True)
class Texts:
    """What is to be embedded for one batch: the texts of values one after the other, and queries."""

    texts: list[str]
    queries: list[str]


class Embedded(NamedTuple):
    """The vectors of `Texts`, in the same order; None for a text without a direction."""

    texts: Sequence[Vector | None]
    queries: Sequence[Vector | None]


class VectorIndex:
    """Turns values and queries into unit vectors.

    Args:
        config: what it is told.
        more: further keys that the store knows.

    Raises:
        InvalidConfigError: the config lacks a key, has an unknown one, or one of its values cannot be used.
    """

    def __init__(self, config: IndexConfig, more: Sequence[str] = ()) -> None:
        expect("The store's index=", config, Mapping, "a mapping with 'dims' and 'embed'", optional=False)
        known = (*_KEYS, *more)
        for name in config:
            if name not in known:
                raise InvalidConfigError(f"Unknown key '{name}' in the store's index.{did_you_mean(name, known)}")
        dims = config.get("dims")
        if not isinstance(dims, int) or isinstance(dims, bool) or dims < 1:
            raise InvalidConfigError(f"The store's index needs 'dims', the length of a vector, above 0; got {dims!r}.")
        self.dims = dims
        self.fields: list[str] = config.get("fields") or [WHOLE]
        for path in self.fields:
            parse_path(path)
        self._embed = Embedder(config.get("embed"))

    def texts(self, value: Any, paths: Sequence[str] | None) -> list[str]:
        """Return the texts of a value at some paths, or at the index's own."""
        return [text for path in (self.fields if paths is None else paths) for text in texts_at(value, path)]

    def embed(self, wanted: Texts) -> Embedded:
        """Return the vectors of texts; those of all values go to the embedding function in one call.

        Raises:
            InvalidConfigError: the function returned too many or too few vectors, or one that does not fit `dims`.
        """
        return self._checked(self._embed(wanted.texts, wanted.queries), wanted)

    async def aembed(self, wanted: Texts) -> Embedded:
        """Do what `embed` does, without blocking the event loop."""
        return self._checked(await self._embed.acall(wanted.texts, wanted.queries), wanted)

    def _checked(self, rows: tuple[Rows, Rows], wanted: Texts) -> Embedded:
        return Embedded(self._units(rows[0], len(wanted.texts)), self._units(rows[1], len(wanted.queries)))

    def _units(self, rows: Rows, wanted: int) -> list[Vector | None]:
        try:
            found = [[float(number) for number in row] for row in rows]
        except (TypeError, ValueError) as error:
            raise InvalidConfigError(f"The store's embed function returned no list of vectors: {error}.") from error
        if len(found) != wanted:
            raise InvalidConfigError(f"The store's embed function returned {len(found)} vectors for {wanted} texts.")
        for row in found:
            if len(row) != self.dims:
                raise InvalidConfigError(
                    f"The store's embed function returned a vector of {len(row)} numbers, but its index has "
                    f"dims={self.dims}. Set dims to what the model returns."
                )
        return [unit(row) for row in found]


def unit(row: Sequence[float]) -> Vector | None:
    """Return a vector of length 1 in the same direction, or None when it has none.

    Raises:
        InvalidConfigError: it holds a NaN or an infinity.
    """
    length = math.hypot(*row)
    if not math.isfinite(length):
        raise InvalidConfigError("The store's embed function returned a vector that holds a NaN or an infinity.")
    return array("f", (number / length for number in row)) if length else None


def to_blob(vector: Vector) -> bytes:
    """Return the bytes of a vector: 32-bit numbers, the least significant byte first."""
    if byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return vector.tobytes()


def from_blob(data: bytes) -> Vector:
    """Return the vector that `to_blob` made bytes of."""
    vector = array("f", data)
    if byteorder == "big":
        vector.byteswap()
    return vector


def dot(left: Vector, right: Vector) -> float:
    """Return the cosine of the angle between two unit vectors."""
    return float(sum(map(mul, left, right)))


def similarities(query: Vector, vectors: Sequence[bytes]) -> Sequence[float]:
    """Return the similarity of a query to each of many vectors, exact within `SLACK`; fast where numpy is installed."""
    try:
        import numpy as np
    except ImportError:
        return [dot(query, from_blob(data)) for data in vectors]
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), len(query))
    found: list[float] = (matrix @ np.frombuffer(to_blob(query), dtype="<f4")).tolist()
    return found


def nearest(query: Vector, vectors: Iterable[bytes]) -> float:
    """Return the similarity of a query to the nearest of some vectors."""
    return max(dot(query, from_blob(data)) for data in vectors)
