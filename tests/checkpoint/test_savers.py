"""Every saver keeps the contract, and all of them the same one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoint.conformance import AccessConformance, JournalConformance
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.sqlite import SqliteSaver


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
