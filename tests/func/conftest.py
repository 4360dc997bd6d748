"""The colour of bodies that wait for tasks or call children (see `bodies`)."""

from __future__ import annotations

import pytest

from tests.func.bodies import PAINTS, Paint
from tests.func.world import World


@pytest.fixture(params=PAINTS, ids=lambda paint: paint.__name__)
def paint(request: pytest.FixtureRequest) -> Paint:
    """Make a function of a body, plain or coroutine."""
    return request.param


@pytest.fixture
def world() -> World:
    """A world that is broken at first."""
    return World()
