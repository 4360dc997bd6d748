"""Commands. `python -m twinstep.cli check module:graph` finds threads that a changed program cannot go on with."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

from twinstep.checkpoint.sqlite import SqliteSaver


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 when all is well, 1 when something was found."""
    parser = argparse.ArgumentParser(prog="twinstep", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check that a program can go on with its stored threads")
    check.add_argument("program", help="a compiled graph or entrypoint: module:name")
    check.add_argument("database", nargs="?", help="an SQLite file; by default the program's own checkpointer")
    options = parser.parse_args(arguments)
    return check_threads(_program(options.program), options.database)


def check_threads(graph: Any, database: str | None) -> int:
    """Print the threads that a program cannot go on with; return 1 if there are any."""
    if database is not None:
        graph = graph.copy({"checkpointer": SqliteSaver(database)})
    lines = [f"{config['configurable']['thread_id']}: {error}\n" for config, error in graph.check_threads()]
    sys.stdout.writelines(lines or ["all stored threads can go on\n"])
    return 1 if lines else 0


def _program(name: str) -> Any:
    module, _, path = name.partition(":")
    sys.path.insert(0, "")
    return attrgetter(path or "graph")(import_module(module))


if __name__ == "__main__":
    sys.exit(main())
