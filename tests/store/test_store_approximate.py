"""Search by meaning with an index of pgvector: it may miss some of the nearest, and nothing else may be wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from twinstep.errors import InvalidArgumentError, InvalidConfigError
from twinstep.store.base import PutOp
from twinstep.store.memory import InMemoryStore
from twinstep.store.postgres import PostgresStore
from twinstep.store.postgres.base import PostgresIndexConfig

DIMS, MANY, FEW = 8, 500, 5
Open = Callable[..., PostgresStore]
_draw = random.Random(5)
VECTORS = [[_draw.gauss(0, 1) for _ in range(DIMS)] for _ in range(MANY)]


def embed(texts: list[str]) -> list[list[float]]:
    return [VECTORS[int(text)] for text in texts]


def config(**ann: Any) -> PostgresIndexConfig:
    found: Any = {"dims": DIMS, "embed": embed, "fields": ["t[*]"], **({"ann_index_config": ann} if ann else {})}
    return found


@pytest.fixture
def opened(empty_postgres: str) -> Iterator[Open]:
    """Open a store on the same database each time; plans without its index are not taken where there is another one."""
    with ExitStack() as stack:
        url = empty_postgres + "%20-cenable_sort%3Doff%20-cenable_seqscan%3Doff"
        yield lambda **ann: stack.enter_context(PostgresStore(url, index=config(**ann)))


KINDS = [
    {"kind": "hnsw"},
    {"kind": "hnsw", "vector_type": "halfvec", "m": 8, "ef_construction": 32},
    {"kind": "ivfflat", "nlist": 4},
]


def puts() -> list[PutOp]:
    """Every hundredth item is in a namespace of its own, and has a field of its own."""
    return [
        PutOp(("few" if n % 100 == 7 else "many",), str(n), {"t": [str(n)], "rare": n % 100 == 9, "n": n})
        for n in range(MANY)
    ]


@pytest.mark.parametrize("ann", KINDS, ids=["hnsw", "halfvec", "ivfflat"])
@pytest.mark.parametrize("lane", ["sync", "async"])
def test_what_is_found_is_right_and_as_much_as_there_is(opened: Open, ann: Any, lane: str) -> None:
    exact, store = InMemoryStore(index=config()), opened(**ann)

    def search(of: Any, *args: Any, **kwargs: Any) -> list[tuple[str, float | None]]:
        found = of.search(*args, **kwargs) if lane == "sync" else asyncio.run(of.asearch(*args, **kwargs))
        return [(item.key, item.score) for item in found]

    for each in (exact, store):
        each.batch(puts())
    every = dict(search(exact, (), query="3", limit=MANY))
    hits = 0
    for query in map(str, range(20)):
        scores = dict(search(exact, (), query=query, limit=MANY))
        found = search(store, (), query=query)
        hits += len(found) - len(dict(found).keys() - list(scores)[:10])
        assert found == sorted(((key, scores[key]) for key, _ in found), key=lambda each: -(each[1] or 0))
        assert len(dict(found)) == 10
    assert hits > 100, "of 200"
    for wanted in [
        {"namespace": ("few",), "limit": FEW + 1},  # next to none of what the index comes across
        {"namespace": (), "filter": {"rare": True}, "limit": 2 * FEW},
        {"namespace": ("many",), "filter": {"n": {"$lt": 20}}, "limit": 30},
        {"namespace": (), "limit": MANY + 1, "offset": 3},
    ]:
        place, options = (wanted["namespace"],), {k: v for k, v in wanted.items() if k != "namespace"}
        assert search(store, *place, query="3", **options) == search(exact, *place, query="3", **options), wanted
    store.delete(("many",), "3")
    assert search(store, (), query="3", limit=MANY)[0][0] != "3"
    store.put(("many",), "3", {"t": ["3"]})
    assert search(store, (), query="3", limit=1) == [("3", every["3"])]


def test_a_search_comes_along_the_index_and_one_without_it_does_not(opened: Open) -> None:
    store = opened(kind="hnsw")
    store.batch(puts())
    plan = str(store._db.transact(_plan_of_nearest(store)))
    assert "Index Scan using twinstep_store_vectors_near" in plan
    plain, exact = opened(), InMemoryStore(index=config())
    exact.batch(puts())
    assert plain._sql._spelling.table is None
    for query in map(str, range(20)):
        found, expected = (each.search((), query=query) for each in (plain, exact))
        assert [(item.key, item.score) for item in found] == [(item.key, item.score) for item in expected]


def test_searches_that_come_again_are_planned_each_by_itself(empty_postgres: str) -> None:
    with PostgresStore(empty_postgres, index=config(kind="hnsw")) as store:
        store.batch([PutOp((f"{n % 50}",), str(n), {"t": [str(n)]}) for n in range(MANY)])
        for n in range(30):
            assert store.search((f"{n}",), query="3", limit=2)
            assert len(store.search((f"{n}",), filter={"t": {"$exists": True}}, limit=2)) == 2
            assert len(store.search((f"{n}",), limit=2)) == 2
        kept = [row[0] for row in store._db.transact(_prepared())]
    assert kept, "those of which that is not so"
    assert not any("LIMIT" in sql for sql in kept), kept


def _prepared() -> Any:
    return (yield "SELECT statement FROM pg_prepared_statements WHERE name LIKE 'twinstep%'", ())


def _plan_of_nearest(store: PostgresStore) -> Any:
    from twinstep.store.rows import EVERYWHERE

    assert store._approximate is not None
    search = store._approximate.nearest(EVERYWHERE, str(VECTORS[3]), 52)
    yield next(search)
    sql, parameters = search.send([])
    return (yield f"EXPLAIN {sql}", parameters)


def test_the_index_is_made_of_what_is_there_and_kept(opened: Open) -> None:
    plain = opened()
    plain.batch(puts())
    for _ in range(2):
        assert len(opened(kind="hnsw", m=4).search((), query="3")) == 10
    with pytest.raises(InvalidConfigError, match=r"index hnsw vector\(8\).*m=4.*says hnsw halfvec\(8\).*DROP INDEX"):
        opened(kind="hnsw", m=4, vector_type="halfvec")
    plain.put(("many",), "more", {"t": ["3"]})
    assert {item.key for item in opened(kind="hnsw", m=4).search((), query="3", limit=2)} == {"3", "more"}
    assert opened(kind="flat")._sql._spelling.table is None


def test_stores_that_are_opened_at_once_make_one_index(empty_postgres: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import psycopg

    PostgresStore(empty_postgres).setup()
    with ThreadPoolExecutor(4) as pool:
        stores = [PostgresStore(empty_postgres, index=config(kind="hnsw")) for _ in range(4)]
        list(pool.map(lambda store: store.setup(), stores))
    with psycopg.connect(empty_postgres) as conn:
        found = conn.execute("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'twinstep_store_vectors_near%'")
        assert found.fetchone() == (1,)
    for store in stores:
        store.close()


def test_without_pgvector_it_is_refused(empty_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinstep.store.postgres._column_type", lambda: iter_result("bytea"))
    for _ in range(2):
        with pytest.raises(InvalidConfigError, match="needs pgvector"):
            PostgresStore(empty_postgres, index=config(kind="hnsw")).setup()
    monkeypatch.undo()
    monkeypatch.setattr("twinstep.store.postgres.approximate._OLDEST", (99, 0))
    with pytest.raises(InvalidConfigError, match=r"needs pgvector 0\.8 or newer, and the database has"):
        PostgresStore(empty_postgres, index=config(kind="hnsw")).setup()


def iter_result(value: str) -> Any:
    """Return a program of no statements."""
    yield from ()
    return value


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ann_index_config": {"kind": "hnws"}}, "kind='hnws'.*Did you mean 'hnsw'"),
        ({"ann_index_config": {"kind": None}}, "kind=None"),
        ({"ann_index_config": {"vector_type": "bit"}}, "vector_type='bit'; it must be one of 'vector', 'halfvec'"),
        ({"ann_index_config": {"kind": "hnsw", "nlist": 9}}, "Unknown key 'nlist' .* of kind 'hnsw'"),
        ({"ann_index_config": {"kind": "ivfflat", "n_list": 9}}, "Did you mean 'nlist'"),
        ({"ann_index_config": {"kind": "flat", "m": 16}}, "Unknown key 'm'"),
        ({"ann_index_config": {"m": 1}}, "m=1; it must be a whole number from 2 to 100"),
        ({"ann_index_config": {"m": True}}, "m=True"),
        ({"ann_index_config": {"m": 50}}, "at least 2 \\* m"),
        ({"ann_index_config": {"kind": "ivfflat", "nlist": "9"}}, "nlist='9'"),
        ({"ann_index_config": {}, "dims": 2001}, "up to 2000 numbers, and dims=2001.*halfvec"),
        ({"ann_index_config": {"vector_type": "halfvec"}, "dims": 4001}, "up to 4000 numbers.*'flat'"),
        ({"distance_type": "l2"}, "distance_type='l2'; only 'cosine'"),
        ({"ann_index": {}}, "Unknown key 'ann_index'.*Did you mean 'ann_index_config'"),
    ],
)
def test_wrong_settings_are_refused(more: Any, message: str) -> None:
    index: Any = {**config(), **more}
    with pytest.raises(InvalidConfigError, match=message):
        PostgresStore("", index=index)


def test_settings_of_another_type_or_store_are_refused() -> None:
    wrong: Any = {**config(), "ann_index_config": "hnsw"}
    with pytest.raises(InvalidArgumentError, match="a mapping with a 'kind'"):
        PostgresStore("", index=wrong)
    with pytest.raises(InvalidConfigError, match="Unknown key 'ann_index_config'"):
        InMemoryStore(index=config(kind="hnsw"))
