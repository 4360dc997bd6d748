"""Cases of state graphs with a saver: supersteps, and a question with its answer."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from importlib import import_module
from typing import Any
from uuid import uuid4

from scripts.benchmarks.case import Row, Side, Timed
from scripts.benchmarks.cases_graph import STEPS, Counter, bump, limited, loop_graph
from scripts.benchmarks.cases_task import increased

TALKS = 20
CALLS = 200
POSTGRES = "TWINSTEP_BENCH_POSTGRES"
INSERT = "INSERT INTO steps (state) VALUES (?)"


def steps_with(side: Side, saver: Any) -> Timed:
    """Time the supersteps of runs on threads of their own."""
    graph = loop_graph(side, bump, saver=saver)

    def run() -> None:
        graph.invoke({"x": 0}, {**limited(STEPS), "configurable": {"thread_id": uuid4().hex}})

    return Timed(run, STEPS)


def bare_steps_with(keep: Callable[[str], object]) -> Timed:
    """Time as many calls, each followed by keeping the state."""

    def run() -> None:
        state: dict[str, Any] = {"x": 0}
        while state["x"] < STEPS:
            state = {**state, **bump(state)}
            keep(json.dumps(state))

    return Timed(run, STEPS)


def table(conn: sqlite3.Connection) -> sqlite3.Connection:
    """Make a table of steps."""
    conn.isolation_level = None
    conn.execute("CREATE TABLE steps (n INTEGER PRIMARY KEY, state TEXT)")
    return conn


def memory_step(side: Side) -> Timed:
    return steps_with(side, side.memory())


def bare_memory_step(side: Side) -> Timed:
    return bare_steps_with(list[str]().append)


def sqlite_step(side: Side) -> Timed:
    return steps_with(side, side.sqlite())


def bare_sqlite_step(side: Side) -> Timed:
    conn = table(side.connect())
    return bare_steps_with(lambda state: conn.execute(INSERT, (state,)))


def sqlite_full_step(side: Side) -> Timed:
    return steps_with(side, side.sqlite("FULL"))


def bare_sqlite_full_step(side: Side) -> Timed:
    conn = table(side.connect("FULL"))
    return bare_steps_with(lambda state: conn.execute(INSERT, (state,)))


def server() -> str:
    """Return how to reach the PostgreSQL server that was named."""
    if POSTGRES not in os.environ:
        raise SystemExit(f"set {POSTGRES} to a connection string")
    return os.environ[POSTGRES]


def postgres_step(side: Side) -> Timed:
    saver = side.enter(side.module("checkpoint.postgres").PostgresSaver.from_conn_string(server()))
    saver.setup()
    return steps_with(side, saver)


def bare_postgres_step(side: Side) -> Timed:
    conn = import_module("psycopg").connect(server(), autocommit=True)
    conn.execute("CREATE TEMP TABLE steps (n serial PRIMARY KEY, state text)")
    return bare_steps_with(lambda state: conn.execute(INSERT.replace("?", "%s"), (state,)))


def sqlite_task(side: Side) -> Timed:
    """Call a task over and over in an entrypoint that records what each call returned."""
    func = side.module("func")
    task = func.task(increased)

    @func.entrypoint(side.sqlite())  # type: ignore[untyped-decorator]
    def program(x: int) -> int:
        for _ in range(CALLS):
            x = task(x).result()
        return x

    return Timed(lambda: program.invoke(0, {"configurable": {"thread_id": uuid4().hex}}), CALLS)


def bare_sqlite_task(side: Side) -> Timed:
    conn = table(side.connect())

    def run() -> None:
        x = 0
        while x < CALLS:
            x = increased(x)
            conn.execute(INSERT, (json.dumps(x),))

    return Timed(run, CALLS)


# ---------------------------------------------------------------------- questions


def talks_with(side: Side, saver: Any) -> Timed:
    """Time runs that stop at a question, are answered and end, each on a thread of its own."""
    graph, types = side.module("graph"), side.module("types")
    builder = graph.StateGraph(Counter)
    builder.add_node("ask", lambda state: {"x": types.interrupt("how many?")})
    talk = builder.add_edge(graph.START, "ask").compile(checkpointer=saver)

    def run() -> None:
        for _ in range(TALKS):
            thread = {"configurable": {"thread_id": uuid4().hex}}
            talk.invoke({"x": 0}, thread)
            assert talk.invoke(types.Command(resume=3), thread) == {"x": 3}

    return Timed(run, TALKS)


def bare_talks_with(keep: Callable[[str], object]) -> Timed:
    """Time as many questions and answers that are only kept."""

    def run() -> None:
        for _ in range(TALKS):
            keep(json.dumps({"x": 0, "question": "how many?"}))
            keep(json.dumps({"x": 3}))

    return Timed(run, TALKS)


def memory_talk(side: Side) -> Timed:
    return talks_with(side, side.memory())


def bare_memory_talk(side: Side) -> Timed:
    return bare_talks_with(list[str]().append)


def sqlite_talk(side: Side) -> Timed:
    return talks_with(side, side.sqlite())


def bare_sqlite_talk(side: Side) -> Timed:
    conn = table(side.connect())
    return bare_talks_with(lambda state: conn.execute(INSERT, (state,)))


ROWS = [
    Row("superstep with the memory saver", memory_step, bare_memory_step, bar=30, reference=430),
    Row("superstep with SQLite, NORMAL", sqlite_step, bare_sqlite_step, bar=60, reference=870),
    Row(
        "superstep with SQLite, FULL (clock, above bare)",
        sqlite_full_step,
        bare_sqlite_full_step,
        bar=60,
        metric="wall",
        above_bare=True,
    ),
    Row("superstep with SQLite: stored", sqlite_step, bare_sqlite_step, bar=None, metric="stored", unit="B"),
    Row("superstep with Postgres", postgres_step, bare_postgres_step, bar=300, reference=1240, served=True),
    Row("task().result() with SQLite", sqlite_task, bare_sqlite_task, bar=None),
    Row("task().result() with SQLite: stored", sqlite_task, bare_sqlite_task, bar=None, metric="stored", unit="B"),
    Row("interrupt and resume, memory saver", memory_talk, bare_memory_talk, bar=250, reference=4360),
    Row("interrupt and resume, SQLite", sqlite_talk, bare_sqlite_talk, bar=500, reference=8270),
    Row("interrupt and resume, SQLite: stored", sqlite_talk, bare_sqlite_talk, bar=None, metric="stored", unit="B"),
]
