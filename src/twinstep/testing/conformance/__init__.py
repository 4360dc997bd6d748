"""What every saver must do, as pytest classes: subclass them and give a fixture `saver` that returns an empty saver.

Each test runs with the saver's synchronous and its asynchronous methods. Without a test file of your own, run

    python -m twinstep.testing.conformance package.module:factory [options of pytest]

where the factory returns an empty saver each time it is called, or a context manager that yields one.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("access", "journal", "runs", "writer")))

from twinstep.testing.conformance.access import AccessConformance  # noqa: E402  (after asserts can be explained)
from twinstep.testing.conformance.journal import JournalConformance  # noqa: E402
from twinstep.testing.conformance.runs import RunConformance  # noqa: E402

__all__ = ["AccessConformance", "JournalConformance", "RunConformance"]
