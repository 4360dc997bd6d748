"""What only the SQLite saver has: a file, other processes, a disk that fills up, and an event loop not to block."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from twinstep.checkpoint.columns import pack, unpack
from twinstep.checkpoint.rows import CheckpointRow, Commit, Head
from twinstep.checkpoint.sql import MIGRATIONS
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.checkpoint.sqlite.aio import AsyncSqliteSaver
from twinstep.errors import (
    CheckpointCorruptError,
    CheckpointStorageError,
    InvalidConfigError,
    ThreadConflictError,
)
from twinstep.ids import new_id
from twinstep.testing.conformance.writer import Run, put, thread, values

ROOT = Path(__file__).parents[2]


def process(job: str, path: Path) -> subprocess.Popen[str]:
    """Start one of the jobs in `processes`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.checkpoint.processes", job, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(job: str, path: Path) -> list[str]:
    """Return what a job says until its end."""
    with process(job, path) as running:
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    return said.splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints.db"


@pytest.fixture
def saver(path: Path) -> Iterator[SqliteSaver]:
    with SqliteSaver(path) as saver:
        yield saver


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file like another process that writes and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        yield conn


def at_once(path: Path, jobs: Sequence[Callable[[], Any]]) -> dict[int, BaseException]:
    """Run jobs in threads, which all have something to commit before the first can, and return their errors."""
    errors: dict[int, BaseException] = {}

    def work(i: int) -> None:
        try:
            jobs[i]()
        except BaseException as error:
            errors[i] = error

    with locked(path):
        workers = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
        for worker in workers:
            worker.start()
        time.sleep(0.1)
    for worker in workers:
        worker.join()
    return errors


# ---------------------------------------------------------------------- other processes


@pytest.mark.parametrize("told", [1, 7, 40])
def test_acknowledged_commits_survive_kill_9(path: Path, told: int) -> None:
    with process("write", path) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline().split() for _ in range(told)]
        writer.kill()
        said += [line.split() for line in writer.stdout if line.endswith("\n")]
    steps = [word for kind, word in said if kind == "step"]
    with SqliteSaver(path) as saver:
        loaded = saver.load("t", "")
        assert [row.id for row in loaded.rows][: len(steps)] == steps
        assert len(loaded.rows) - len(steps) in (0, 1), "at most the commit that was under way"
        assert loaded.head is not None
        assert loaded.head.status == "running"
        records = [word for kind, word in said if kind == "record"]
        for step, result in zip(steps, records, strict=False):
            assert saver.load("t", "", step).records[0].blob == result.encode()
        assert Run(saver).step().parent == loaded.rows[-1].id


def test_processes_that_race_lose_nothing(path: Path) -> None:
    """They also make the file at the same time."""
    racers = [process("race", path) for _ in range(3)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60)[0].split() for racer in racers]
    with SqliteSaver(path) as saver:
        lineage = [row.id for row in saver.load("t", "").rows]
    assert len(lineage) == 30
    assert sorted(lineage) == sorted(id for ids in said for id in ids)


def test_file_that_another_process_writes_to_is_waited_for_and_can_be_read(saver: SqliteSaver, path: Path) -> None:
    put(saver, thread(), x=1)
    with SqliteSaver(path, busy_timeout=0.1) as hasty, locked(path) as other:
        begun = time.monotonic()
        with pytest.raises(CheckpointStorageError, match=r"locked by another process that did not finish within 0.1 s"):
            put(hasty, thread(), x=2)
        assert time.monotonic() - begun < 1
        assert values(hasty) == {"x": 1}
        threading.Timer(0.2, other.rollback).start()
        put(saver, thread(), x=3)
        put(hasty, thread(), x=4)
    assert len(list(saver.list(thread()))) == 3


def test_first_use_waits_for_another_process_that_writes(path: Path) -> None:
    with locked(path) as other:
        with pytest.raises(CheckpointStorageError, match="locked"):
            SqliteSaver(path, busy_timeout=0).setup()
        threading.Timer(0.2, other.rollback).start()
        with SqliteSaver(path) as saver:
            put(saver, thread(), x=1)


