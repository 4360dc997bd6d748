"""What only the PostgreSQL saver has: a server that goes away, poolers, pools, other writers and their locks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tests.pgproxy import breaking_connection
from tests.postgres import fresh_database, running_server
from twinstep.checkpoint.base import Checkpoint, empty_checkpoint
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.postgres.aio import AsyncPostgresSaver
from twinstep.checkpoint.postgres.database import Session
from twinstep.checkpoint.rows import CheckpointRow, Commit, Loaded
from twinstep.checkpoint.sql import MIGRATIONS
from twinstep.errors import (
    CheckpointCorruptError,
    CheckpointStorageError,
    InvalidConfigError,
    OutcomeUnknownError,
    ThreadConflictError,
)
from twinstep.func import entrypoint, task
from twinstep.ids import new_id
from twinstep.testing.conformance.writer import Run, put, thread, values
from twinstep.types import Command, interrupt

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(postgres_database: str) -> str:
    """A database without tables."""
    with psycopg.connect(postgres_database, autocommit=True) as conn:
        conn.execute("DROP SCHEMA public CASCADE")
        conn.execute("CREATE SCHEMA public")
    return postgres_database


@pytest.fixture
def saver(url: str) -> Iterator[PostgresSaver]:
    with PostgresSaver.from_conn_string(url) as saver:
        yield saver


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection beside the saver's."""
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def end_sessions(admin: psycopg.Connection[Any]) -> None:
    """End all other sessions on the database, as an administrator or a restart does; a pool may be opening more."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while admin.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall():
        time.sleep(0.01)


def process(job: str, url: str) -> subprocess.Popen[str]:
    """Start one of the jobs in `processes`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.checkpoint.processes", job, url],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# ---------------------------------------------------------------------- other processes


def test_processes_that_race_lose_nothing(url: str) -> None:
    """They also make the tables at the same time."""
    racers = [process("race", url) for _ in range(3)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60)[0].split() for racer in racers]
    with PostgresSaver(url) as saver:
        lineage = [row.id for row in saver.load("t", "").rows]
    assert len(lineage) == 30
    assert sorted(lineage) == sorted(id for ids in said for id in ids)


def test_a_commit_after_one_of_its_own_takes_one_round_trip(
    saver: PostgresSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[Session] = []
    send = Session._send

    def counted(session: Session) -> Any:
        trips.append(session)
        return send(session)

    monkeypatch.setattr(Session, "_send", counted)
    run = Run(saver)
    rows = [run.step()]
    for n in range(3):
        trips.clear()
        rows.append(run.step())
        run.record(f"task {n}")
        assert len(trips) == 2
    assert saver.load("t", "").rows == tuple(rows)


@pytest.mark.parametrize("overtake", ["claim", "delete", "write"])
def test_a_run_overtaken_between_its_commits_is_refused(saver: PostgresSaver, url: str, overtake: str) -> None:
    """What it knows of its own last commit does not hold any more."""
    run = Run(saver)
    run.step()
    with PostgresSaver(url) as other:
        if overtake == "delete":
            other.delete_thread("t")
        else:
            later = Run(other)
            row = later.step() if overtake == "write" else None
        with pytest.raises(ThreadConflictError):
            run.step()
        with pytest.raises(ThreadConflictError):
            run.record("late")
        loaded = other.load("t", "")
        if overtake == "delete":
            assert loaded == Loaded(0, None, None, (), ())
        else:
            assert (loaded.holder, loaded.records) == (later.id, ())
            assert row is None or loaded.rows[-1] == row
    assert Run(saver).step().blob == b"state"


def test_setups_at_the_same_time_make_the_tables_once(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: PostgresSaver(url).setup(), range(8)))
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT version FROM twinstep_schema").fetchall() == [(len(MIGRATIONS),)]


@pytest.mark.parametrize("told", [1, 20])
def test_acknowledged_commits_survive_kill_9(url: str, told: int) -> None:
    with process("write", url) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline().split() for _ in range(told)]
        writer.kill()
        said += [line.split() for line in writer.stdout if line.endswith("\n")]
    steps = [word for kind, word in said if kind == "step"]
    with PostgresSaver(url) as saver:
        Run(saver)  # waits for the commit that the server may still be at, and lets no other one follow
        loaded = saver.load("t", "")
        assert [row.id for row in loaded.rows][: len(steps)] == steps
        assert len(loaded.rows) - len(steps) in (0, 1), "at most the commit that was under way"
        assert Run(saver).step().parent == loaded.rows[-1].id


