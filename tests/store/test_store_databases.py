"""What the stores in databases do beyond the contract: opening, sharing, failing."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twinstep.errors import CheckpointCorruptError, InvalidConfigError, StorageError
from twinstep.sql.source import is_alive
from twinstep.store.backend import BackendStore
from twinstep.store.base import PutOp, SearchOp
from twinstep.store.database import DatabaseStore
from twinstep.store.postgres import PostgresStore
from twinstep.store.postgres.aio import AsyncPostgresStore, PoolConfig
from twinstep.store.sqlite import SqliteStore
from twinstep.store.sqlite.aio import AsyncSqliteStore

NS = ("a", "b")
Open = Callable[..., BackendStore]


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[type[DatabaseStore], str]:
    """The class of a store in a database, and the connection string of an empty one."""
    if request.param == "sqlite":
        return SqliteStore, str(tmp_path / "store.sqlite")
    return PostgresStore, request.getfixturevalue("empty_postgres")


Where = tuple[Any, str]


def test_setup_by_itself_by_call_or_awaited_and_by_context_manager(where: Where) -> None:
    kind, address = where
    with kind.from_conn_string(address) as store:
        store.put(NS, "k", {"n": 1})
    opened = kind(address)
    opened.setup()
    assert opened.get(NS, "k").value == {"n": 1}
    opened.close()

    async def main() -> None:
        async with kind.from_conn_string(address) as store:
            await store.setup()
            assert (await store.aget(NS, "k")).value == {"n": 1}

    asyncio.run(main())
    with pytest.raises(StorageError, match="was closed"):
        opened.get(NS, "k")
    assert (AsyncSqliteStore, AsyncPostgresStore) == (SqliteStore, PostgresStore)


def test_a_store_of_a_newer_version_is_refused(where: Where) -> None:
    kind, address = where
    with kind(address) as store:
        store._db.transact(_set_version(99))
    try:
        with pytest.raises(StorageError, match=r"version 99 of the store tables.*Install the newer"):
            kind(address).get(NS, "k")
    finally:
        store = kind(address)
        if kind is PostgresStore:
            import psycopg

            with psycopg.connect(address, autocommit=True) as conn:
                conn.execute("UPDATE twinstep_store_schema SET version = 2")
            assert store.get(NS, "k") is None


def _set_version(version: int) -> Any:
    yield "UPDATE twinstep_store_schema SET version = ?", (version,)


WRITER = """
import sys
from twinstep.store.{name} import {kind}
from twinstep.store.base import PutOp
store = {kind}(sys.argv[1])
who = sys.argv[2]
for n in range(40):
    keys = range(8) if who == "0" else reversed(range(8))
    store.batch([PutOp(("all",), str(key), {{"who": who, "n": n}}) for key in keys])
    store.put(("own", who), str(n), {{"n": n}})
