"""The examples, of files and of docstrings: they run, and print what they say they print."""

import ast
import doctest
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
SOURCE = ROOT / "src"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text())


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_docstring_says(path, tmp_path, interpreter):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    expected = dedent(docstring.partition("\nOutput:\n")[2])
    code, output, errors = interpreter.run(path, tmp_path)
    assert (code, errors) == (0, "")
    assert output.splitlines() == expected.splitlines() != []


@pytest.mark.parametrize("module", [name_of(path) for path in MODULES])
def test_the_examples_in_docstrings_work(module):
    found = doctest.testmod(import_module(module))  # prints what differs
    assert found.attempted
    assert not found.failed
