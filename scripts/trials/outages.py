"""Databases that fail in earnest: full, locked, not to be written to, killed."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from scripts.trials.crashes import survive
from scripts.trials.trial import Figure, Scale, Trial

from tests.checkpoint.test_postgres import kill
from tests.pgproxy import breaking_connection
from tests.postgres import fresh_database, running_server
from tests.runtime.jobs import KINDS
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointStorageError
from twinstep.func import entrypoint, task
from twinstep.testing.conformance.writer import Run

EFFECTS = 6
"""So many effects every program has at least."""
MEGABYTE = 1_000_000
Act = Callable[[], object]


def at_effect(number: int, act: Act) -> Callable[[str, str], None]:
    """Return a note that acts at a program's so manieth effect."""
    left = [number]

    def note(what: str, name: str) -> None:
        if what == "ran":
            left[0] -= 1
            if left[0] == 0:
                act()

    return note


def tally(name: str, outcomes: Sequence[str]) -> Iterator[Figure]:
    """Return the lines of an outage."""
    yield Figure(f"{name}: wrong results, acknowledged work done again", outcomes.count("wrong"), 0, len(outcomes))
    yield Figure(f"{name}: errors that are not typed", outcomes.count("raw"), 0, len(outcomes))


# ---------------------------------------------------------------------- SQLite


def _file_limit(path: str, conn: sqlite3.Connection) -> tuple[Act, Act]:
    """What fills the disk, as far as a process can tell: no file may grow any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Path(f"{path}-wal")
    return (
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard)),
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
    )


def _page_limit(path: str, conn: sqlite3.Connection) -> tuple[Act, Act]:
    """What fills the database: it may have no more pages."""
    return (
        lambda: conn.execute(f"PRAGMA max_page_count={conn.execute('PRAGMA page_count').fetchone()[0]}"),
        lambda: conn.execute("PRAGMA max_page_count=1000000"),
    )


def _lock(path: str, conn: sqlite3.Connection) -> tuple[Act, Act]:
    """What locks the file: another connection that writes."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    return lambda: other.execute("BEGIN IMMEDIATE"), other.close


OUTAGES = {"full disk (file-size limit)": _file_limit, "full database": _page_limit, "locked file": _lock}


def sqlite_fails(scale: Scale) -> Iterator[Figure]:
    """SQLite files that are full or locked from some moment of a run on, and are mended."""
    for name, outage in OUTAGES.items():
        outcomes: list[str] = []
        for kind in KINDS:
            for number in range(1, EFFECTS + 1, 2 if scale.quick else 1):
                with TemporaryDirectory() as folder:
                    path = f"{folder}/t.sqlite"
                    with closing(sqlite3.connect(path, check_same_thread=False)) as conn:
                        conn.execute("PRAGMA page_size=512")  # so that each commit needs a new one
                        saver = SqliteSaver(conn, busy_timeout=0.02)
                        saver.setup()
                        fail, mend = outage(path, conn)
                        try:
                            outcomes.append(survive(kind, saver, at_effect(number, fail), mend))
                        finally:
                            mend()
        yield from tally(name, [each for each in outcomes if each != "unharmed"])  # sometimes the end still fits in


def read_only_files(scale: Scale) -> Iterator[Figure]:
    """SQLite files that another user may only read: the file, its directory, both; closed and in use (tests)."""
    from tests.checkpoint.test_sqlite import test_file_that_may_only_be_read_is_read as read

    failed, cases = 0, [(file, used) for file in ("file", "directory", "both") for used in ("closed", "killed")]
    for file, used in cases[:3] + cases[4:]:  # a directory must be writable for those who go on with a log
        try:
            read(file, used)
        except AssertionError:
            failed += 1
    yield Figure("not read, or written to, or an error that does not say why", failed, 0, len(cases) - 1)


# ---------------------------------------------------------------------- PostgreSQL


def postgres_killed(scale: Scale) -> Iterator[Figure]:
    """A PostgreSQL server that is killed with SIGKILL in mid-run and started again."""
    rng = random.Random(scale.seed)
    with running_server(safe=True) as server, closing(PostgresSaver(server.get_uri())) as saver:
        outcomes = [
            survive(
                KINDS[n % len(KINDS)],
                saver,
                at_effect(rng.randint(1, EFFECTS), partial(kill, server)),
                server.ensure_postgres_running,
                thread=f"{n}",
            )
            for n in range(scale(20))
        ]
        yield from tally("the server", outcomes)


