"""The house: files name no machine and no registry, and what the README tells people to type exists."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import twinstep

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

BOUND_TO_ONE_PLACE = re.compile(
    rb"(?<![\w.])/(?:work|root)/|/tmp/[v]env|pypi\.org|pythonhosted\.org|registry\.npmjs|registry\.yarnpkg|proxy\.golang"
)


def files() -> list[Path]:
    """List what git tracks or would add; skip the test outside of a git checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"not a git checkout: {result.stderr.strip()}")
    return [path for name in result.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    found = {str(path.relative_to(ROOT)): BOUND_TO_ONE_PLACE.search(path.read_bytes()) for path in files()}
    assert {name: match.group() for name, match in found.items() if match} == {}


@pytest.mark.parametrize("name", ["scripts/run", "scripts/test", "scripts/check", ".ci/run"])
def test_a_command_can_be_run(name):
    script = ROOT / name
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_the_readme_shows_the_commands_and_names_only_what_exists():
    named = {name.rstrip("./") for name in re.findall(r"\b(?:scripts|examples|docs)/[\w./-]+", README.read_text())}
    assert named >= {"scripts/run", "scripts/test"}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_example_is_listed():
    examples = [*ROOT.glob("examples/*.py"), *(main.parent for main in ROOT.glob("examples/*/__main__.py"))]
    text = "\n".join(page.read_text() for page in [README, *ROOT.glob("docs/**/*.md")])
    assert [path.name for path in examples if f"examples/{path.name}" not in text] == []


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert twinstep.__version__ == project["version"]
