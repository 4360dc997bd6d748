"""The axes of the store tests: each runs on every backend and in both lanes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from twinstep.store.backend import BackendStore
from twinstep.store.memory import InMemoryStore
from twinstep.store.postgres import PostgresStore
from twinstep.store.sqlite import SqliteStore

BACKENDS = ["memory", "sqlite", "postgres"]
Open = Callable[..., BackendStore]


@pytest.fixture(scope="session")
def postgres_schema(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """The connection string of a schema of its own on the real server, and a connection to it."""
    import psycopg

    url: str = request.getfixturevalue("postgres_url")
    name = f"test_{uuid4().hex}"
    url += f"{'&' if '?' in url else '?'}options=-csearch_path%3D{name},public"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        conn.execute(f"CREATE SCHEMA {name}")
        yield url, conn
        conn.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def empty_postgres(postgres_schema: tuple[str, Any]) -> str:
    """The connection string of that schema, emptied."""
    url, conn = postgres_schema
    if conn.execute("SELECT to_regclass('twinstep_store_items')").fetchone()[0]:
        for table in ("items", "vectors", "index"):
            conn.execute(f"TRUNCATE twinstep_store_{table}")
        conn.execute("DROP INDEX IF EXISTS twinstep_store_vectors_near")
    return url


@pytest.fixture(params=BACKENDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open a store on the same empty database each time (a new one, for memory), with some options."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield InMemoryStore
        elif request.param == "sqlite":
            yield lambda **options: stack.enter_context(SqliteStore(tmp_path / "store.sqlite", **options))
        else:
            url = request.getfixturevalue("empty_postgres")
            yield lambda **options: stack.enter_context(PostgresStore(url, **options))


@pytest.fixture
def store(open_store: Open) -> BackendStore:
    """One empty store of each backend."""
    return open_store()


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, store: BackendStore) -> Callable[..., Any]:
    """Call a method of the store by its name, in both lanes."""

    def run(method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return getattr(store, method)(*args, **kwargs)
        return asyncio.run(getattr(store, "a" + method)(*args, **kwargs))

    return run