def sessions_killed(scale: Scale) -> Iterator[Figure]:
    """A PostgreSQL session that is ended, or whose server process is killed with SIGKILL, in mid-run."""
    rng = random.Random(scale.seed)
    with running_server(safe=True) as server, closing(PostgresSaver(server.get_uri())) as saver:
        for name, act in {"ended": _end_sessions, "killed": _kill_sessions}.items():
            outcomes = [
                survive(
                    kind,
                    saver,
                    at_effect(rng.randint(1, EFFECTS), partial(act, server)),
                    partial(_wait_for, server),
                    thread=f"{name} {kind} {n}",
                )
                for kind in KINDS
                for n in range(scale(10))
            ]
            yield from tally(f"the session is {name}", outcomes)


SESSIONS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def _end_sessions(server: Any) -> None:
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")


def _kill_sessions(server: Any) -> None:
    """Kill them; the server takes its memory for damaged then, ends all sessions, and recovers."""
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        for (pid,) in admin.execute(f"SELECT pid {SESSIONS}").fetchall():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _wait_for(server: Any) -> None:
    """Wait until the server has recovered: it may still let somebody in just before it ends all sessions."""
    while True:
        with suppress(psycopg.OperationalError), psycopg.connect(server.get_uri()) as session:
            time.sleep(0.1)
            session.execute("SELECT 1")
            return


def lost_answers(scale: Scale) -> Iterator[Figure]:
    """A connection to PostgreSQL that breaks after COMMIT was sent and before its answer, at every commit."""
    with running_server() as server, breaking_connection(server.get_uri()) as proxy:
        for name, proxy.stored in (("it was stored", True), ("it was not", False)):
            for kind in KINDS:
                outcomes: list[str] = []
                for at in range(1, 200):
                    with closing(PostgresSaver(proxy.url)) as saver:
                        saver.setup()
                        proxy.at, cuts = at, proxy.cuts
                        outcome = survive(kind, saver, at_effect(0, int), int, thread=f"{name} {kind} {at}")
                        if proxy.cuts == cuts:  # there was no such commit
                            break
                        outcomes.append(outcome)
                        proxy.at = 0
                yield Figure(f"{kind}, {name}: cuts that nobody noticed", outcomes.count("unharmed"), 0, len(outcomes))
                yield from tally(f"{kind}, {name}", outcomes)


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let processes that are started make no larger files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def narrow_server() -> Iterator[Any]:
    """Start a PostgreSQL server whose tables cannot grow beyond 18 MB: enough for its log, which is in files of 16."""
    with file_limit(18 * MEGABYTE):
        starting = running_server()
        server = starting.__enter__()
    try:
        yield server
    finally:
        starting.__exit__(None, None, None)


def postgres_full(scale: Scale) -> Iterator[Figure]:
    """A PostgreSQL server with no room for a table to grow, which is made by deleting another thread."""
    with narrow_server() as server, fresh_database(server.get_uri()) as url, PostgresSaver(url) as saver:
        yield from fill(saver, url)


def fill(saver: Any, url: str) -> Iterator[Figure]:
    """Run until the server is full, make room and go on."""
    ran: list[int] = []

    @task
    def work(n: int) -> bytes:
        ran.append(n)
        return os.urandom(MEGABYTE)

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        return sum(len(work(i).result()) for i in range(n))

    config: Any = {"configurable": {"thread_id": "1"}}
    ballast = Run(saver, "ballast")
    ballast.step()
    for n in range(10):
        ballast.record(f"{n}", os.urandom(MEGABYTE))
    raw = 0
    try:
        flow.invoke(15, config)
    except CheckpointStorageError:
        pass
    except Exception:
        raw += 1
    stored, full = len(ran) - 1, len(ran) < 15
    saver.delete_thread("ballast")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("VACUUM")
    right = flow.invoke(None, config) == 15 * MEGABYTE and ran == [*range(stored + 1), *range(stored, 15)]
    yield Figure("runs that it did not stop", not full, 0, 1)
    yield Figure("errors that are not typed", raw, 0, 1)
    yield Figure("wrong results, recorded work done again, effects after the failure", not right, 0, 1)


TRIALS: list[Trial] = [sqlite_fails, read_only_files, postgres_killed, sessions_killed, lost_answers, postgres_full]
