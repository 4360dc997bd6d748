"""Exact search by meaning: texts become unit vectors, and the nearest ones are found by comparing with all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from inspect import iscoroutinefunction
from itertools import islice
from operator import mul
from typing import Any, Final, TypeAlias, TypedDict, cast

from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.store.base import Op, PutOp, SearchOp
from twinstep.store.paths import WHOLE, parse_path, texts_at

Vector: TypeAlias = tuple[float, ...]
EmbedFunction: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]


class IndexConfig(TypedDict, total=False):
    """How to make values searchable by meaning.

    Keys:
        dims: numbers in a vector (required).
        embed: a function from texts to vectors, or an object with `embed_documents` and `embed_query` (required).
        fields: paths of a value whose texts are embedded; the whole value (`["$"]`) when left out.
    """

    dims: int
    embed: Any
    fields: list[str]


_KEYS: Final = ("dims", "embed", "fields")


class VectorIndex:
    """Turns values and queries into unit vectors.

    Raises:
        InvalidConfigError: the config lacks a key, has an unknown one, or one of its values cannot be used.
    """

    def __init__(self, config: IndexConfig) -> None:
        for name in config:
            if name not in _KEYS:
                raise InvalidConfigError(f"Unknown key '{name}' in the store's index.{did_you_mean(name, _KEYS)}")
        dims = config.get("dims")
        if not isinstance(dims, int) or dims < 1:
            raise InvalidConfigError(f"The store's index needs 'dims', the length of a vector, above 0; got {dims!r}.")
        self.dims = dims
        self.fields = config.get("fields") or [WHOLE]
        for path in self.fields:
            parse_path(path)
        self._embed, self._embed_query = _embedders(config.get("embed"))

    def embed(self, ops: Sequence[Op[Any]]) -> dict[int, list[Vector]]:
        """Return the vectors of each operation by its position: those of a put's texts, or the one of a query.

        The texts of all puts go to the embedding function in one call.
        """
        texts = {n: self._texts(op) for n, op in enumerate(ops) if isinstance(op, PutOp) and op.value is not None}
        flat = [text for each in texts.values() for text in each]
        vectors = iter(self._vectors(self._embed(flat), len(flat)) if flat else ())
        embedded = {n: list(islice(vectors, len(each))) for n, each in texts.items()}
        for n, op in enumerate(ops):
            if isinstance(op, SearchOp) and op.query is not None:
                embedded[n] = self._vectors([self._embed_query(op.query)], 1)
        return embedded

    def _texts(self, op: PutOp) -> list[str]:
        paths = self.fields if op.index is None else op.index or []
        return [text for path in paths for text in texts_at(op.value, path)]

    def _vectors(self, rows: Iterable[Iterable[float]], wanted: int) -> list[Vector]:
        vectors = [_unit(row) for row in rows]
        if len(vectors) != wanted:
            raise InvalidConfigError(f"The store's embed function returned {len(vectors)} vectors for {wanted} texts.")
        for vector in vectors:
            if len(vector) != self.dims:
                raise InvalidConfigError(
                    f"The store's embed function returned a vector of {len(vector)} numbers, but its index has "
                    f"dims={self.dims}. Set dims to what the model returns."
                )
        return vectors


def nearest(query: Vector, vectors: Iterable[Vector]) -> float | None:
    """Return the cosine between a query and the nearest of some unit vectors, or None when there are none."""
    return max((sum(map(mul, query, vector)) for vector in vectors), default=None)


def _unit(row: Iterable[float]) -> Vector:
    numbers = tuple(map(float, row))
    length = math.hypot(*numbers)
    return tuple(number / length for number in numbers) if length else numbers


def _embedders(embed: Any) -> tuple[EmbedFunction, Callable[[str], Sequence[float]]]:
    """Return a function for many texts and one for a single query."""
    if hasattr(embed, "embed_documents") and hasattr(embed, "embed_query"):
        return embed.embed_documents, embed.embed_query
    if not callable(embed) or iscoroutinefunction(embed):
        kind = "an async function" if callable(embed) else repr(embed)
        raise InvalidConfigError(
            f"The store's index got {kind} for 'embed'. Pass a plain function from a list of texts to a list of "
            "vectors, or an object with embed_documents and embed_query."
        )
    function = cast(EmbedFunction, embed)

    def embed_query(text: str) -> Sequence[float]:
        rows = function([text])
        return rows[0] if len(rows) else ()

    return function, embed_query
