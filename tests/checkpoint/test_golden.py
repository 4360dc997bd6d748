"""Threads stored by the first version of the format are read, and go on, for ever.

`golden/` holds SQLite files, and the threads of one as PostgreSQL's SQL. They are never changed: a new version of the
format adds files of its own (`python -m tests.checkpoint.test_golden` with PYTHONPATH=src:. makes those that are
missing).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.testing.conformance.writer import put, thread
from twinstep.types import Command, interrupt

FOLDER = Path(__file__).parent / "golden"
SQLITE, POSTGRES = FOLDER / "threads-v1.sqlite", FOLDER / "threads-v1.sql"
KILLED = {form: FOLDER / f"killed-v1-{form}.sqlite" for form in ("named", "newest")}
"""Files of runs that were killed: their heads name a checkpoint, as all did at first, or leave that to the newest."""
VALUES = {"exact": (1, {2}, b"3", {4: 2**70}), "list": [1]}

ran: list[str] = []


@task
def charge(amount: int) -> str:
    ran.append(f"charge {amount}")
    return f"charged {amount}"


def flow_on(saver: BaseCheckpointSaver) -> Any:
    @entrypoint(checkpointer=saver)
    def flow(amount: int) -> list[Any]:
        return [charge(amount).result(), charge(amount + 1).result(), interrupt("wrap?")]

    return flow


class Talk(TypedDict):
    lines: Annotated[list[str], add]
    turns: int


def talk_on(saver: BaseCheckpointSaver) -> Any:
    def answer(state: Talk) -> dict[str, Any]:
        return {"lines": [f"answer {state['turns']}"], "turns": state["turns"] + 1}

    return StateGraph(Talk).add_node(answer).add_edge(START, "answer").compile(saver)


def count_on(saver: BaseCheckpointSaver, killed_at: int | None = None) -> Any:
    def more(state: Talk) -> dict[str, Any]:
        if state["turns"] == killed_at:
            os._exit(9)
        ran.append(f"turn {state['turns']}")
        return {"lines": [f"turn {state['turns']}"], "turns": state["turns"] + 1}

    def until_five(state: Talk) -> str:
        return "more" if state["turns"] < 5 else END

    graph = StateGraph(Talk).add_node(more).add_edge(START, "more")
    return graph.add_conditional_edges("more", until_five, ["more", END]).compile(saver)


def write(saver: BaseCheckpointSaver) -> None:
    """Store what the tests read."""
    flow_on(saver).invoke(5, thread("asked"))
    for turn in range(3):
        talk_on(saver).invoke({"lines": [f"line {turn}"], "turns": turn}, thread("talk"))
    put(saver, thread("put"), {"note": "kept"}, **VALUES)
    saver.put_writes(thread("put"), [("list", [2])], "task")


@pytest.fixture(params=["sqlite", "postgres"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointSaver]:
    """A saver on what the first version has stored."""
    if request.param == "sqlite":
        path = Path(shutil.copy(SQLITE, tmp_path))
        with SqliteSaver(path) as saver:
            yield saver
        return
    import psycopg

    from twinstep.checkpoint.postgres import PostgresSaver

    url = request.getfixturevalue("postgres_database")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP SCHEMA public CASCADE")
        conn.execute("CREATE SCHEMA public")
        conn.execute(POSTGRES.read_bytes())
    with PostgresSaver(url) as postgres:
        yield postgres


def test_a_question_is_answered_and_no_finished_call_repeated(old: BaseCheckpointSaver) -> None:
    ran.clear()
    flow = flow_on(old)
    assert [question.value for question in flow.get_state(thread("asked")).interrupts] == ["wrap?"]
    assert flow.invoke(Command(resume="yes"), thread("asked")) == ["charged 5", "charged 6", "yes"]
    assert ran == []


def test_a_conversation_has_its_history_and_goes_on(old: BaseCheckpointSaver) -> None:
    talk = talk_on(old)
    lines = [line for turn in range(3) for line in (f"line {turn}", f"answer {turn}")]
    assert talk.get_state(thread("talk")).values == {"lines": lines, "turns": 3}
    history = [len(each.values.get("lines", ())) for each in talk.get_state_history(thread("talk"))]
    assert history == [6, 5, 4, 4, 3, 2, 2, 1, 0]
    assert talk.invoke({"lines": ["more"]}, thread("talk"))["lines"] == [*lines, "more", "answer 3"]


def test_values_and_pending_writes_are_exact(old: BaseCheckpointSaver) -> None:
    found = old.get_tuple(thread("put"))
    assert found is not None
    assert found.checkpoint["channel_values"] == VALUES
    assert type(found.checkpoint["channel_values"]["exact"]) is tuple
    assert (found.metadata["note"], found.pending_writes) == ("kept", [("task", "list", [2])])


def test_new_threads_go_beside_the_old_ones(old: BaseCheckpointSaver) -> None:
    put(old, thread("new"), x=1)
    assert [name for name, _ in old.threads()] == ["asked", "talk", "put", "new"]


@pytest.mark.parametrize("form", KILLED)
def test_a_killed_run_goes_on_where_it_was(form: str, tmp_path: Path) -> None:
    ran.clear()
    path = Path(shutil.copy(KILLED[form], tmp_path))
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("SELECT checkpoint = x'FF' FROM twinstep_heads").fetchone() == (form == "newest",)
    with SqliteSaver(path) as saver:
        count, killed = count_on(saver), thread("killed")
        state = count.get_state(killed)
        assert (state.values["turns"], state.next) == (3, ("more",))
        assert count.invoke(None, killed)["lines"] == [f"turn {turn}" for turn in range(5)]
        assert ran == ["turn 3", "turn 4"]
        turns = [each.values.get("turns") for each in count.get_state_history(killed)]
        assert turns == [5, 4, 3, 2, 1, 0, None]


def make_killed() -> None:
    """Make the file that this version writes (the one with names was made before heads could leave that out)."""
    path = KILLED["newest"]
    if os.fork() == 0:
        count_on(SqliteSaver(path), killed_at=3).invoke({"lines": [], "turns": 0}, thread("killed"))
    os.wait()
    with closing(sqlite3.connect(path)) as conn:
        for statement in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", "VACUUM"):
            conn.execute(statement)


def make_sqlite() -> None:
    with closing(sqlite3.connect(SQLITE, check_same_thread=False)) as conn:
        conn.execute("PRAGMA page_size = 512")
        with SqliteSaver(conn) as saver:
            write(saver)
            saver.compact()


def make_postgres() -> None:
    import psycopg
    from psycopg import ClientCursor

    from tests.postgres import running_server
    from twinstep.checkpoint.postgres import PostgresSaver
    from twinstep.checkpoint.postgres.database import PROGRAM
    from twinstep.checkpoint.sql import MIGRATIONS

    with running_server() as server, PostgresSaver(server.get_uri()) as saver, POSTGRES.open("w") as file:
        write(saver)
        for statement in MIGRATIONS[0]:
            print(statement.format(**vars(PROGRAM._dialect)) + ";", file=file)
        print("CREATE TABLE twinstep_schema (version BIGINT NOT NULL);", file=file)
        with psycopg.connect(server.get_uri()) as conn:
            quoted = ClientCursor(conn)
            for table in ("schema", "threads", "heads", "checkpoints", "records"):
                for row in conn.execute(f"SELECT * FROM twinstep_{table}").fetchall():
                    values = quoted.mogrify(", ".join(["%s"] * len(row)), row)
                    print(f"INSERT INTO twinstep_{table} VALUES ({values});", file=file)
            for table in ("threads", "heads"):
                name = f"twinstep_{table}"
                print(f"SELECT setval(pg_get_serial_sequence('{name}', 'n'), max(n)) FROM {name};", file=file)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, make in ((SQLITE, make_sqlite), (POSTGRES, make_postgres), (KILLED["newest"], make_killed)):
        if not file.exists():
            make()
