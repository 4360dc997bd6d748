"""What the tests do in other processes: `python -m tests.checkpoint.processes JOB PLACE`."""

from __future__ import annotations

import os
import resource
import sys

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointStorageError, ThreadConflictError
from twinstep.testing.conformance.writer import Run, put, thread, values

NOBODY = 65534


def say(*words: object) -> None:
    print(*words, flush=True)


def saver_at(place: str) -> BaseCheckpointSaver:
    """Return a saver for a file, or for a PostgreSQL database."""
    if not place.startswith("postgresql:"):
        return SqliteSaver(place, busy_timeout=30)
    from twinstep.checkpoint.postgres import PostgresSaver

    return PostgresSaver(place)


def write(path: str) -> None:
    """Commit checkpoints and records without end, and tell of each when it is acknowledged."""
    run = Run(saver_at(path))
    for i in range(10**6):
        row = run.step(i.to_bytes(4, "big") * 50, status="running", info=b"i")
        say("step", row.id)
        say("record", run.record("task", str(i).encode()).blob.decode())


def race(path: str) -> None:
    """Add ten checkpoints to a thread that others write to as well, and tell of each."""
    say("ready")
    sys.stdin.readline()
    saver, done = saver_at(path), 0
    while done < 10:
        try:
            row = Run(saver).step()
        except ThreadConflictError:
            continue
        say(row.id)
        done += 1


def lose_rights(path: str) -> None:
    """Read and write as a user who may do no more than read the file and its directory."""
    if os.getuid() == 0:
        os.setuid(NOBODY)
    saver = SqliteSaver(path)
    say(values(saver))
    try:
        put(saver, thread(), x=2)
    except CheckpointStorageError as error:
        say(error)
    say(values(saver))


def fill_disk(path: str) -> None:
    """Write more than the limit on the size of a file allows, and go on when it is lifted."""
    saver = SqliteSaver(path)
    run = Run(saver)
    run.step()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        run.step(bytes(1_000_000))
    except CheckpointStorageError as error:
        say(error)
    say(len(saver.load("t", "").rows))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run.step(bytes(1_000_000))
    say(len(saver.load("t", "").rows))


def fork(path: str) -> None:
    """Use savers in a forked child and in its parent."""
    saver, memory = saver_at(path), SqliteSaver(":memory:")
    put(memory, thread(), x=1)
    put(saver, thread(), x=1)
    saver.enter("t", "run of the parent")
    child = os.fork()
    if child == 0:
        say(values(saver))
        saver.enter("t", "run of the child")
        put(saver, thread(), x=2)
        try:
            memory.get(thread())
        except CheckpointStorageError as error:
            say(error)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    say(values(saver))
    put(saver, thread(), x=3)
    saver.close()  # type: ignore[attr-defined]
    say(values(saver_at(path)))


if __name__ == "__main__":
    {job.__name__: job for job in (write, race, lose_rights, fill_disk, fork)}[sys.argv[1]](sys.argv[2])
