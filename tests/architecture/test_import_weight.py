"""What it costs to start: the modules that the front doors load, and the distributions that an installation brings."""

import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

FRONT_DOORS = """
import sys
sys.path.insert(0, sys.argv[1])
import twinstep
import twinstep.types
from twinstep.func import entrypoint, task
from twinstep.graph import StateGraph
print(*sorted(sys.modules), sep="\\n")
"""

# Each is slow to load or drags much along, and is needed by some programs only. (pydantic loads `email` when the first
# model or TypeAdapter is made, to look for its plugins: importing twinstep must not make one.)
HEAVY = ["networkx", "asyncio", "http", "urllib.request", "ssl", "sqlite3", "numpy", "psycopg", "openai", "email"]


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a fresh interpreter that has imported the front doors."""
    command = [sys.executable, "-I", "-c", FRONT_DOORS, str(ROOT / "src")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_heavy_modules_wait_until_they_are_used(module, loaded):
    assert module not in loaded


def test_the_front_doors_load_few_modules(loaded):
    assert len(loaded) <= 250


def test_an_installation_brings_few_distributions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, needed = [Requirement(line) for line in project["dependencies"]], {project["name"]}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in needed and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            needed.add(name)
            waiting.extend(map(Requirement, requires(name) or []))
    assert len(needed) <= 8, sorted(needed)
