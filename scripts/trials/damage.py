"""Stored bytes that were changed: by accident, and by somebody who wants them to run code."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from scripts.trials.races import appending, places
from scripts.trials.trial import Figure, Scale, Trial

from tests.runtime.jobs import mixed
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import TwinstepError
from twinstep.testing.conformance.writer import thread

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("twinstep_threads", "twinstep_heads", "twinstep_checkpoints", "twinstep_records")
UNGUARDED = ("twinstep_records", "head")
"""What has no second copy, as docs/architecture/checkpoint-format.md says."""
TURNS = 6
NEWEST = "id = (SELECT max(id) FROM twinstep_checkpoints WHERE head = 1) AND head = 1"
"""Where the newest checkpoint of the first thread is."""
Harm = Callable[[Any, Any, random.Random], Any]
"""Makes a damaged value of the value of a column, and that of another row."""


def flipped(value: Any, other: Any, rng: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ 1 << rng.randrange(31)
    if not value:
        return other
    at = rng.randrange(len(value))
    if isinstance(value, str):
        return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
    return value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]


def cut(value: Any, other: Any, rng: random.Random) -> Any:
    return value // 2 if isinstance(value, int) else value and value[: rng.randrange(len(value))]


def exchanged(value: Any, other: Any, rng: random.Random) -> Any:
    return other


HARMS: dict[str, Harm] = {"a bit flipped": flipped, "cut short": cut, "put in from another row": exchanged}
Copies = Callable[[], AbstractContextManager[tuple[Callable[[], Any], Any]]]
"""Copies a database; yields what opens a saver on the copy, and a connection to it."""


def damaged_rows(scale: Scale) -> Iterator[Figure]:
    """Values in rows flipped, cut and exchanged, and states read from them afterwards."""
    with originals() as found:
        for name, copies in found.items():
            with copies() as (make, _):
                right = states(make)
            for how, harm in HARMS.items():
                rng = random.Random(scale.seed)
                outcomes = [_damaged(copies, harm, rng, right) for _ in range(scale(150))]
                tried = len(outcomes) - outcomes.count("undone")
                yield Figure(f"{name}, {how}: taken for good data", outcomes.count("wrong"), 0, tried)
                yield Figure(f"{name}, {how}: errors that are not typed", outcomes.count("raw"), 0, tried)
            lost = sum(_lost_with_newest(copies, harm, random.Random(scale.seed)) for harm in HARMS.values())
            yield Figure(f"{name}: earlier checkpoints that do not load", lost, 0, len(HARMS) * TURNS)


def _damaged(copies: Copies, harm: Harm, rng: random.Random, right: Any) -> str:
    """Damage one value and read every state; return what came of it."""
    with copies() as (make, conn):
        if not damage(conn, harm, rng, rng.choice(TABLES)):
            return "undone"
        try:
            return "same" if states(make) == right else "wrong"
        except TwinstepError:
            return "refused"
        except Exception:
            return "raw"


def _lost_with_newest(copies: Copies, harm: Harm, rng: random.Random) -> int:
    """Damage the newest checkpoint; return how many of those before it cannot be read by their id as before."""
    lost = 0
    with copies() as (make, conn), closing(make()) as saver:
        graph = appending(saver)
        _, *earlier = graph.get_state_history(thread())
        while not damage(conn, harm, rng, "twinstep_checkpoints", "blob", NEWEST):
            pass
        for state in earlier:
            with suppress(TwinstepError):
                lost -= graph.get_state(state.config).values == state.values
            lost += 1
    return lost


def states(make: Callable[[], Any]) -> list[Any]:
    """Return every state of a thread that has come to its end, and of one that waits for answers."""
    with closing(make()) as saver:
        programs = [(appending(saver), thread()), (asking(saver), thread("2"))]
        found = [state for program, config in programs for state in program.get_state_history(config)]
        found += [program.get_state(config) for program, config in programs]
        return [(state.values, state.next, state.interrupts) for state in found]


def asking(saver: Any) -> Any:
    return mixed("questions", saver, lambda what, name: None)


def fill(saver: Any) -> None:
    """Store a thread of several turns, and one in the middle of a superstep."""
    for turn in range(TURNS):
        appending(saver).invoke({"log": [turn]}, thread())
    asking(saver).invoke(1, thread("2"))


@contextmanager
def originals() -> Iterator[dict[str, Copies]]:
    """Fill a database on each backend, and yield what copies it."""
    with places() as (file, url):
        for saver in (SqliteSaver(file), PostgresSaver(url)):
            with closing(saver):
                fill(saver)
        numbers = count()

        @contextmanager
        def copied_file() -> Iterator[tuple[Callable[[], Any], Any]]:
            path = Path(f"{file}.{next(numbers)}")
            shutil.copy(file, path)
            with closing(sqlite3.connect(path, isolation_level=None)) as conn:
                yield lambda: SqliteSaver(path), conn
            path.unlink()

        @contextmanager
        def copied_database() -> Iterator[tuple[Callable[[], Any], Any]]:
            name = f"copy_{next(numbers)}"
            original = str(conninfo_to_dict(url)["dbname"])
            copy = url.replace(original, name)
            with psycopg.connect(url.replace(original, "postgres"), autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name} TEMPLATE {original}")
                with closing(psycopg.connect(copy, autocommit=True)) as conn:
                    yield lambda: PostgresSaver(copy), conn
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

        yield {"sqlite": copied_file, "postgres": copied_database}


def damage(
    conn: Any, harm: Harm, rng: random.Random, table: str, column: str | None = None, where: str = "1 = 1"
) -> bool:
    """Damage one value in a table, and tell whether the database let that happen."""
    rows = conn.execute(f"SELECT * FROM {table} WHERE {where}")
    names = [each[0] for each in rows.description]
    found: Sequence[Any] = rows.fetchall()
    others = conn.execute(f"SELECT * FROM {table}").fetchall()
    column = column or rng.choice([name for name in names if (table, name) != UNGUARDED])
    row, at = rng.choice(found), names.index(column)
    value = harm(row[at], rng.choice(others)[at], rng)
    mark = "?" if isinstance(conn, sqlite3.Connection) else "%s"
    key = " AND ".join(f"{name} IS NOT DISTINCT FROM {mark}" for name in names)
    with suppress(sqlite3.IntegrityError, psycopg.DatabaseError):
        conn.execute(f"UPDATE {table} SET {column} = {mark} WHERE {key}", (value, *row))
        return bool(value != row[at])
    return False


def hostile_bytes(scale: Scale) -> Iterator[Figure]:
    """Damaged and forged bytes, read under an audit hook."""
    from tests.serde.test_serde_hostile import FUZZ

    failed, rounds = 0, scale(10)
    for seed in range(rounds):
        command = [sys.executable, "-c", FUZZ, str(scale.seed + seed), "4000"]
        failed += subprocess.run(command, cwd=ROOT, capture_output=True).returncode != 0
    yield Figure("processes in which something was imported, opened or called", failed, 0, rounds)


TRIALS: list[Trial] = [damaged_rows, hostile_bytes]
