"""The command: runs the suites on the savers that a factory makes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver

USAGE = "usage: python -m twinstep.testing.conformance package.module:factory [options of pytest]"


class Savers:
    """Gives each test an empty saver."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory

    @pytest.fixture
    def saver(self) -> Iterator[BaseCheckpointSaver]:
        """An empty saver, closed after the test if it can be."""
        made = self._factory()
        if isinstance(made, AbstractContextManager):
            with made as saver:
                yield saver
        else:
            yield made


def main(arguments: Sequence[str]) -> int:
    """Run the suites and return the status of pytest: 0 when every test has passed."""
    module, colon, name = arguments[0].partition(":") if arguments else ("", "", "")
    if not (module and colon and name):
        print(USAGE, file=sys.stderr)  # noqa: T201
        return 2
    sys.path.insert(0, os.getcwd())
    factory = getattr(import_module(module), name)
    suite = ["--pyargs", "twinstep.testing.conformance.suite", "-c", os.devnull, "-p", "no:cacheprovider", "-q"]
    return int(pytest.main([*suite, *arguments[1:]], plugins=[Savers(factory)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