def test_a_writer_that_does_not_end_is_waited_for_with_a_limit(url: str, admin: psycopg.Connection[Any]) -> None:
    with PostgresSaver(url, lock_timeout=0.1) as hasty, PostgresSaver(url) as patient:
        put(hasty, thread(), x=1)
        other = PostgresSaver(url)  # stops in the middle of a commit, like a process that is stopped
        run, db = Run(other, "1"), other._db
        db.begin()
        db.run(other._program.commit(Commit("1", "", run.id, run.epoch, status="done")))
        with pytest.raises(CheckpointStorageError, match=r"did not finish within 0\.1 s"):
            Run(hasty, "1")
        assert values(hasty) == {"x": 1}, "reading does not wait"
        Run(hasty, "2").step()
        threading.Timer(0.2, db.rollback).start()
        put(patient, thread(), x=2)
        other.close()


def test_two_writers_with_the_same_knowledge_cannot_both_win(url: str) -> None:
    """The second waits for the first and must then see what it did, not what it saw before."""
    with PostgresSaver(url) as first, PostgresSaver(url) as second:
        run = Run(first)
        head = run.step().id

        def late() -> Any:
            row = CheckpointRow(new_id(), head, head, b"late")
            commit = Commit("t", "", new_id(), run.epoch, claim=True, expect=head, checkpoint=row)
            with suppress(ThreadConflictError):
                return second.commit(commit)
            return "refused"

        with ThreadPoolExecutor(1) as pool:
            first._db.begin()
            row = CheckpointRow(new_id(), head, head, b"first")
            commit = Commit("t", "", run.id, run.epoch, expect=head, checkpoint=row)
            first._db.run(first._program.commit(commit))
            waiting = pool.submit(late)
            time.sleep(0.1)
            assert not waiting.done()
            first._db.commit()
            assert waiting.result() == "refused"
        assert first.load("t", "").rows[-1].id == row.id


def test_commits_that_wait_share_a_transaction(url: str, admin: psycopg.Connection[Any]) -> None:
    with PostgresSaver(url) as saver:
        runs = [Run(saver, f"t{i}") for i in range(8)]
        runs[5].head = new_id()
        errors: dict[int, BaseException] = {}

        def work(i: int) -> None:
            try:
                runs[i].step()
            except Exception as error:
                errors[i] = error

        with saver._db.lock:
            workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
            for worker in workers:
                worker.start()
            time.sleep(0.1)
        for worker in workers:
            worker.join()
        assert list(errors) == [5]
        assert isinstance(errors[5], ThreadConflictError)
        found = admin.execute("SELECT count(DISTINCT c.xmin::text) FROM twinstep_checkpoints c").fetchall()
        assert found == [(1,)]
        assert [len(saver.load(f"t{i}", "").rows) for i in range(8)] == [1, 1, 1, 1, 1, 0, 1, 1]


# ---------------------------------------------------------------------- connections that end


@pytest.mark.parametrize("kind", ["string", "pool"])
def test_sessions_that_ended_while_nobody_used_them_are_not_noticed(
    url: str, admin: psycopg.Connection[Any], kind: str
) -> None:
    with ConnectionPool(url, min_size=3, open=True) as pool:
        pool.wait()
        saver = PostgresSaver(url if kind == "string" else pool)
        put(saver, thread(), x=1)
        end_sessions(admin)
        assert values(saver) == {"x": 1}
        end_sessions(admin)
        put(saver, thread(), x=2)
        assert values(saver) == {"x": 2}
        saver.close()


def test_a_session_that_ends_in_mid_commit_stores_nothing_and_the_commit_is_tried_again(
    url: str, admin: psycopg.Connection[Any], saver: PostgresSaver
) -> None:
    run = Run(saver)
    begin = saver._db.begin

    def cut(wait: bool = True) -> bool:
        begin(wait)
        end_sessions(admin)
        return True

    saver._db.begin = cut  # type: ignore[method-assign]
    run.step()
    saver._db.begin = begin  # type: ignore[method-assign]
    run.step()
    assert len(saver.load("t", "").rows) == 2