def test_forked_child_opens_the_file_anew(path: Path) -> None:
    first, refusal, second, third = lines("fork", path)
    assert (first, second, third) == ("{'x': 1}", "{'x': 2}", "{'x': 3}")
    assert "a forked child needs a saver of its own" in refusal


# ---------------------------------------------------------------------- files that cannot be used


@pytest.mark.parametrize(
    ("closed", "used"),
    [("file", "closed"), ("file", "killed"), ("directory", "closed"), ("both", "closed"), ("both", "killed")],
)
def test_file_that_may_only_be_read_is_read(closed: str, used: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # `tmp_path` is closed to other users
        folder, path = Path(name), Path(name) / "checkpoints.db"
        saver = SqliteSaver(path)
        put(saver, thread(), x=1)
        if used == "closed":
            saver.close()
        modes = {"file": (0o444, 0o777), "directory": (0o666, 0o555), "both": (0o444, 0o555)}
        for file in folder.iterdir():
            file.chmod(modes[closed][0])
        folder.chmod(modes[closed][1])
        before, refusal, after = lines("lose_rights", path)
        folder.chmod(stat.S_IRWXU)
        saver.close()
    assert (before, after) == ("{'x': 1}", "{'x': 1}")
    assert "can be read but not written" in refusal


def test_full_disk_loses_nothing(path: Path) -> None:
    refusal, before, after = lines("fill_disk", path)
    assert "Nothing was stored" in refusal
    assert (before, after) == ("1", "2")


def test_full_database_refuses_only_what_does_not_fit(path: Path) -> None:
    """Several threads share a transaction: one of them asks for too much."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as conn, SqliteSaver(conn) as saver:
        runs = [Run(saver, f"t{i}") for i in range(8)]
        conn.execute("PRAGMA max_page_count=60")
        errors = at_once(path, [partial(run.step, bytes(300_000 if run is runs[3] else 100)) for run in runs])
        assert list(errors) == [3]
        assert isinstance(errors[3], CheckpointStorageError)
        assert "SQLITE_FULL" in str(errors[3])
        assert [len(saver.load(f"t{i}", "").rows) for i in range(8)] == [1, 1, 1, 0, 1, 1, 1, 1]
        conn.execute("PRAGMA max_page_count=1000000")
        runs[3].step(bytes(300_000))


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"no database" * 1000, CheckpointCorruptError), (b"SQLite format 3\0" + b"\xff" * 5000, CheckpointCorruptError)],
)
def test_file_that_is_no_database_is_refused(path: Path, content: bytes, error: type[Exception]) -> None:
    path.write_bytes(content)
    with pytest.raises(error, match=r"checkpoints\.db"), SqliteSaver(path):
        pass
    assert path.read_bytes() == content


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    saver = SqliteSaver(tmp_path / "nowhere" / "checkpoints.db")
    with pytest.raises(CheckpointStorageError, match="its directory exists"):
        saver.load("t", "")


def test_flipped_bits_anywhere_in_the_file_never_make_another_state(path: Path, tmp_path: Path) -> None:
    with SqliteSaver(path) as saver:
        put(saver, thread(), x=1)
        newest = put(saver, thread(), x=[2, "y"])["configurable"]["checkpoint_id"]
        saver.put_writes(thread(), [("x", 5)], "task")
        expected = saver.get_tuple(thread())
    content = path.read_bytes()
    # SQLite's own notes on where things are have no second copy: the heads of pages, and of the rows in them
    heads = {*range(100, 120), *(page + i for page in range(0, len(content), 4096) for i in range(12))}
    heads |= {at.start() - i for at in re.finditer(re.escape(pack(newest)), content) for i in range(1, 12)}
    places = [i for i, byte in enumerate(content) if byte and i not in heads and i % 5 == 0]
    outcomes = {"refused": 0, "same": 0}
    for i, place in enumerate(places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        copy = tmp_path / f"{i}.db"
        copy.write_bytes(damaged)
        saver = SqliteSaver(copy, busy_timeout=0)
        try:
            assert saver.get_tuple(thread()) == expected, f"byte {place}"
            outcomes["same"] += 1
        except (CheckpointCorruptError, CheckpointStorageError):
            outcomes["refused"] += 1
        saver.close()
        copy.unlink()
    assert min(outcomes.values()) > 50


def test_damaged_standing_leaves_checkpoints_readable(saver: SqliteSaver, path: Path) -> None:
    first = put(saver, thread(), x=1)
    put(saver, thread(), x=2)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE twinstep_heads SET status = 'interrupted'")
        other.commit()
    with pytest.raises(CheckpointCorruptError, match="thread '1', namespace ''"):
        saver.get(thread())
    with pytest.raises(CheckpointCorruptError):
        put(saver, thread(), x=3)
    assert [each.checkpoint["channel_values"] for each in saver.list(thread())] == [{"x": 2}, {"x": 1}]
    assert saver.get(first)["channel_values"] == {"x": 1}  # type: ignore[index]
    saver.delete_thread("1")
    put(saver, thread(), x=4)


def test_newer_tables_are_refused(path: Path) -> None:
    SqliteSaver(path).setup()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT version FROM twinstep_schema").fetchall() == [(len(MIGRATIONS),)]
        other.execute("UPDATE twinstep_schema SET version = version + 1")
        other.commit()
    with pytest.raises(CheckpointStorageError, match="Install the newer twinstep"), SqliteSaver(path):
        pass


def test_tables_of_other_programs_do_not_matter(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE checkpoints (thread_id TEXT)")
    with SqliteSaver(path) as saver:
        put(saver, thread(), x=1)


# ---------------------------------------------------------------------- commits of several threads


def test_commits_that_wait_share_a_transaction(path: Path) -> None:
    with (
        closing(sqlite3.connect(path, check_same_thread=False)) as conn,
        SqliteSaver(conn, synchronous="FULL") as saver,
    ):
        runs = [Run(saver, f"t{i}") for i in range(8)]
        runs[5].head = new_id()
        seen: list[str] = []
        conn.set_trace_callback(seen.append)
        errors = at_once(path, [run.step for run in runs])
        conn.set_trace_callback(None)
        assert seen.count("COMMIT") == 1
        assert list(errors) == [5]
        assert isinstance(errors[5], ThreadConflictError)
        assert errors[5].thread_id == "t5"
        assert [len(saver.load(f"t{i}", "").rows) for i in range(8)] == [1, 1, 1, 1, 1, 0, 1, 1]


def test_nothing_is_acknowledged_when_the_thread_that_stores_is_stopped(saver: SqliteSaver, path: Path) -> None:
    class Stop(bytes):
        def __conform__(self, protocol: object) -> object:
            """Called when SQLite reads the value: in the middle of the transaction."""
            raise KeyboardInterrupt

    runs = [Run(saver, f"t{i}") for i in range(4)]
    errors = at_once(path, [partial(run.step, Stop() if run is runs[2] else b"x") for run in runs])
    kinds = sorted(type(error).__name__ for error in errors.values())
    assert kinds == ["CheckpointStorageError"] * 3 + ["KeyboardInterrupt"]
    assert [len(saver.load(f"t{i}", "").rows) for i in range(4)] == [0, 0, 0, 0]
    for run in runs:
        run.step()


# ---------------------------------------------------------------------- the event loop


async def longest_pause(work: Callable[[], Any]) -> float:
    """Run something asynchronous and return for how long, at most, nothing else on the loop could run, in seconds."""
    pauses = [0.0]

    async def tick() -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            pauses.append(time.monotonic() - before)
            before = time.monotonic()

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0)
    await work()
    ticking.cancel()
    return max(pauses)


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
@pytest.mark.parametrize("hold", ["file", "saver"])
def test_event_loop_goes_on_while_others_hold_the_database(path: Path, synchronous: Any, hold: str) -> None:
    with SqliteSaver(path, synchronous=synchronous) as saver:
        run, other = Run(saver), Run(saver, "other")
        id = new_id()
        commit = Commit("t", "", run.id, run.epoch, checkpoint=CheckpointRow(id, None, id, b"x"))

        async def work() -> None:
            await asyncio.gather(saver.acommit(commit), saver.aload("other", ""), saver.acheckpoints("other", ""))

        with locked(path) as conn:
            if hold == "saver":  # a thread that waits for the file holds the saver's own lock
                threading.Thread(target=other.step).start()
                time.sleep(0.05)
            threading.Timer(0.4, conn.rollback).start()
            assert asyncio.run(longest_pause(work)) < 0.2
        assert [row.id for row in saver.load("t", "").rows] == [id]


@pytest.mark.parametrize(("synchronous", "here"), [("NORMAL", True), ("FULL", False)])
def test_event_loop_commits_itself_unless_that_waits_for_the_disk(path: Path, synchronous: Any, here: bool) -> None:
    with closing(sqlite3.connect(path, check_same_thread=False)) as conn:
        run = Run(saver := SqliteSaver(conn, synchronous=synchronous))
        threads: list[int] = []
        conn.set_trace_callback(lambda _: threads.append(threading.get_ident()))
        asyncio.run(saver.acommit(Commit("t", "", run.id, run.epoch, status="done")))
        assert {each == threading.get_ident() for each in threads} == {here}


def test_cancelled_commit_is_not_stored_later(saver: SqliteSaver, path: Path) -> None:
    run = Run(saver)
    id = new_id()

    async def work() -> None:
        with locked(path):
            commit = Commit("t", "", run.id, run.epoch, checkpoint=CheckpointRow(id, None, id, b"x"))
            waiting = asyncio.ensure_future(saver.acommit(commit))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(work())
    assert run.step()
    assert len(saver.checkpoints("t", "")) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_log_does_not_grow_for_ever(saver: SqliteSaver, path: Path, asynchronous: bool) -> None:
    run = Run(saver)

    async def work() -> None:
        for _ in range(1500):
            id = new_id()
            await saver.acommit(
                Commit("t", "", run.id, 1, expect=run.head, checkpoint=CheckpointRow(id, None, id, b"x" * 4000))
            )
            run.head = id

    if asynchronous:
        asyncio.run(work())
    else:
        for _ in range(1500):
            run.step(b"x" * 4000, whole=True)
    assert len(saver.checkpoints("t", "")) == 1500
    assert Path(f"{path}-wal").stat().st_size < 8_000_000
    assert path.stat().st_size > 4_000_000


# ---------------------------------------------------------------------- privacy


@pytest.mark.parametrize("how", ["delete_thread", "prune", "delete_for_runs"])
def test_what_is_removed_leaves_no_bytes(saver: SqliteSaver, path: Path, how: str) -> None:
    """Rows of many sizes, written in turns, so that pages are split, refilled and freed on the way."""
    for i in range(60):
        for name in ("mine", "other"):
            size = (i * 7919) % 6000
            config = put(saver, thread(name), {"run_id": f"run {name}"}, text=f"<{name} secret {i}>" + "x" * size)
            saver.put_writes(config, [("text", f"<{name} pending {i}>" + "y" * size)], "task")
    put(saver, thread("mine"), {"run_id": "another run"}, text="clean")
    assert b"<mine secret" in content(path)
    {
        "delete_thread": lambda: saver.delete_thread("mine"),
        "prune": lambda: saver.prune(["mine"]),
        "delete_for_runs": lambda: saver.delete_for_runs(["run mine"]),
    }[how]()
    left = content(path)
    assert b"<mine " not in left
    assert all(f"<other secret {i}>".encode() in left for i in range(60))


def test_large_file_is_clean_after_compacting(saver: SqliteSaver, path: Path) -> None:
    Run(saver).step(bytes(17 * 2**20))
    put(saver, thread("mine"), text="<mine secret>")
    saver.delete_thread("t")
    saver.delete_thread("mine")
    assert path.stat().st_size > 16 * 2**20
    saver.compact()
    assert path.stat().st_size < 100_000
    assert b"<mine" not in content(path)


def content(path: Path) -> bytes:
    """Return all bytes of a database: the file and its log."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


# ---------------------------------------------------------------------- the object


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_given_connection_is_taken_over_and_left_open(path: Path, synchronous: Any, level: int) -> None:
    conn = sqlite3.connect(path, check_same_thread=False)
    conn.row_factory, conn.text_factory = sqlite3.Row, bytes
    with closing(conn):
        with SqliteSaver(conn, synchronous=synchronous) as saver:
            put(saver, thread(), x=1)
            asyncio.run(saver.aget(thread()))
        assert conn.execute("PRAGMA synchronous").fetchone()[0] == level
        assert conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        with SqliteSaver(path) as second:
            assert values(second) == {"x": 1}


@pytest.mark.parametrize(
    "who", ["another connection", "another saver on the connection", "the owner of the connection"]
)
def test_a_commit_sees_what_others_have_written_since_the_last(path: Path, who: str) -> None:
    with closing(sqlite3.connect(path, check_same_thread=False)) as conn:
        saver = SqliteSaver(conn)
        run = Run(saver)
        run.step()
        run.step()
        if who == "the owner of the connection":
            conn.execute("UPDATE twinstep_threads SET epoch = epoch + 1, holder = 'other'")
        else:
            Run(SqliteSaver(path if who == "another connection" else conn), run="other")
        with pytest.raises(ThreadConflictError, match="run 'other' has taken the thread over"):
            run.step()
        assert saver.load("t", "").head == Head(run.head or "", run.id, "running", b"")


def test_connection_bound_to_a_thread_is_explained() -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        saver = SqliteSaver(conn)
        with pytest.raises(CheckpointStorageError, match="check_same_thread=False"):
            asyncio.run(saver.aget(thread()))


def test_one_class_serves_both_kinds_of_callers(path: Path) -> None:
    async def work() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            put(saver, thread(), x=1)
            assert (await saver.aget(thread()))["channel_values"] == {"x": 1}  # type: ignore[index]

    asyncio.run(work())
    assert AsyncSqliteSaver is SqliteSaver


def test_closed_saver_refuses(path: Path) -> None:
    with SqliteSaver(path) as saver:
        put(saver, thread(), x=1)
    saver.close()
    for call in (
        lambda: saver.get(thread()),
        lambda: put(saver, thread(), x=2),
        lambda: saver.delete("1"),
        saver.setup,
    ):
        with pytest.raises(CheckpointStorageError, match="was closed"):
            call()
    assert not Path(f"{path}-wal").exists()


@pytest.mark.parametrize("options", [{"synchronous": "OFF"}, {"synchronous": "full"}, {"busy_timeout": -1}])
def test_options_are_checked(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError):
        SqliteSaver(path, **options)


NEW = "01a21434-ff99-7bf5-a8c7-d2bd0dd4e62c"


@pytest.mark.parametrize("id", [NEW, "", "x", "é" * 8, "x" * 15, "x" * 16, "X" * 36, NEW.upper(), "-" * 36])
def test_any_id_can_be_packed(id: str) -> None:
    assert unpack(pack(id)) == id
    assert (len(pack(id)) == 16) == (id.count("-") == 4 and id.islower())


def test_packed_ids_keep_their_order() -> None:
    ids = [new_id() for _ in range(1000)]
    assert sorted(ids, key=pack) == ids == sorted(ids)


def test_setup_may_be_awaited(tmp_path: Path) -> None:
    async def main() -> None:
        async with SqliteSaver.from_conn_string(str(tmp_path / "a.db")) as saver:
            await saver.setup()
            await saver.asetup()

    asyncio.run(main())
