"""All suites, for the command: its plugin gives the fixture `saver`."""

from __future__ import annotations

from twinstep.testing.conformance import AccessConformance, JournalConformance, RunConformance


class TestJournal(JournalConformance):
    """The contract between engine and saver."""


class TestAccess(AccessConformance):
    """What users call."""


class TestRuns(RunConformance):
    """What the engine makes of it."""