@pytest.mark.parametrize("stored", [True, False])
def test_a_commit_whose_answer_is_lost_is_settled_by_the_next_run(url: str, stored: bool) -> None:
    """The connection breaks between COMMIT and its answer, at each commit: nothing is lost, nothing done twice."""
    commits = 0
    with breaking_connection(url) as proxy, PostgresSaver(proxy.url) as saver:
        proxy.stored = stored
        while True:
            commits += 1
            ran: list[str] = []
            work = task(lambda name, ran=ran: ran.append(name) or name, name="work")

            @entrypoint(checkpointer=saver)
            def flow(n: int, work: Any = work) -> list[Any]:
                return [work("a").result(), interrupt("?"), work("b").result()]

            config, proxy.at = thread(f"{commits}"), commits
            inputs: list[Any] = [1, Command(resume="!")]
            failures = 0
            while inputs:
                try:
                    result = flow.invoke(inputs[0], config)
                    inputs.pop(0)
                except OutcomeUnknownError:
                    failures += 1
                    state = flow.get_state(config)
                    if state.interrupts:
                        inputs = inputs[-1:]
                    elif state.metadata is not None:
                        inputs = [None, *inputs[1:]]
            assert result == ["a", "!", "b"]
            if not failures:
                break
            assert len(ran) == 2 or (not stored and len(ran) == 3), (commits, ran)
    assert commits > 6


@pytest.mark.slow  # starts a server of its own, which also takes its time to come back
def test_a_server_that_restarts_fails_the_commit_in_flight_and_the_next_works() -> None:
    """Killed with -9 in the middle of a run: what was acknowledged is there, and the run goes on where it was."""
    with running_server(safe=True) as server, PostgresSaver(server.get_uri()) as saver:
        ran: list[int] = []

        @task
        def work(i: int) -> int:
            ran.append(i)
            if i == 3 and len(ran) == 4:
                kill(server)
            return i

        @entrypoint(checkpointer=saver)
        def flow(n: int) -> list[int]:
            return [work(i).result() for i in range(n)]

        with pytest.raises(CheckpointStorageError, match="PostgreSQL"):
            flow.invoke(6, thread())
        assert ran == [0, 1, 2, 3], "no effect after the failed write"
        with pytest.raises(CheckpointStorageError):
            flow.get_state(thread())
        server.ensure_postgres_running()
        assert flow.get_state(thread()).metadata["status"] == "running"  # type: ignore[index]
        assert flow.invoke(None, thread()) == [0, 1, 2, 3, 4, 5]
        assert ran == [0, 1, 2, 3, 3, 4, 5]


def kill(server: Any) -> None:
    """End the server and its children at once, and wait until they are gone."""
    import psutil  # type: ignore[import-untyped]  # comes with the server

    main = psutil.Process(server.get_pid())
    processes = [*main.children(), main]
    for each in processes[::-1]:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)
    (server.pgdata / "postmaster.pid").unlink()  # a process that nobody has reaped yet would pass for a server


# ---------------------------------------------------------------------- what a saver can be given


def test_given_connection_is_used_and_left_as_it_was(url: str) -> None:
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as conn:
        with PostgresSaver(conn) as saver:
            put(saver, thread(), x=1)
            assert not conn.autocommit
            conn.execute("SELECT 1")  # begins a transaction
            with pytest.raises(CheckpointStorageError, match="in a transaction of its owner"):
                saver.get(thread())
            conn.rollback()
            assert values(saver) == {"x": 1}
        assert not conn.closed
        conn.close()
        with pytest.raises(CheckpointStorageError):
            PostgresSaver(conn).setup()


def test_a_pool_lets_readers_pass(url: str) -> None:
    with ConnectionPool(url, min_size=1, max_size=4, open=True) as pool, PostgresSaver(pool) as saver:
        put(saver, thread(), x=1)
        saver._db.begin()
        assert values(saver) == {"x": 1}
        saver._db.rollback()
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(lambda i: put(saver, thread(f"t{i}"), x=i), range(40)))
        assert len(saver.threads()) == 41


def test_asynchronous_callers_use_the_same_class(url: str) -> None:
    async def work() -> None:
        async with AsyncPostgresSaver.from_conn_string(url) as saver:
            await saver.asetup()
            checkpoint: Checkpoint = {**empty_checkpoint(), "channel_values": {"x": 1}}
            await saver.aput(thread(), checkpoint, {}, {})
            assert (await saver.aget(thread()))["channel_values"] == {"x": 1}  # type: ignore[index]
        pool = AsyncConnectionPool(url, open=False)
        async with AsyncPostgresSaver(pool) as saver:  # type: ignore[arg-type]
            assert (await saver.aget(thread()))["channel_values"] == {"x": 1}  # type: ignore[index]

    asyncio.run(work())
    assert AsyncPostgresSaver is PostgresSaver


