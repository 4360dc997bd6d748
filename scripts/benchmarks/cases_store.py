"""Cases of stores: 100,000 items, 20,000 of them with vectors of 384 numbers, on SQLite and PostgreSQL.

On PostgreSQL all sides compute every distance, or all of them search in an index (HNSW) that may miss some of the
nearest.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from itertools import islice
from time import perf_counter, process_time
from typing import Any

from scripts.benchmarks.case import Row, Sample, Side
from scripts.benchmarks.cases_saver import server

ITEMS, VECTORS, DIMS, SPACES = 100_000, 20_000, 384, 100
BATCH = 5_000
MANY = 200
Put = tuple[tuple[str, ...], str, dict[str, Any], bool]


def vector(text: str) -> list[float]:
    """Return the vector of a text, the same each time."""
    draw = random.Random(text).random
    return [draw() - 0.5 for _ in range(DIMS)]


def embed(texts: list[str]) -> list[list[float]]:
    return [vector(text) for text in texts]


def puts() -> Iterator[Put]:
    """Yield what is stored: namespace, key, value, and whether it has a vector."""
    for n in range(ITEMS):
        space = ("docs",) if n < VECTORS else ("users", str(n % SPACES))
        yield space, str(n), {"text": f"text {n}", "n": n, "kind": "even" if n % 2 == 0 else "odd"}, n < VECTORS


def least(run: Callable[[], object], times: int, clock: Callable[[], float], rounds: int = 5) -> float:
    """Return the seconds of one call, in the fastest of some rounds."""
    found = []
    for _ in range(rounds):
        start = clock()
        for _ in range(times):
            run()
        found.append((clock() - start) / times)
    return min(found)


def measured(
    served: bool, get: Callable[[int], Any], filtered: Callable[[int], Any], near: Callable[[str], Any]
) -> Sample:
    """Measure the three questions that are asked of a store: in CPU time, or on the clock where a server works too."""
    clock = perf_counter if served else process_time
    chance = random.Random(1)
    assert get(VECTORS + 7)
    assert len(filtered(VECTORS + 7)) == 1
    return {
        "get": least(lambda: get(chance.randrange(ITEMS)), MANY, clock) * 1e6,
        "filtered": least(lambda: filtered(chance.randrange(VECTORS, ITEMS)), 5, clock) * 1e3,
        "near": nearest(near, clock),
    }


def nearest(near: Callable[[str], Any], clock: Callable[[], float]) -> float:
    """Return the milliseconds of a search by meaning."""
    chance = random.Random(2)
    assert len(near("text 7")) == 10
    return least(lambda: near(f"text {chance.randrange(VECTORS)}"), 3, clock) * 1e3


def space_of(n: int) -> tuple[str, ...]:
    return ("docs",) if n < VECTORS else ("users", str(n % SPACES))


def fill(side: Side, store: Any, items: int = ITEMS, url: str | None = None) -> None:
    """Put items into a store."""
    put_op = side.module("store.base").PutOp
    ops = [
        put_op(space, key, value, None if indexed else False) for space, key, value, indexed in islice(puts(), items)
    ]
    for start in range(0, items, BATCH):
        store.batch(ops[start : start + BATCH])
    if url is not None:  # the server would do so by itself, within a minute
        with import_module("psycopg").connect(url, autocommit=True) as conn:
            conn.execute("ANALYZE")


def questions(side: Side, store: Any, url: str | None = None) -> Sample:
    """Fill a store and ask it."""
    fill(side, store, url=url)
    return measured(
        url is not None,
        lambda n: store.get(space_of(n), str(n)),
        lambda n: store.search(space_of(n), filter={"n": n}),
        lambda text: store.search(("docs",), query=text),
    )


def index(kind: str | None = None) -> dict[str, Any]:
    """Return how values are made searchable; `kind`: of the index of pgvector."""
    ann = {"ann_index_config": {"kind": kind}} if kind else {}
    return {"dims": DIMS, "embed": embed, "fields": ["text"], **ann}


# ---------------------------------------------------------------------- SQLite


def sqlite_store(side: Side) -> Sample:
    path = str(side.folder / "store.sqlite")
    store = side.enter(side.module("store.sqlite").SqliteStore.from_conn_string(path, index=index()))
    store.setup()
    return questions(side, store)


def bare_sqlite_store(side: Side) -> Sample:
    extension = import_module("twinstep.store.sqlite.extension")
    conn = extension.connect(side.folder / "bare.sqlite", timeout=5, check_same_thread=True, uri=False)
    conn.execute(f"PRAGMA mmap_size = {2**30}")
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("CREATE TABLE items (space TEXT, key TEXT, value TEXT, PRIMARY KEY (space, key))")
    conn.execute("CREATE TABLE vectors (key TEXT PRIMARY KEY, vector BLOB)")
    for space, key, value, indexed in puts():
        conn.execute("INSERT INTO items VALUES (?, ?, ?)", (".".join(space), key, json.dumps(value)))
        if indexed:
            conn.execute("INSERT INTO vectors VALUES (?, ?)", (key, blob(value["text"])))
    conn.commit()
    return measured(False, *bare_questions(conn, "?", "json_extract(value, '$.n')", "vec_distance_l2(vector, ?)", blob))


def blob(text: str) -> bytes:
    return struct.pack(f"<{DIMS}f", *vector(text))


def bare_questions(conn: Any, param: str, field: str, distance: str, vector_of: Callable[[str], Any]) -> Any:
    """Return the three questions as bare queries."""
    get = f"SELECT value FROM items WHERE space = {param} AND key = {param}"
    filtered = f"SELECT value FROM items WHERE space = {param} AND {field} = {param} LIMIT 10"
    near = f"SELECT key, {distance} AS far FROM vectors ORDER BY far LIMIT 10"
    return (
        lambda n: conn.execute(get, (".".join(space_of(n)), str(n))).fetchone(),
        lambda n: conn.execute(filtered, (".".join(space_of(n)), n)).fetchall(),
        lambda text: conn.execute(near, (vector_of(text),)).fetchall(),
    )


# ---------------------------------------------------------------------- PostgreSQL


def postgres_store(side: Side) -> Sample:
    return questions(side, opened(side, "flat"), schema_url(side))


def hnsw_store(side: Side) -> Sample:
    store = opened(side, "hnsw")
    fill(side, store, VECTORS, schema_url(side))
    return {"near": nearest(lambda text: store.search(("docs",), query=text), perf_counter)}


def opened(side: Side, kind: str) -> Any:
    """Open a store with an index of a kind in a schema of its own."""
    with_schema(side)
    stores = side.module("store.postgres")
    store = side.enter(stores.PostgresStore.from_conn_string(schema_url(side), index=index(kind)))
    store.setup()
    return store


def bare_postgres_store(side: Side) -> Sample:
    conn = bare_vectors(side)
    conn.execute("CREATE TABLE items (space TEXT, key TEXT, value JSONB, PRIMARY KEY (space, key))")
    with conn.cursor() as cursor:
        rows = [(".".join(space), key, json.dumps(value)) for space, key, value, _ in puts()]
        cursor.executemany("INSERT INTO items VALUES (%s, %s, %s)", rows)
    conn.execute("ANALYZE")
    return measured(True, *bare_postgres_questions(conn))


def bare_hnsw_store(side: Side) -> Sample:
    conn = bare_vectors(side)
    conn.execute("CREATE INDEX ON vectors USING hnsw (vector vector_ip_ops)")
    conn.execute("ANALYZE")
    return {"near": nearest(bare_postgres_questions(conn)[2], perf_counter)}


def bare_vectors(side: Side) -> Any:
    """Return a connection to a schema of its own with a table of vectors."""
    with_schema(side)
    conn = side.enter(import_module("psycopg").connect(schema_url(side), autocommit=True))
    conn.execute(f"CREATE TABLE vectors (key TEXT PRIMARY KEY, vector vector({DIMS}))")
    with conn.cursor() as cursor:
        vectors = [(key, literal(value["text"])) for _, key, value, indexed in puts() if indexed]
        cursor.executemany("INSERT INTO vectors VALUES (%s, %s)", vectors)
    return conn


def bare_postgres_questions(conn: Any) -> Any:
    return bare_questions(conn, "%s", "(value->>'n')::int", "vector <#> %s::vector", literal)


def literal(text: str) -> str:
    return json.dumps(vector(text))


def with_schema(side: Side) -> None:
    """Make a schema for this measurement in place of the last one's."""
    with import_module("psycopg").connect(server(), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        for (name,) in conn.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bench_%'").fetchall():
            conn.execute(f"DROP SCHEMA {name} CASCADE")  # of the measurement before
        conn.execute(f"CREATE SCHEMA {schema(side)}")


def schema(side: Side) -> str:
    return f"bench_{side.folder.name.lower()}"


def schema_url(side: Side) -> str:
    return f"{server()}{'&' if '?' in server() else '?'}options=-csearch_path%3D{schema(side)},public"


def _rows(name: str, case: Any, bare: Any, served: bool) -> list[Row]:
    row = partial(Row, case=case, bare=bare, slow=True, served=served)
    return [
        row(f"store of 100,000 items, {name}: get (above bare)", metric="get", unit="us", bar=100, above_bare=True),
        row(f"store, {name}: filtered search among 800", metric="filtered", unit="ms", bar=20),
        row(f"store, {name}: nearest of 20,000 vectors", metric="near", unit="ms", bar=20),
    ]


ROWS = [
    *_rows("SQLite", sqlite_store, bare_sqlite_store, served=False),
    *_rows("Postgres", postgres_store, bare_postgres_store, served=True),
    Row(
        "store, Postgres: nearest of 20,000 vectors, HNSW",
        hnsw_store,
        bare_hnsw_store,
        bar=20,
        metric="near",
        unit="ms",
        slow=True,
        served=True,
    ),
]
