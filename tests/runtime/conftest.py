"""What holds after every test of the runtime."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.programs import let_workers_rest


@pytest.fixture(autouse=True)
def nothing_stays_busy() -> Iterator[None]:
    """All worker threads are idle when a test has ended."""
    yield
    let_workers_rest()