@pytest.mark.parametrize("conn", [None, 5, object()])
def test_other_things_are_refused(conn: Any) -> None:
    with pytest.raises(InvalidConfigError, match="connection string"):
        PostgresSaver(conn)


@pytest.mark.parametrize("seconds", [0, -1, 1e9])
def test_options_are_checked(url: str, seconds: float) -> None:
    with pytest.raises(InvalidConfigError, match="lock_timeout"):
        PostgresSaver(url, lock_timeout=seconds)


def test_closed_saver_refuses(url: str) -> None:
    with PostgresSaver(url) as saver:
        put(saver, thread(), x=1)
    for call in (lambda: saver.get(thread()), lambda: put(saver, thread(), x=2), lambda: saver.delete("1")):
        with pytest.raises(CheckpointStorageError, match="closed"):
            call()


def test_server_that_cannot_be_reached_is_a_typed_error(tmp_path: Path) -> None:
    saver = PostgresSaver(f"postgresql://nobody:secret@/nothing?host={tmp_path}")
    with pytest.raises(CheckpointStorageError) as caught:
        saver.get(thread())
    assert "secret" not in str(caught.value)


def test_forked_child_connects_anew(url: str) -> None:
    with process("fork", url) as running:
        said, _ = running.communicate(timeout=60)
    assert said.splitlines()[:3:2] == ["{'x': 1}", "{'x': 2}"]


# ---------------------------------------------------------------------- poolers, rights, rows


def test_nothing_stays_in_a_session(saver: PostgresSaver, admin: psycopg.Connection[Any]) -> None:
    """So that a pooler may give each transaction another session."""
    with psycopg.connect(admin.info.dsn, autocommit=True) as conn:
        mine = PostgresSaver(conn)
        for i in range(10):
            put(mine, thread(), x=i)
            mine.get(thread())
        assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchall() == [(0,)]
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert conn.execute(locks).fetchall() == [(0,)]
        assert conn.execute("SHOW lock_timeout").fetchall() == [("0",)]


def test_other_isolation_levels_of_the_database_do_not_matter(url: str, admin: psycopg.Connection[Any]) -> None:
    admin.execute(f"ALTER DATABASE {admin.info.dbname} SET default_transaction_isolation = 'serializable'")
    test_two_writers_with_the_same_knowledge_cannot_both_win(url)
    admin.execute(f"ALTER DATABASE {admin.info.dbname} RESET default_transaction_isolation")


def test_newer_tables_are_refused(saver: PostgresSaver, url: str, admin: psycopg.Connection[Any]) -> None:
    admin.execute("UPDATE twinstep_schema SET version = version + 1")
    with pytest.raises(CheckpointStorageError, match="Install the newer twinstep"), PostgresSaver(url):
        pass


