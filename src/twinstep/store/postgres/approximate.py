"""An index of pgvector over the vectors, by which a search is fast and may miss some of the nearest.

Vectors stay as they are: the index is one more way to them, made when a store that wants it opens the database, and
used by no other one. It says which vectors are near; scores and order come from the vectors themselves. Where it finds
fewer than were asked for, because a namespace or a filter leaves out most of what it comes across, all distances are
computed as if there were none. So what a search returns fulfils its conditions, with the right scores, and is as much
as was asked for; only nearer items may be missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from twinstep.arguments import expect
from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.sql.schema import Fresh, Program
from twinstep.store.rows import Place
from twinstep.store.spelling import Hits

KEYS: Final = ("ann_index_config", "distance_type")
_OLDEST: Final = (0, 8)
"""The first version of pgvector whose indexes go on until enough has been found that fulfils a condition."""
_USUAL: Final = 40
"""So many vectors HNSW finds, fulfilling a condition or not, before it is told to look at more."""
_MOST: Final = 1000
"""For more results than this pgvector makes no effort to be right."""
_DIMS: Final = {"vector": 2000, "halfvec": 4000}
"""How long vectors in an index may be, by their type."""
_OPTIONS: Final[dict[str, dict[str, tuple[str, int, int, int]]]] = {
    "hnsw": {"m": ("m", 2, 100, 16), "ef_construction": ("ef_construction", 4, 1000, 64)},
    "ivfflat": {"nlist": ("lists", 1, 32768, 100)},
    "flat": {},
}
"""The options of each kind: what pgvector calls them, the least, the most and the usual number."""
_VERSION = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('twinstep_store_vectors_near'))"
_MADE = """
    SELECT am.amname, format_type(a.atttypid, a.atttypmod), c.reloptions
    FROM pg_class c JOIN pg_am am ON am.oid = c.relam JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.oid = to_regclass('twinstep_store_vectors_near')"""


@dataclass(frozen=True, slots=True)
class Approximate:
    """An index in one database.

    Attributes:
        kind: "hnsw" or "ivfflat".
        type: of the vectors in it, such as "halfvec(384)".
        options: of pgvector, by name.
    """

    kind: str
    type: str
    options: dict[str, int]

    def create(self) -> Program[None]:
        """Make the index, unless there is one; writes wait until it is made, reads do not.

        Raises:
            InvalidConfigError: there is another one, or pgvector is too old.
        """
        version = (yield _VERSION, ())[0][0]
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            raise InvalidConfigError(
                f"The store's 'ann_index_config' needs pgvector 0.8 or newer, and the database has {version}. Update "
                "it (ALTER EXTENSION vector UPDATE), or leave 'ann_index_config' out: then all distances are computed."
            )
        yield _LOCK, ()
        if not (yield _MADE, ()):
            options = ", ".join(f"{name} = {number}" for name, number in self.options.items())
            kind = self.type.partition("(")[0]
            yield (
                f"""CREATE INDEX twinstep_store_vectors_near ON twinstep_store_vectors
                USING {self.kind} ((vector::{self.type}) {kind}_ip_ops) WITH ({options})""",
                (),
            )
        kind, type, found = (yield _MADE, ())[0]
        wanted = [f"{name}={number}" for name, number in self.options.items()]
        if (kind, type, sorted(found or ())) != (self.kind, self.type, sorted(wanted)):
            raise InvalidConfigError(
                f"The store's vectors have an index {kind} {type} {found}, and 'ann_index_config' says {self.kind} "
                f"{self.type} {wanted}. Use the same settings, or drop it (DROP INDEX twinstep_store_vectors_near), "
                "so that the next store that is opened makes another one."
            )

    def catch_up(self) -> Program[None]:
        """Do nothing: the database does so by itself."""
        yield from ()

    def nearest(self, place: Place, vector: str, size: int) -> Program[Hits | None]:
        """Return near vectors in a place, or None where the index has not enough of them."""
        if size > _MOST:
            return None
        where, parameters = place.vectors
        sql = f"""SELECT item, (vector::{self.type}) <#> ?::{self.type} AS far FROM twinstep_store_vectors
            WHERE {where} ORDER BY far LIMIT ?"""
        rows = (yield Fresh(sql), (vector, *parameters, size)) if self.kind == "hnsw" and size <= _USUAL else ()
        if len(rows) < size:
            yield self._effort(size)
            rows = yield Fresh(sql), (vector, *parameters, size)
        if len(rows) < size:
            return None
        return sorted([(item, -far) for item, far in rows], key=_similarity, reverse=True)

    def _effort(self, size: int) -> tuple[str, tuple[Any, ...]]:
        """Return the statement that tells pgvector how much to look at, in this transaction."""
        if self.kind == "hnsw":
            order, effort, number = "strict_order", "ef_search", max(size, _USUAL)
        else:
            order, effort, number = "relaxed_order", "probes", math.ceil(math.sqrt(self.options["lists"]))
        sql = f"SELECT set_config('{self.kind}.iterative_scan', ?, true), set_config('{self.kind}.{effort}', ?, true)"
        return sql, (order, str(number))


def _similarity(hit: tuple[int, float]) -> float:
    return hit[1]


def approximate_index(index: Mapping[str, Any]) -> Approximate | None:
    """Return the index that a store is told to use; None for none.

    Raises:
        InvalidConfigError: a setting is not known or cannot be used.
    """
    distance = index.get("distance_type", "cosine")
    if distance != "cosine":
        raise InvalidConfigError(
            f"The store's index has distance_type={distance!r}; only 'cosine' is known. Stores scale vectors to length "
            "1, so that 'l2' and 'inner_product' would give the same order: write 'cosine', or leave it out."
        )
    config = index.get("ann_index_config")
    if config is None:
        return None
    expect("'ann_index_config' of the store's index", config, Mapping, "a mapping with a 'kind'", optional=False)
    kind, type = config.get("kind", "hnsw"), config.get("vector_type", "vector")
    options = _options(config, _one_of("kind", kind, _OPTIONS))
    most = _DIMS[_one_of("vector_type", type, _DIMS)]
    if kind == "flat":
        return None
    if index["dims"] > most:
        hint = "Use 'vector_type': 'halfvec', which takes up to 4000, or" if type == "vector" else "Use"
        raise InvalidConfigError(
            f"An index of pgvector takes vectors of up to {most} numbers, and dims={index['dims']}. {hint} 'kind': "
            "'flat'."
        )
    return Approximate(kind, f"{type}({index['dims']})", options)


def _one_of(name: str, value: Any, known: Mapping[str, Any]) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise InvalidConfigError(
        f"'ann_index_config' has {name}={value!r}; it must be one of {', '.join(map(repr, known))}."
        f"{did_you_mean(str(value), known)}"
    )


def _options(config: Mapping[str, Any], kind: str) -> dict[str, int]:
    """Return what pgvector is told about an index."""
    known = _OPTIONS[kind]
    for name in config:
        if name not in known and name not in ("kind", "vector_type"):
            raise InvalidConfigError(
                f"Unknown key '{name}' in 'ann_index_config' of kind '{kind}'."
                f"{did_you_mean(name, ('kind', 'vector_type', *known))}"
            )
    options = {}
    for name, (theirs, least, most, usual) in known.items():
        number = options[theirs] = config.get(name, usual)
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise InvalidConfigError(
                f"'ann_index_config' has {name}={number!r}; it must be a whole number from {least} to {most}."
            )
    if kind == "hnsw" and options["ef_construction"] < 2 * options["m"]:
        raise InvalidConfigError(
            f"'ann_index_config' has ef_construction={options['ef_construction']} and m={options['m']}; pgvector needs "
            "an ef_construction of at least 2 * m."
        )
    return options
