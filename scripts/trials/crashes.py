"""A crash, and a failed write, at every write that a program makes."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from scripts.trials.trial import Figure, Scale, Trial

from tests.runtime.jobs import KINDS, Kind, Note, check_effects, expected, mixed
from tests.runtime.kennel import Kennel
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.rows import Commit
from twinstep.errors import CheckpointStorageError, TwinstepError
from twinstep.types import Command


def crashes(scale: Scale) -> Iterator[Figure]:
    """A process that ends at its k-th commit, before or after it is stored, for every k."""
    for kind in KINDS:
        wrong = tried = 0
        with Kennel("run_mixed") as kennel, TemporaryDirectory() as folder:
            path = Path(folder) / "t.sqlite"
            for moment in ("before", "after"):
                for k in range(1, 200):
                    job: dict[str, Any] = {"path": str(path), "thread": f"{moment}{k}", "kind": kind, "lane": "sync"}
                    if kennel.start(**job, die_at=k, moment=moment).said():
                        break  # it came to its end
                    tried += 1
                    try:
                        assert ast.literal_eval(kennel.start(**job).said()) == expected(kind)
                        check_effects(Path(f"{path}.{moment}{k}.effects").read_text(), expected(kind)["log"])
                    except (AssertionError, SyntaxError, ValueError):
                        wrong += 1
        yield Figure(f"{kind}: wrong results, acknowledged work done again", wrong, 0, tried)


class Failing(InMemorySaver):
    """Refuses its `at`-th commit and all after it, until it is mended."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.commits = at, 0

    def mend(self) -> None:
        self.at = 10**9

    def commit(self, commit: Commit) -> None:
        self.commits += 1
        if self.commits >= self.at:
            raise CheckpointStorageError("The disk is full.")
        super().commit(commit)


def failed_writes(scale: Scale) -> Iterator[Figure]:
    """A database that fails at the k-th write, for every k, and is mended."""
    for kind in KINDS:
        wrong = late = tried = 0
        for k in range(1, 200):
            saver, ran = Failing(k), list[str]()

            def note(what: str, name: str, ran: list[str] = ran, saver: Failing = saver) -> None:
                if what == "ran" and saver.commits >= saver.at:
                    ran.append(name)

            outcome = survive(kind, saver, note, saver.mend)
            if outcome == "unharmed":  # there was no such write
                break
            tried += 1
            late = max(late, len(ran))
            wrong += outcome != "right"
        yield Figure(f"{kind}: wrong results after the database was mended", wrong, 0, tried)
        yield Figure(f"{kind}: effects that still ran after the failure", late, 1, tried)


def survive(
    kind: Kind, saver: Any, note: Note, mend: Callable[[], object], thread: str = "1"
) -> Literal["unharmed", "right", "wrong", "raw"]:
    """Run the mixed program; when the database fails it, mend that and go on.

    Returns what came of it: no failure; the right result after one, or a wrong one; or an error that is not typed.
    """
    lines: list[str] = []

    def noted(what: str, name: str) -> None:
        lines.append(f"{what} {name}")
        note(what, name)

    program, config = mixed(kind, saver, noted), {"configurable": {"thread_id": thread}}
    start: Any = {"x": 1} if kind == "graph" else 1
    failed = False
    try:
        result = through(program, start, config)
    except TwinstepError:
        failed = True
        mend()
        begun = program.get_state(config).metadata
        result = through(program, None if begun else start, config)
    except Exception:
        mend()
        return "raw"
    try:
        check_effects("\n".join(lines), expected(kind)["log"])
    except AssertionError:
        return "wrong"
    return "wrong" if result != expected(kind) else "right" if failed else "unharmed"


def through(program: Any, input: Any, config: Any) -> Any:
    """Run a program to its end, answering what it asks."""
    state = program.get_state(config)
    if state.interrupts:
        input = Command(resume={question.id: "!" for question in state.interrupts})
    is_coroutine = program.name == "aflow"
    while True:
        # with "async" on PostgreSQL, what a node wrote is seen by the next one before it is stored
        call = partial(program.ainvoke if is_coroutine else program.invoke, input, config, durability="sync")
        result = asyncio.run(call()) if is_coroutine else call()
        state = program.get_state(config)
        if not state.interrupts:
            return result
        input = Command(resume={question.id: "!" for question in state.interrupts})


TRIALS: list[Trial] = [crashes, failed_writes]
