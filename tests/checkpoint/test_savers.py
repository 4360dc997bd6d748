"""Every saver keeps the contract, and all of them the same one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoint.conformance import AccessConformance, JournalConformance
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver


class InMemory:
    @pytest.fixture
    def saver(self) -> BaseCheckpointSaver:
        return InMemorySaver()


class SqliteFile:
    @pytest.fixture(params=["NORMAL", "FULL"])
    def saver(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BaseCheckpointSaver]:
        with SqliteSaver.from_conn_string(tmp_path / "checkpoints.db", synchronous=request.param) as saver:
            yield saver


class SqliteInMemory:
    @pytest.fixture
    def saver(self) -> Iterator[BaseCheckpointSaver]:
        with SqliteSaver(":memory:") as saver:
            yield saver


class TestInMemoryJournal(InMemory, JournalConformance):
    pass


class TestInMemoryAccess(InMemory, AccessConformance):
    pass


class TestSqliteFileJournal(SqliteFile, JournalConformance):
    pass


class TestSqliteFileAccess(SqliteFile, AccessConformance):
    pass


class TestSqliteInMemoryJournal(SqliteInMemory, JournalConformance):
    pass


class TestSqliteInMemoryAccess(SqliteInMemory, AccessConformance):
    pass
