"""Programs of the shapes people write, unchanged but for the name of the package they import from.

Each of them runs with the reference as well, with the same results: replace the word `twinstep` in its imports.
"""

from importlib import import_module
from pathlib import Path

import pytest

PROGRAMS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("test_"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_moved_program_does_what_it_did(name, lane, saver):
    program = import_module(f"tests.programs.{name}")
    assert program.run(lane, saver) == program.EXPECTED


def test_there_are_programs_of_every_shape():
    assert len(PROGRAMS) >= 10
