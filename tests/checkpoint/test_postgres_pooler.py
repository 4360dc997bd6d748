"""PostgreSQL behind a real pooler that gives a connection for one transaction only."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict
from urllib.parse import parse_qs, urlparse

import pytest

from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.errors import ThreadConflictError
from twinstep.graph import START, StateGraph
from twinstep.types import Command, interrupt

pytestmark = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="the program pgbouncer is not installed")
POOL = 2
"""Connections to the server, for more clients than that."""


@pytest.fixture
def pooled(postgres_database: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database behind a pooler in transaction mode, which runs as the owner of the server's socket."""
    found = urlparse(postgres_database)
    home = Path(parse_qs(found.query)["host"][0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (home / "users").write_text('"postgres" ""\n')
    (home / "pooler.ini").write_text(
        f"[databases]\n* = host={home} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = any\nauth_file = {home}/users\npool_mode = transaction\ndefault_pool_size = {POOL}\n"
        "unix_socket_dir =\n"
    )
    for file in ("users", "pooler.ini"):
        shutil.chown(home / file, home.owner())
    with subprocess.Popen(["pgbouncer", "-q", "-u", home.owner(), str(home / "pooler.ini")]) as pooler:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield f"postgresql://postgres@127.0.0.1:{port}{found.path}"
        finally:
            pooler.kill()


def joined(left: list[int], right: list[int]) -> list[int]:
    return [*left, *right]


class State(TypedDict):
    log: Annotated[list[int], joined]


def program(saver: PostgresSaver) -> Any:
    ask = StateGraph(State).add_node("ask", lambda state: {"log": [interrupt("?")] if state["log"] == [0] else []})
    return ask.add_edge(START, "ask").compile(saver)


def test_runs_and_races_behind_a_pooler(pooled: str) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}}
    stored: list[int] = []

    def write(n: int) -> None:
        with PostgresSaver(pooled) as saver:
            for turn in range(5):
                try:
                    program(saver).invoke({"log": [n * 10 + turn]}, thread)
                except ThreadConflictError:
                    continue
                stored.append(n * 10 + turn)

    with PostgresSaver(pooled) as saver:
        program(saver).invoke({"log": [0]}, thread)
        assert program(saver).invoke(Command(resume=7), thread) == {"log": [0, 7]}
        threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 3 * POOL)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sorted(program(saver).get_state(thread).values["log"]) == sorted([0, 7, *stored])
    assert stored
