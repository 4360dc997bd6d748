"""The colour of bodies that wait for tasks or call children (see `bodies`)."""

from __future__ import annotations

import pytest

from tests.func.bodies import PAINTS, Paint


@pytest.fixture(params=PAINTS, ids=lambda paint: paint.__name__)
def paint(request: pytest.FixtureRequest) -> Paint:
    """Make a function of a body, plain or coroutine."""
    return request.param  # type: ignore[no-any-return]