"""


def test_processes_write_at_once_and_each_batch_is_whole(where: Where, tmp_path: Path) -> None:
    kind, address = where
    name = "sqlite" if kind is SqliteStore else "postgres"
    script = WRITER.format(name=name, kind=kind.__name__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen([sys.executable, "-c", script, address, str(who)], env=environment, stderr=subprocess.PIPE)
        for who in range(2)
    ]
    for writer in writers:
        assert (writer.communicate(timeout=60)[1], writer.returncode) == (b"", 0)
    with kind(address) as store:
        assert len(store.search(("own",), limit=1000)) == 80
        assert len({str(item.value) for item in store.search(("all",))}) == 1


def test_a_forked_child_opens_the_database_anew(where: Where) -> None:
    kind, address = where
    with kind(address) as store:
        store.put(NS, "k", {"n": 1})
        child = os.fork()
        if child == 0:
            try:
                store.put(NS, "child", store.get(NS, "k").value)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        store.put(NS, "parent", {})
        assert [item.key for item in store.search(NS)] == ["k", "child", "parent"]


def test_what_a_filtered_search_reads_comes_along_an_index(where: Where) -> None:
    kind, address = where
    with kind(address) as store:
        store.batch([PutOp(("bulk", str(n % 3)), str(n), {"n": n, "kind": "a"}) for n in range(3000)])
        store.batch([PutOp(("z", "1"), str(n), {"n": n}) for n in range(5)])
        store.put(("z", "2"), "k", {"n": 3})
        if kind is PostgresStore:
            store._db.transact(_statement("ANALYZE twinstep_store_items"))
        by_namespace = ["(prefix=? AND n>?)", "(prefix>? AND prefix<?)", "Index Cond: (prefix", "Index Cond: ((prefix"]
        by_term = ["SEARCH twinstep_store_terms USING PRIMARY KEY (term=?", "on twinstep_store_items_terms"]
        for prefix in [("z", "1"), ("z",)]:
            _check_plan(store, SearchOp(prefix, {"n": {"$lt": 0}}), by_namespace)
            _check_plan(store, SearchOp(prefix, {"n": 3}), by_term if kind is SqliteStore else by_namespace + by_term)
        conditions: list[dict[str, Any]] = [{"n": 7}, {"n": {"$in": [7, 8]}}, {"$and": [{"kind": "a"}, {"n": 7}]}]
        for condition in conditions:
            _check_plan(store, SearchOp((), condition), by_term)
            assert store.search((), filter=condition)[0].key == "7"


def _check_plan(store: DatabaseStore, op: SearchOp, parts: list[str]) -> None:
    plan = _plan(store, op)
    assert any(part in plan for part in parts), plan
    assert "SCAN twinstep" not in plan, plan
    assert "Seq Scan" not in plan, plan


def _plan(store: DatabaseStore, op: SearchOp) -> str:
    """Return how the database runs the statement by which a filtered search reads items."""
    from twinstep.store.search import Search

    search = Search(store._sql._spelling, op, -1)
    place = store._db.transact(search._place())
    assert place
    statement = next(search._scan(place, 10))
    assert isinstance(statement, tuple)
    sql, parameters = statement
    assert isinstance(parameters, tuple)
    explain = "EXPLAIN QUERY PLAN" if isinstance(store, SqliteStore) else "EXPLAIN"
    return str(store._db.transact(_statement(f"{explain} {sql}", parameters)))


def test_terms_follow_their_items(where: Where) -> None:
    kind, address = where
    with kind(address) as store:
        store.batch([PutOp(NS, key, {"a": 1, "b": "x"}) for key in "klm"])
        store.put(NS, "k", {"a": 2, "b": "x"})
        store.delete(NS, "l")
        assert [[i.key for i in store.search((), filter={"a": n})] for n in (1, 2)] == [["m"], ["k"]]
        store.put(NS, "k", {})
        store.delete(NS, "m")
        assert store.search((), filter={"b": "x"}) == []
        table = "terms" if kind is SqliteStore else "items WHERE terms IS NOT NULL"
        assert store._db.transact(_statement(f"SELECT count(*) FROM twinstep_store_{table}")) == [(0,)]


def test_a_term_of_many_items_is_found_along_the_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteStore(tmp_path / "store.sqlite") as store:
        store.batch([PutOp(("a", str(n % 3)), str(n), {"n": n % 7, "even": n % 2 == 0}) for n in range(60)])
        for many in (1, 10, 4096):
            monkeypatch.setattr("twinstep.store.sqlite.tables._MANY", many)
            for prefix in [(), ("a",), ("a", "1")]:
                found = store.search(prefix, filter={"n": 3, "even": True}, limit=100)
                every = [n for n in range(60) if n % 7 == 3 and n % 2 == 0 and (prefix != ("a", "1") or n % 3 == 1)]
                assert [item.key for item in found] == list(map(str, every)), (prefix, many)


def test_tables_of_the_first_version_are_brought_up_to_date(where: Where) -> None:
    from dataclasses import replace

    from twinstep.serde import Serializer

    kind, address = where
    with kind(address) as store:
        schema = store._db.schema
        tables = ["items", "vectors", "index", "schema", *(["terms"] if kind is SqliteStore else [])]
        for table in tables:
            store._db.transact(_statement(f"DROP TABLE twinstep_store_{table}"))
    old = kind(address)
    old._db.schema = replace(schema, migrations=schema.migrations[:1])
    old._db._opened = None
    old._db.open()
    value = Serializer().dumps({"n": 1, "s": ["x"]})
    put = "INSERT INTO twinstep_store_items (prefix, key, value, created, updated) VALUES ('a.b.', 'k', ?, 5, 5)"
    old._db.transact(_statement(put, (value,)))
    old._db.transact(_statement("INSERT INTO twinstep_store_index (dims) VALUES (2)"))
    vector = array("f", [1.0, 0.0]).tobytes()
    put = "INSERT INTO twinstep_store_vectors (prefix, item, position, vector) VALUES ('a.b.', 1, 0, ?)"
    old._db.transact(_statement(put, (vector,)))
    old.close()
    with kind(address, index={"dims": 2, "embed": lambda texts: [[1.0, 0.0]] * len(texts)}) as store:
        assert [(i.key, i.value) for i in store.search((), filter={"n": 1})] == [("k", {"n": 1, "s": ["x"]})]
        assert [i.score for i in store.search((), query="?")] == [1.0]
        assert store.search((), filter={"n": 2}) == []
        store.put(NS, "k", {"n": 2})
        assert store.search((), filter={"n": 1}) == []


def _statement(sql: str, parameters: tuple[Any, ...] = ()) -> Any:
    return (yield sql, parameters)


# ---------------------------------------------------------------------- SQLite


def test_an_open_connection_is_used_and_left_open(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "mine.sqlite", check_same_thread=False)
    conn.execute("CREATE TABLE mine (n)")
    with SqliteStore(conn) as store:
        asyncio.run(store.aput(NS, "k", {"n": 1}))
    assert conn.execute("SELECT prefix, key FROM twinstep_store_items").fetchall() == [("a.b.", "k")]
    conn.close()


def test_a_store_and_a_saver_share_a_file(tmp_path: Path) -> None:
    from twinstep.checkpoint.sqlite import SqliteSaver

    with SqliteSaver(tmp_path / "one.sqlite") as saver, SqliteStore(tmp_path / "one.sqlite") as store:
        store.put(NS, "k", {})
        assert saver.get_tuple({"configurable": {"thread_id": "1"}}) is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda path: path.write_bytes(b"no database, but long enough to be one" * 99),
            CheckpointCorruptError,
            "damaged",
        ),
        (lambda path: path.mkdir(), StorageError, "SQLITE_CANTOPEN"),
    ],
)
def test_files_that_cannot_be_opened(tmp_path: Path, make: Any, error: type[Exception], message: str) -> None:
    make(tmp_path / "store.sqlite")
    store = SqliteStore(tmp_path / "store.sqlite")
    for _ in range(2):
        with pytest.raises(error, match=message):
            store.get(NS, "k")


def test_a_file_opened_for_reading_only_is_read(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "store.sqlite") as store:
        store.put(NS, "k", {"n": 1})
    with SqliteStore(f"file:{tmp_path / 'store.sqlite'}?mode=ro") as store:
        with pytest.raises(StorageError, match="can be read but not written"):
            store.put(NS, "k", {"n": 2})
        item = store.get(NS, "k")
        assert item is not None
        assert item.value == {"n": 1}


@pytest.mark.parametrize("version", ["x'01'", "'one'"])
def test_a_damaged_version_is_refused(tmp_path: Path, version: str) -> None:
    with SqliteStore(tmp_path / "store.sqlite") as store:
        store._db.transact(_statement(f"UPDATE twinstep_store_schema SET version = {version}"))
    with pytest.raises(CheckpointCorruptError, match="store tables are damaged"):
        SqliteStore(tmp_path / "store.sqlite").setup()


def test_a_locked_file_is_named_and_a_retry_succeeds(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite", busy_timeout=0.01)
    store.setup()
    other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"is locked by another process.*busy_timeout"):
        store.put(NS, "k", {})
    assert store.get(NS, "k") is None
    other.execute("ROLLBACK")
    store.put(NS, "k", {})
    other.close()
    store.close()


def test_a_damaged_value_is_named_and_the_others_stay(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "store.sqlite") as store:
        store.batch([PutOp(NS, key, {"n": 1}) for key in ("bad", "good")])
        store._db.transact(_statement("UPDATE twinstep_store_items SET value = x'c1' WHERE key = 'bad'"))
        with pytest.raises(CheckpointCorruptError) as caught:
            store.search(NS)
        assert caught.value.__notes__ == ["This is the value of 'bad' in ('a', 'b')."]
        assert store.get(NS, "good")


# ---------------------------------------------------------------------- PostgreSQL


def test_pools_and_connections_that_are_given(empty_postgres: str) -> None:
    import psycopg
    from psycopg_pool import ConnectionPool

    pooled = PoolConfig(min_size=1, max_size=4, kwargs={"application_name": "twinstep"})
    with PostgresStore.from_conn_string(empty_postgres, pipeline=True, pool_config=pooled) as store:
        threads = [threading.Thread(target=store.put, args=(NS, str(n), {"n": n})) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.search(NS)) == 8
    with ConnectionPool(empty_postgres, min_size=1, max_size=2) as pool:
        with PostgresStore(pool) as store:
            store.put(NS, "pool", {})
        with pool.connection() as conn:
            assert conn.execute("SELECT count(*) FROM twinstep_store_items").fetchone() == (9,)
    for autocommit in (True, False):
        with psycopg.connect(empty_postgres, autocommit=autocommit) as conn:
            with PostgresStore(conn) as store:
                store.put(NS, f"conn {autocommit}", {})
                assert store.get(NS, f"conn {autocommit}")
            assert not conn.closed
    with PostgresStore(empty_postgres) as store:
        assert len(store.search(NS, limit=20)) == 11


def test_a_lost_connection_is_made_again(empty_postgres: str) -> None:
    import psycopg

    with PostgresStore(empty_postgres) as store:
        store.put(NS, "k", {})
        (pid,) = store._db.transact(_statement("SELECT pg_backend_pid()"))[0]
        with psycopg.connect(empty_postgres, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
        while is_alive(store._db._source._conn):  # type: ignore[attr-defined]
            time.sleep(0.01)
        assert store.get(NS, "k")
        with pytest.raises(StorageError, match="connects again"):
            store._db.transact(_statement("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert store.get(NS, "k")
        made = store._db._statements._made  # type: ignore[attr-defined]
        assert len(made) == 1, "nothing of lost connections is kept"


@pytest.mark.parametrize("threshold", [2, None])
def test_statements_are_prepared_as_the_connection_says(empty_postgres: str, threshold: int | None) -> None:
    import psycopg

    with psycopg.connect(empty_postgres, autocommit=True, prepare_threshold=threshold) as conn:
        stores = [PostgresStore(conn), PostgresStore(conn)]
        stores[0].put(NS, "k", {"n": 1})
        for store in stores * 5:
            assert [item.key for item in store.search(NS, filter={"n": 1})] == ["k"]
            assert store.get(NS, "k")
        names = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'twinstep%'"
        assert conn.execute(names, prepare=False).fetchone() == (0 if threshold is None else 4,)
        conn.execute("DEALLOCATE ALL")  # as psycopg does when a transaction of the owner is rolled back
        assert stores[0].get(NS, "k")
        stores[0].put(NS, "k", {"n": 2})
        assert stores[1].get(NS, "k").value == {"n": 2}  # type: ignore[union-attr]


def test_a_read_of_several_statements_needs_none_that_was_prepared_before(empty_postgres: str) -> None:
    import psycopg

    with psycopg.connect(empty_postgres, autocommit=True, prepare_threshold=1) as conn, PostgresStore(conn) as store:
        store.put((*NS, "below"), "k", {"n": 1})
        prepared = 0
        for turn in range(12):
            assert [item.key for item in store.search(NS, filter={"n": 1})] == ["k"]
            assert turn % 3 or store.get((*NS, "below"), "k")
            names = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'twinstep%'"
            found = conn.execute(names, prepare=False).fetchone()
            assert found is not None
            prepared = max(prepared, found[0])
            if turn % 4 == 3:
                conn.execute("DEALLOCATE ALL", prepare=False)
        assert prepared >= 3, "the first, and one in the transaction"


def test_a_read_of_one_namespace_takes_one_round_trip(empty_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from twinstep.sql.postgres import Statements

    trips: list[int] = []
    answer = Statements._answer

    def counted(statements: Statements) -> Any:
        trips.append(1)
        return answer(statements)

    with PostgresStore(empty_postgres) as store:
        store.batch([PutOp((*NS, "below"), str(n), {"n": n % 2}) for n in range(300)])
        monkeypatch.setattr(Statements, "_answer", counted)

        def search(*place: str, **options: Any) -> tuple[int, int]:
            trips.clear()
            return len(store.search(place, **options)), len(trips)

        everything = {"filter": {"n": {"$gte": 0}}, "limit": 400}
        assert search(*NS, "below", filter={"n": 1}) == (10, 1)
        assert search(*NS, "below", filter={"n": 2}) == (0, 1)
        assert search(*NS, "below", limit=400) == (300, 1)
        assert search(*NS, "below", limit=100, offset=250) == (50, 1)
        assert search(limit=10, offset=250) == (10, 1)
        assert search(filter={"n": 0}, offset=145) == (5, 1)
        assert search("nowhere") == (0, 1)
        assert search(*NS, filter={"n": 1})[0] == 10
        assert search(*NS, "below", **everything)[0] == 300, "more than a page"
        assert search(*NS, limit=400)[0] == 300
        assert search(limit=10, offset=299)[0] == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2", "Check that the server runs"),
        ("this is no connection string", "OperationalError|ProgrammingError"),
    ],
)
def test_a_server_that_cannot_be_reached(address: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        PostgresStore(address).put(NS, "k", {})


def test_what_is_no_synchronous_connection_is_refused() -> None:
    class AsyncConnection:
        pass

    with pytest.raises(InvalidConfigError, match="Asynchronous callers are served"):
        PostgresStore(AsyncConnection())  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigError, match="Expected a connection string"):
        PostgresStore(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigError, match="pool cannot be made"):
        PostgresStore("", pool_config={"min_size": 5, "max_size": 2}).setup()