def test_tables_go_where_the_search_path_says(url: str, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE SCHEMA mine")
    with PostgresSaver(f"{url}&options=-csearch_path%3Dmine") as saver, PostgresSaver(url) as other:
        put(saver, thread(), x=1)
        assert other.get(thread()) is None
    assert admin.execute("SELECT count(*) FROM mine.twinstep_checkpoints").fetchall() == [(1,)]
    admin.execute("DROP SCHEMA mine CASCADE")


def test_a_user_without_rights_is_told(saver: PostgresSaver, url: str, admin: psycopg.Connection[Any]) -> None:
    put(saver, thread(), x=1)
    admin.execute("DROP ROLE IF EXISTS guest")
    admin.execute("CREATE ROLE guest LOGIN")
    admin.execute("GRANT USAGE ON SCHEMA public TO guest")
    admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    with PostgresSaver(url.replace("postgres:@", "guest:@")) as guest:
        assert values(guest) == {"x": 1}, "reading needs no more than reading"
        with pytest.raises(CheckpointStorageError, match=r"Give this user the rights"):
            put(guest, thread(), x=2)
    admin.execute("DROP OWNED BY guest")
    admin.execute("DROP ROLE guest")


def test_a_server_that_only_reads_is_read(saver: PostgresSaver, url: str) -> None:
    put(saver, thread(), x=1)
    with PostgresSaver(f"{url}&options=-cdefault_transaction_read_only%3Don") as reader:
        assert values(reader) == {"x": 1}


@pytest.mark.parametrize("damage", ["blob = substr(blob, 1, 30)", "blob = set_byte(blob, 40, 0)", "blob = ''"])
def test_damaged_rows_are_refused_and_earlier_ones_load(
    saver: PostgresSaver, admin: psycopg.Connection[Any], damage: str
) -> None:
    first = put(saver, thread(), x="one" * 20)
    last = put(saver, thread(), x="two" * 20)
    id = bytes.fromhex(last["configurable"]["checkpoint_id"].replace("-", ""))
    admin.execute(f"UPDATE twinstep_checkpoints SET {damage} WHERE id = %s", (id,))
    with pytest.raises(CheckpointCorruptError, match="thread '1', namespace ''"):
        saver.get(thread())
    assert saver.get(first)["channel_values"] == {"x": "one" * 20}  # type: ignore[index]
    admin.execute("UPDATE twinstep_heads SET status = 'interrupted'")
    with pytest.raises(CheckpointCorruptError, match="damaged"):
        put(saver, thread(), x=3)


@pytest.mark.parametrize(
    "damage", ["heads SET name = name + 1", "heads SET thread = thread + 1", "threads SET thread_id = '2'"]
)
def test_damage_never_hides_a_thread(saver: PostgresSaver, admin: psycopg.Connection[Any], damage: str) -> None:
    put(saver, thread(), x=1)
    admin.execute(f"UPDATE twinstep_{damage}")
    for read in (saver.get, lambda config: list(saver.list(config))):
        with pytest.raises(CheckpointCorruptError, match="thread '1'"):
            read(thread())


def test_long_names_are_stored(saver: PostgresSaver) -> None:
    """Names that are longer than the key of an index may be, and cannot be compressed to be shorter."""
    ns = "|".join(f"node:{os.urandom(16).hex()}" for _ in range(400))
    put(saver, thread("x" * 2048, checkpoint_ns=ns), x=1)
    config = put(saver, thread(os.urandom(1024).hex(), checkpoint_ns=ns), {"run_id": os.urandom(512).hex()}, x=2)
    saver.put_writes(config, [("x", 3)], os.urandom(512).hex())
    assert saver.get(thread("x" * 2048, checkpoint_ns=ns))["channel_values"] == {"x": 1}  # type: ignore[index]
    assert {tuple(names) for _, names in saver.threads()} == {(ns,)}


@pytest.mark.slow  # starts a server of its own
def test_removed_values_are_gone_from_the_tables_after_compacting() -> None:
    with running_server() as server, fresh_database(server.get_uri()) as url, PostgresSaver(url) as saver:
        for i in range(30):
            for name in ("mine", "other"):
                put(saver, thread(name), text=f"<{name} secret {i}>" + os.urandom((i * 997) % 3000).hex())
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CHECKPOINT")
            assert b"<mine secret" in tables(server.pgdata)
            saver.delete_thread("mine")
            saver.compact()
            admin.execute("CHECKPOINT")
        left = tables(server.pgdata)
        assert b"<mine secret" not in left
        assert all(f"<other secret {i}>".encode() in left for i in range(2))
        assert len(list(saver.list(thread("other")))) == 30


def tables(data: Path) -> bytes:
    """Return the bytes of all tables and indexes of a server."""
    return b"".join(file.read_bytes() for file in data.glob("base/*/*") if file.is_file())


# ---------------------------------------------------------------------- the event loop


def test_event_loop_goes_on_while_another_writes(url: str) -> None:
    with PostgresSaver(url) as saver, PostgresSaver(url) as other:
        run = Run(saver)
        id = new_id()
        commit = Commit("t", "", run.id, run.epoch, checkpoint=CheckpointRow(id, None, id, b"x"))
        other._db.begin()
        other._db.run(other._program.commit(Commit("t", "", run.id, run.epoch, status="done")))

        async def work() -> int:
            storing = asyncio.ensure_future(saver.acommit(commit))
            ticks = 0
            while ticks < 20:
                await asyncio.sleep(0.005)
                ticks += 1
            assert not storing.done()
            other._db.commit()
            await storing
            return ticks

        assert asyncio.run(work()) == 20
        assert [row.id for row in saver.load("t", "").rows] == [id]
