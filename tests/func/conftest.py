"""The colour of bodies that wait for tasks or call children (see `bodies`), and where these tests store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Lane
from tests.func.bodies import PAINTS, Paint
from tests.func.world import World
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver


@pytest.fixture(params=PAINTS, ids=lambda paint: paint.__name__)
def paint(request: pytest.FixtureRequest) -> Paint:
    """Make a function of a body, plain or coroutine."""
    return request.param


@pytest.fixture
def saver(lane: Lane, tmp_path: Path) -> Iterator[BaseCheckpointSaver]:
    """SQLite in the synchronous lane and memory in the other; in tests/human it is the other way round."""
    if lane.is_async:
        yield InMemorySaver()
    else:
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
            yield saver


@pytest.fixture
def world() -> World:
    """A world that is broken at first."""
    return World()
