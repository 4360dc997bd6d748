"""Cases of growth: what an operation costs when what it does not touch is large, over what it costs when that is small.

Both are measured in one process, by turns, so that the machine is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, pairwise
from time import process_time
from typing import Any, TypedDict

from scripts.benchmarks.case import Row, Sample, Side
from scripts.benchmarks.cases_graph import STEPS, Counter, limited

ROUNDS = 5
FEW = 20
STRETCH = 5_000
BAR = 1.3
Run = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """Work to be timed: `run` does `ops` operations, and what `without` takes is not counted."""

    run: Run
    ops: int
    without: Run | None = None

    def cost(self) -> float:
        """Return the microseconds of one operation."""
        spent = seconds(self.run) - (seconds(self.without) if self.without else 0.0)
        return spent / self.ops * 1e6


def seconds(run: Run) -> float:
    start = process_time()
    run()
    return process_time() - start


def growth(small: Work, large: Work) -> Sample:
    """Return the CPU time of an operation where much is there over that where little is, and both in microseconds."""
    small.cost(), large.cost()
    found = [(small.cost(), large.cost()) for _ in range(ROUNDS)]
    least, most = (min(each[side] for each in found) for side in (0, 1))
    return {"ratio": most / least, "small": least, "large": most}


def thread(name: object) -> dict[str, Any]:
    return {"configurable": {"thread_id": str(name)}}


# ---------------------------------------------------------------------- graphs


def less(state: Any) -> Any:
    """Do next to nothing: the node of all cases."""
    return {"x": state["x"] - 1}


def counting(side: Side, saver: Any = None) -> Any:
    """Compile a graph that counts down to nothing."""
    graph = side.module("graph")
    builder = graph.StateGraph(Counter)
    builder.add_node("node", less)
    builder.add_edge(graph.START, "node")
    builder.add_conditional_edges("node", lambda s: "node" if s["x"] else graph.END, ["node", graph.END])
    return builder.compile(checkpointer=saver)


def many_steps(side: Side) -> Sample:
    graph = counting(side)
    short = Work(lambda: [graph.invoke({"x": 100}, limited(100)) for _ in range(10)], 1_000)
    return growth(short, Work(lambda: graph.invoke({"x": 10_000}, limited(10_000)), 10_000))


def many_steps_sqlite(side: Side) -> Sample:
    """Count on new threads, for each run."""
    graph, threads = counting(side, side.sqlite()), count()

    def run(steps: int) -> Any:
        return graph.invoke({"x": steps}, {**limited(steps), **thread(next(threads))})

    return growth(Work(lambda: [run(100) for _ in range(10)], 1_000), Work(lambda: run(10_000), 10_000))


def looping(side: Side, schema: Any = Counter, idle: int = 0, input_schema: Any = None) -> Work:
    """Return the supersteps of a loop over one node, less what a run costs.

    The loop could go on to any of a chain of idle nodes, and never does.
    """
    graph = side.module("graph")

    def enough(state: Counter) -> str:
        return "done" if state["x"] <= 0 else "node"

    builder = graph.StateGraph(schema)
    builder.add_node("node", less, input_schema=input_schema)
    builder.add_edge(graph.START, "node")
    names = [f"idle{i}" for i in range(idle)]
    for name in names:
        builder.add_node(name, less)
    for start, end in pairwise(names):
        builder.add_edge(start, end)
    builder.add_conditional_edges("node", enough, {"node": "node", "done": graph.END, **{name: name for name in names}})
    program = builder.compile()
    given = dict.fromkeys(schema.__annotations__, 0)

    def run(steps: int) -> None:
        program.invoke({**given, "x": steps}, limited(steps))

    return Work(lambda: run(STEPS + 1), STEPS, without=lambda: run(1))


def many_nodes(side: Side) -> Sample:
    return growth(looping(side, idle=10), looping(side, idle=1_000))


def keyed(keys: int) -> Any:
    """Return a schema with so many keys that no node writes."""
    schema: Any = TypedDict("schema", {"x": int, **{f"key{i}": int for i in range(keys)}})  # type: ignore[misc]
    return schema


def many_keys(side: Side) -> Sample:
    """Loop over a node and a router that ask for one key."""
    return growth(looping(side, keyed(10), input_schema=Counter), looping(side, keyed(1_000), input_schema=Counter))


def many_keys_read(side: Side) -> Sample:
    """Loop over a node that asks for the whole state, of which it is given a copy."""
    return growth(looping(side, keyed(10)), looping(side, keyed(1_000)))


def bare_many_keys_read(side: Side) -> Sample:
    """Copy as many keys."""

    def copying(keys: int) -> Work:
        state: Any = dict.fromkeys(keyed(keys).__annotations__, 0)
        return Work(lambda: [{**state, **less(state)} for _ in range(STEPS)], STEPS)

    return growth(copying(10), copying(1_000))


# ---------------------------------------------------------------------- databases


def many_checkpoints(side: Side) -> Sample:
    """Run on a thread that has a long past."""

    def continued(past: int) -> Work:
        graph = counting(side, side.sqlite())
        for done in range(0, past, STRETCH):
            steps = min(STRETCH, past - done)
            graph.invoke({"x": steps}, {**limited(steps), **thread(1)})
        return Work(lambda: [graph.invoke({"x": 1}, thread(1)) for _ in range(FEW)], FEW)

    return growth(continued(100), continued(100_000))


def many_threads(side: Side) -> Sample:
    """Run on a new thread of a database that has many."""

    def begun(others: int) -> Work:
        graph, names = counting(side, side.sqlite()), count()
        for _ in range(others):
            graph.invoke({"x": 1}, thread(next(names)))
        return Work(lambda: [graph.invoke({"x": 1}, thread(next(names))) for _ in range(FEW)], FEW)

    return growth(begun(10), begun(10_000))


def _row(title: str, case: Any, bare: Any = None, bar: float | None = BAR) -> Row:
    return Row(f"growth: {title}", case, bare, bar=bar, metric="ratio", unit="", long=True)


ROWS = [
    _row("superstep, 10,000 in the run / 100", many_steps),
    _row("the same with SQLite", many_steps_sqlite),
    _row("superstep, 1,000 idle nodes / 10", many_nodes),
    _row("superstep, 1,000 untouched keys / 10", many_keys),
    _row("the same, node reads all keys", many_keys_read, bare_many_keys_read, bar=None),
    _row("invoke, 100,000 checkpoints before / 100", many_checkpoints),
    _row("invoke, 10,000 threads on file / 10", many_threads),
]
