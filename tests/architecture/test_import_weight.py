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
import twinstep
import twinstep.types
from twinstep.func import entrypoint, task
from twinstep.graph import StateGraph
"""

# Each is slow to load or drags much along, and is needed by some programs only. (pydantic loads `email` when the first
# model or TypeAdapter is made, to look for its plugins: importing twinstep must not make one.)
HEAVY = ["networkx", "asyncio", "http", "urllib.request", "ssl", "sqlite3", "numpy", "psycopg", "openai", "email"]


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a fresh interpreter that has imported the front doors."""
    return _modules_after(FRONT_DOORS)


def _modules_after(code: str) -> set[str]:
    begin = "import sys; sys.path.insert(0, sys.argv[1])\n"
    end = "\nprint(*sorted(sys.modules), sep='\\n')"
    command = [sys.executable, "-I", "-c", begin + code + end, str(ROOT / "src")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_heavy_modules_wait_until_they_are_used(module, loaded):
    assert module not in loaded


def test_the_front_doors_load_few_modules(loaded):
    assert len(loaded) <= 246


LOOP = """
from typing import TypedDict
from twinstep.graph import END, START, StateGraph
State = TypedDict("State", {"x": int})
builder = StateGraph(State)
for name in ("model", "tools", "left", "right", "last"):
    builder.add_node(name, lambda state: None)
builder.add_edge(START, "model")
builder.add_conditional_edges("model", lambda state: "tools", ["tools", "left", "right"])
builder.add_edge("tools", "model")
builder.add_edge(["left", "right"], "last")
builder.compile()
"""


def test_graphs_without_faults_are_compiled_without_networkx():
    assert "networkx" not in _modules_after(LOOP)


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
