"""What a PostgreSQL store can be told about its index."""

from __future__ import annotations

from typing import Literal, TypedDict

from twinstep.sql.source import PoolConfig
from twinstep.store.vectors import IndexConfig

__all__ = ["ANNIndexConfig", "HNSWConfig", "IVFFlatConfig", "PoolConfig", "PostgresIndexConfig"]


class ANNIndexConfig(TypedDict, total=False):
    """Which index of pgvector finds vectors.

    Keys:
        kind: "hnsw" (when left out) and "ivfflat" are fast and find most of the nearest, "flat" finds them all.
        vector_type: in which numbers the index keeps vectors: "vector" (32 bits; when left out) or "halfvec" (16 bits,
            half the space). Scores are computed from 32 bits in both.
    """

    kind: Literal["hnsw", "ivfflat", "flat"]
    vector_type: Literal["vector", "halfvec"]


class HNSWConfig(ANNIndexConfig, total=False):
    """An index that leads from neighbour to neighbour.

    Keys:
        m: neighbours that each vector has, 2 to 100; 16 when left out.
        ef_construction: among how many they are chosen, 2 * m to 1000; 64 when left out.
    """

    m: int
    ef_construction: int


class IVFFlatConfig(ANNIndexConfig, total=False):
    """An index of lists, each of vectors that are near to each other; as many as its square root are searched first.

    Keys:
        nlist: how many lists, 1 to 32768; 100 when left out.
    """

    nlist: int


class PostgresIndexConfig(IndexConfig, total=False):
    """How to make values searchable by meaning in PostgreSQL.

    Keys:
        ann_index_config: an index for searches that may miss some of the nearest; without it they find all.
        distance_type: "cosine". Vectors are scaled to length 1, so that other distances would give the same order.
    """

    ann_index_config: ANNIndexConfig | HNSWConfig | IVFFlatConfig
    distance_type: Literal["cosine"]
