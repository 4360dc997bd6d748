"""Where these tests store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver


@pytest.fixture
def saver(lane: Lane, tmp_path: Path) -> Iterator[BaseCheckpointSaver]:
    """SQLite in the asynchronous lane and memory in the other; in tests/func it is the other way round."""
    if not lane.is_async:
        yield InMemorySaver()
    else:
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            yield saver
