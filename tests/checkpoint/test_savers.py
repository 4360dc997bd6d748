"""Every saver keeps the contract, and all of them the same one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.rows import Commit
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.testing.conformance import AccessConformance, JournalConformance, RunConformance
from twinstep.testing.conformance.__main__ import main


class InMemory:
    @pytest.fixture
    def saver(self) -> BaseCheckpointSaver:
        return InMemorySaver()


class SqliteFile:
    @pytest.fixture
    def saver(self, tmp_path: Path) -> Iterator[BaseCheckpointSaver]:
        with SqliteSaver.from_conn_string(tmp_path / "checkpoints.db") as saver:
            yield saver


class Postgres:
    @pytest.fixture
    def saver(self, postgres_database: str) -> Iterator[BaseCheckpointSaver]:
        with PostgresSaver.from_conn_string(postgres_database) as saver:
            for thread_id, _ in saver.threads():
                saver.delete_thread(thread_id)
            yield saver


class TestInMemoryJournal(InMemory, JournalConformance):
    pass


class TestInMemoryAccess(InMemory, AccessConformance):
    pass


class TestSqliteFileJournal(SqliteFile, JournalConformance):
    pass


class TestSqliteFileAccess(SqliteFile, AccessConformance):
    pass


class TestPostgresJournal(Postgres, JournalConformance):
    pass


class TestPostgresAccess(Postgres, AccessConformance):
    pass


class TestInMemoryRuns(InMemory, RunConformance):
    pass


class TestSqliteFileRuns(SqliteFile, RunConformance):
    pass


class TestPostgresRuns(Postgres, RunConformance):
    pass


def test_the_command_tells_who_does_not_conform() -> None:
    command = [sys.executable, "-m", "twinstep.testing.conformance", "tests.checkpoint.test_savers:Forgetful"]
    run = subprocess.run(
        [*command, "-k", "forget or test_put_and_get"],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take a second
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "TestAccess::test_put_and_get" not in run.stdout
    assert "TestJournal::test_forget" in run.stdout
    assert main(["twinstep.checkpoint.memory"]) == 2, "no factory is named"


class Forgetful(InMemorySaver):
    """Stores no records."""

    def commit(self, commit: Commit) -> None:
        super().commit(replace(commit, records=()))
