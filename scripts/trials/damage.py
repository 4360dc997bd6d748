"""Stored bytes that were changed: by accident, and by somebody who wants them to run code."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scripts.trials.races import appending
from scripts.trials.trial import Figure, Scale, Trial

from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import TwinstepError

ROOT = Path(__file__).resolve().parents[2]
CONFIG: Any = {"configurable": {"thread_id": "1"}}
BLOBS = [("twinstep_checkpoints", "blob"), ("twinstep_heads", "checkpoint"), ("twinstep_heads", "info")]


def flipped_bits(scale: Scale) -> Iterator[Figure]:
    """Single bits flipped in the rows of an SQLite file, and states read from it afterwards."""
    rng, wrong, raw, times = random.Random(scale.seed), 0, 0, scale(400)
    with TemporaryDirectory() as folder:
        good = Path(folder) / "good.sqlite"
        with SqliteSaver(str(good)) as saver:
            for turn in range(6):
                appending(saver).invoke({"log": [turn]}, CONFIG)
        with closing(sqlite3.connect(good)) as conn:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        right = states(good)
        for n in range(times):
            bad = Path(folder) / f"{n}.sqlite"
            shutil.copy(good, bad)
            flip(bad, rng)
            try:
                wrong += states(bad) != right
            except TwinstepError:
                pass
            except Exception:
                raw += 1
            bad.unlink()
    yield Figure("taken for good data with another state", wrong, 0, times)
    yield Figure("an error that is not typed", raw, 0, times)


def states(file: Path) -> list[Any]:
    """Return every state of a thread."""
    with SqliteSaver(str(file)) as saver:
        return [(state.values, state.next) for state in appending(saver).get_state_history(CONFIG)]


def flip(file: Path, rng: random.Random) -> None:
    """Flip one bit of one blob of a random row."""
    table, column = rng.choice(BLOBS)
    with closing(sqlite3.connect(file)) as conn:
        rows = conn.execute(f"SELECT rowid, * FROM {table}" if table.endswith("heads") else f"SELECT * FROM {table}")
        names = [each[0] for each in rows.description]
        row = rng.choice(rows.fetchall())
        blob = bytearray(row[names.index(column)] or b"\0")
        at = rng.randrange(len(blob) * 8)
        blob[at // 8] ^= 1 << at % 8
        keys = [name for name in names if name not in ("rowid", column)] if "rowid" not in names else ["rowid"]
        where = " AND ".join(f"{key} IS ?" for key in keys)
        values = [row[names.index(key)] for key in keys]
        conn.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", [bytes(blob), *values])
        conn.commit()


def hostile_bytes(scale: Scale) -> Iterator[Figure]:
    """Damaged and forged bytes, read under an audit hook."""
    from tests.serde.test_serde_hostile import FUZZ

    failed, rounds = 0, scale(10)
    for seed in range(rounds):
        command = [sys.executable, "-c", FUZZ, str(scale.seed + seed), "4000"]
        failed += subprocess.run(command, cwd=ROOT, capture_output=True).returncode != 0
    yield Figure("processes in which something was imported, opened or called", failed, 0, rounds)


TRIALS: list[Trial] = [flipped_bits, hostile_bytes]
