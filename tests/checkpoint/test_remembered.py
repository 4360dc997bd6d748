"""What the SQLite saver answers from memory: the same as the file, and without reading it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from operator import add
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypedDict

import pytest

from twinstep.checkpoint.rows import CheckpointRow, Commit, Known, Loaded, RecordRow
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.graph import START, StateGraph
from twinstep.ids import new_id
from twinstep.types import Command, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}
SPACES = ("", "inner")


class State(TypedDict):
    log: Annotated[list[str], add]


class Doubting(SqliteSaver):
    """Compares each answer with what another saver reads in the file."""

    path: Path

    def load(self, thread_id: str, ns: str, checkpoint_id: str | None = None, known: Known | None = None) -> Loaded:
        loaded = super().load(thread_id, ns, checkpoint_id, known)
        with SqliteSaver(self.path) as fresh:
            read = fresh.load(thread_id, ns, checkpoint_id, known)
            assert loaded == (read if loaded.since == read.since else fresh.load(thread_id, ns, checkpoint_id))
        return loaded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.sqlite"


@pytest.fixture
def saver(path: Path) -> Iterator[Doubting]:
    with Doubting(path) as saver:
        saver.path = path
        yield saver


def talk(saver: SqliteSaver, text: str = "x") -> Any:
    """Return a graph whose nested graph remembers, and asks before the end."""

    def ask(_: State) -> dict[str, Any]:
        return {"log": [interrupt("go on?")]}

    inner = StateGraph(State).add_node("say", lambda _: {"log": [text]}).add_edge(START, "say").compile(True)
    graph = StateGraph(State).add_sequence([("inner", inner), ("ask", ask)]).add_edge(START, "inner")
    return graph.compile(saver)


def read_all(saver: SqliteSaver) -> None:
    """Read each namespace; `Doubting` compares."""
    for ns in SPACES:
        rows = saver.load("t", ns).rows
        for row in rows[-3:]:
            saver.load("t", ns, None, Known(row.id, rows[0].id))


def replace_with_copy(saver: SqliteSaver) -> None:
    """Put what another thread holds in the place of this one."""
    saver.delete_thread("t")
    saver.copy_thread("u", "t")


CHANGES: dict[str, Callable[[SqliteSaver], object]] = {
    "prune": lambda saver: saver.prune(["t"]),
    "copy": replace_with_copy,
    "delete": lambda saver: saver.delete_thread("t"),
    "run": lambda saver: talk(saver).invoke({"log": ["b"]}, CONFIG),
    "answer": lambda saver: talk(saver).invoke(Command(resume="yes"), CONFIG),
    "update": lambda saver: talk(saver).update_state(CONFIG, {"log": ["c"]}, as_node="ask"),
    "runs": lambda saver: saver.delete_for_runs([saver.load("t", "").holder or ""]),
}


@pytest.mark.parametrize(("who", "length"), [("itself", 1), ("itself", 20_000), ("another saver", 1)])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_remembered_is_what_the_file_holds(
    saver: Doubting, path: Path, who: str, change: str, length: int
) -> None:
    graph = talk(saver, "x" * length)
    graph.invoke({"log": ["a"]}, {"configurable": {"thread_id": "u"}})
    for answer in ("yes", "no"):
        graph.invoke({"log": ["a"]}, CONFIG)
        read_all(saver)
        graph.invoke(Command(resume=answer), CONFIG)
        read_all(saver)
    graph.invoke({"log": ["a"]}, CONFIG)
    with SqliteSaver(path) as other:
        CHANGES[change](saver if who == "itself" else other)
    read_all(saver)
    graph.invoke({"log": ["z"]}, CONFIG)
    read_all(saver)


@pytest.mark.parametrize("seed", range(4))
def test_any_commits_are_remembered_as_they_are(saver: Doubting, seed: int) -> None:
    chance = Random(seed)
    epoch, holder, head, runs = 0, "", None, ["run 0", "run 1"]
    for _ in range(60):
        run = holder if holder and chance.random() < 0.7 else chance.choice(runs)
        row = CheckpointRow(id := new_id(), head, chance.choice([head or id, id]), b"state" * chance.choice([1, 1500]))
        at = head or id
        commit = Commit(
            "t",
            "",
            run,
            epoch,
            claim=run != holder or chance.random() < 0.2,
            expect=head,
            checkpoint=row if head is None or chance.random() < 0.3 else None,
            records=tuple(
                RecordRow(at, run, name, b"record" * chance.choice([1, 1500]))
                for name in chance.sample("abcd", chance.choice([0, 1, 2]))
            ),
            forget=chance.choice([(), (), ("a", "b"), "*"]),
            forget_at=chance.choice([at, id]),
            status=chance.choice([None, "running", "failed"]),
        )
        saver.commit(commit)
        epoch, holder, head = epoch + commit.claim, run, id if commit.checkpoint else head
        saver.load("t", "")
        saver.load("t", "", None, Known(at, at))


def test_a_thread_that_this_process_wrote_to_is_not_read_again(path: Path) -> None:
    with closing(sqlite3.connect(path, check_same_thread=False)) as conn:
        graph, told = talk(SqliteSaver(conn)), list[str]()
        graph.invoke({"log": ["a"]}, CONFIG)
        conn.set_trace_callback(told.append)
        graph.invoke(Command(resume="yes"), CONFIG)
        graph.invoke({"log": ["b"]}, CONFIG)
        root = [statement for statement in told if "FROM twinstep_threads" in statement and "h.ns = ''" in statement]
        assert told
        assert not root
