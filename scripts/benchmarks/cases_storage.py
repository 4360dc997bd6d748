"""Cases of storage and memory: a long conversation on SQLite, and many runs on one thread."""

from __future__ import annotations

import gc
import json
import operator
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from time import process_time
from typing import Annotated, Any, TypedDict

from scripts.benchmarks.case import Row, Sample, Side, peak, size
from scripts.benchmarks.cases_graph import chain_builder

TURNS = 1000
SHOWN = 50
TEXT = "lorem ipsum dolor sit amet " * 8
THREAD: Any = {"configurable": {"thread_id": "1"}}


class Conversation(TypedDict):
    """The state of a conversation."""

    messages: Annotated[list[dict[str, str]], operator.add]


def message(role: str, turn: int) -> dict[str, str]:
    """Return a message of about 230 characters."""
    return {"role": role, "content": TEXT, "id": f"{role}{turn}"}


def timed(run: Callable[[], object]) -> float:
    """Return the milliseconds of CPU that a call takes."""
    start = process_time()
    run()
    return (process_time() - start) * 1e3


def talk(side: Side, turn: Callable[[int], object]) -> Sample:
    """Take the turns of a conversation and measure them."""
    cpu, sizes = list[float](), list[float]()
    for half in (range(TURNS // 2), range(TURNS // 2, TURNS)):
        cpu.append(sum(timed(partial(turn, n)) for n in half))
        sizes.append(size(side))
    growth = {"growth": (sizes[1] - sizes[0]) / sizes[0], "slowing": cpu[1] / cpu[0]}
    return {"size": sizes[1], "cpu": sum(cpu) / TURNS, "peak": peak(), **growth}


def conversation(side: Side) -> Sample:
    graph = side.module("graph")
    builder = graph.StateGraph(Conversation)
    builder.add_node("reply", lambda state: {"messages": [message("assistant", len(state["messages"]))]})
    saver = side.sqlite()
    program = builder.add_edge(graph.START, "reply").compile(checkpointer=saver)
    sample = talk(side, lambda n: program.invoke({"messages": [message("user", n)]}, THREAD))
    assert len(program.get_state(THREAD).values["messages"]) == 2 * TURNS
    sample["get_state"] = timed(lambda: program.get_state(THREAD))
    before = peak()
    sample["history"] = timed(lambda: seen(islice(program.get_state_history(THREAD), SHOWN))) / SHOWN
    sample["history_peak"] = peak() - before
    return sample


def seen(states: Iterable[Any]) -> int:
    """Look at each state and keep none."""
    return sum(len(state.values["messages"]) for state in states)


def bare_conversation(side: Side) -> Sample:
    conn = side.connect()
    conn.isolation_level = None
    conn.execute("CREATE TABLE messages (n INTEGER PRIMARY KEY, message TEXT)")

    def turn(n: int) -> None:
        for role in ("user", "assistant"):
            conn.execute("INSERT INTO messages (message) VALUES (?)", (json.dumps(message(role, n)),))

    sample = talk(side, turn)
    every = "SELECT message FROM messages"
    sample["get_state"] = timed(lambda: [json.loads(row[0]) for row in conn.execute(every)])
    return sample


# ---------------------------------------------------------------------- many runs


def runs(side: Side, saver: Any) -> Callable[[int], None]:
    """Return a function that runs a small graph so many times on one thread."""
    program = chain_builder(side, 1).compile(checkpointer=saver)

    def run(times: int) -> None:
        for _ in range(times):
            program.invoke({"x": 0}, THREAD)

    return run


def objects_alive(side: Side) -> Sample:
    run, times = runs(side, side.sqlite()), 10_000
    run(100)
    gc.collect()
    before = len(gc.get_objects())
    run(times)
    gc.collect()
    return {"objects": (len(gc.get_objects()) - before) / times}


def memory_held(side: Side) -> Sample:
    run, times = runs(side, side.memory()), 300
    run(20)
    tracemalloc.start()
    run(times)
    gc.collect()
    return {"held": tracemalloc.get_traced_memory()[0] / times / 1e3}


def _conversation(title: str, metric: str, unit: Any, bar: float | None, reference: float | None = None) -> Row:
    return Row(
        title, conversation, bare_conversation, bar=bar, reference=reference, metric=metric, unit=unit, slow=True
    )


ROWS = [
    _conversation("1,000 turns on SQLite: file", "size", "MB", 2, 885),
    _conversation("1,000 turns on SQLite: second half over first", "growth", "", 1.1),
    _conversation("1,000 turns on SQLite: CPU per turn", "cpu", "ms", 0.5, 11),
    _conversation("1,000 turns on SQLite: CPU of second half over first", "slowing", "", None),
    _conversation("1,000 turns on SQLite: peak memory", "peak", "MB", 80, 2000),
    _conversation("get_state after 1,000 turns", "get_state", "ms", 5, 2),
    _conversation("history after 1,000 turns, per state", "history", "ms", 5),
    _conversation("history after 1,000 turns: memory", "history_peak", "MB", 5),
    Row("objects alive per run, 10,000 runs", objects_alive, None, bar=0.01, metric="objects", unit="", long=True),
    Row("memory saver: held per run", memory_held, None, bar=4, reference=10.8, metric="held", unit="kB"),
]
