"""The environments beside .venv: LangGraph's, and one for each peer. Made on first use, kept in the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_NEEDS = (
    "langgraph==1.2.*",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
    "psycopg[binary]",
)
VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


class CannotInstallError(Exception):
    """An environment could not be made; the message is the reason."""


def reference_python() -> str:
    """Return the interpreter of an environment with LangGraph and its savers."""
    return environment(ROOT / ".venv-reference", REFERENCE_NEEDS)


def peer_python(distribution: str) -> str:
    """Return the interpreter of an environment with a peer."""
    return environment(ROOT / ".venv-peers" / distribution, (distribution,))


def environment(folder: Path, needs: tuple[str, ...]) -> str:
    """Make an environment with these requirements, unless it is there, and return its interpreter.

    Raises:
        CannotInstallError: if it cannot be made.
    """
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join((sys.version, *needs))
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        print(f"setting up {folder.relative_to(ROOT)}; this takes a minute", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *needs]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            raise CannotInstallError((done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1])
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def version(python: str, distribution: str) -> str:
    """Return which version of a distribution an interpreter has, or "" if none."""
    return subprocess.run([python, "-c", VERSION, distribution], capture_output=True, text=True).stdout.strip()
