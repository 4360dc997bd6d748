"""Cases of state graphs without a saver: supersteps, whole runs, fan-outs, streams, start."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Annotated, Any, TypedDict

from scripts.benchmarks.case import Row, Sample, Side, Timed

STEPS = 500
FAN = 1000
KEYS = 300
CHAIN = 10
CHUNKS = 500


class Counter(TypedDict):
    """The state of a loop."""

    x: int


class Gathered(TypedDict):
    """The state of a fan-out."""

    out: Annotated[list[int], operator.add]


def bump(state: Any) -> Any:
    """Do next to nothing: the node of most cases."""
    return {"x": state["x"] + 1}


async def abump(state: Any) -> Any:
    """Do the same as a coroutine."""
    return {"x": state["x"] + 1}


def limited(steps: int) -> dict[str, Any]:
    """Return a config that allows so many supersteps."""
    return {"recursion_limit": steps + 10}


def loop_graph(
    side: Side, node: Any, schema: Any = Counter, saver: Any = None, read: Any = operator.itemgetter("x")
) -> Any:
    """Compile a graph whose one node runs `STEPS` times."""
    graph = side.module("graph")
    builder = graph.StateGraph(schema)
    builder.add_node("node", node)
    builder.add_edge(graph.START, "node")
    builder.add_conditional_edges("node", lambda s: graph.END if read(s) >= STEPS else "node", ["node", graph.END])
    return builder.compile(checkpointer=saver)


def chain_graph(side: Side, nodes: int, node: Any = bump) -> Any:
    """Compile a graph of nodes that run one after the other."""
    return chain_builder(side, nodes, node).compile()


def chain_builder(side: Side, nodes: int, node: Any = bump) -> Any:
    """Build a graph of nodes that run one after the other."""
    graph = side.module("graph")
    builder = graph.StateGraph(Counter)
    names = [graph.START, *(f"n{i}" for i in range(nodes)), graph.END]
    for name in names[1:-1]:
        builder.add_node(name, node)
    for start, end in pairwise(names):
        builder.add_edge(start, end)
    return builder


def bare_loop(side: Side) -> Timed:
    """Call the node in a loop and merge what it returns."""

    def run() -> None:
        state: dict[str, Any] = {"x": 0}
        while state["x"] < STEPS:
            state = {**state, **bump(state)}

    return Timed(run, STEPS)


# ---------------------------------------------------------------------- supersteps


def step_sync(side: Side) -> Timed:
    graph = loop_graph(side, bump)
    return Timed(lambda: graph.invoke({"x": 0}, limited(STEPS)), STEPS)


def step_async(side: Side) -> Timed:
    graph = loop_graph(side, abump)
    return Timed(lambda: graph.ainvoke({"x": 0}, limited(STEPS)), STEPS)


def bare_step_async(side: Side) -> Timed:
    async def run() -> None:
        state: dict[str, Any] = {"x": 0}
        while state["x"] < STEPS:
            state = {**state, **await abump(state)}

    return Timed(run, STEPS)


def wide(side: Side) -> Timed:
    schema: Any = TypedDict("schema", {"x": int, **{f"key{i}": int for i in range(KEYS - 1)}})  # type: ignore[misc]
    graph = loop_graph(side, bump, schema)
    start = dict.fromkeys(schema.__annotations__, 0)
    return Timed(lambda: graph.invoke(start, limited(STEPS)), STEPS)


def bare_wide(side: Side) -> Timed:
    start = {"x": 0, **{f"key{i}": 0 for i in range(KEYS - 1)}}

    def run() -> None:
        state = start
        while state["x"] < STEPS:
            state = {**state, **bump(state)}

    return Timed(run, STEPS)


def pydantic_step(side: Side) -> Timed:
    from pydantic import BaseModel

    class Model(BaseModel):
        x: int

    def node(state: Model) -> Any:
        return {"x": state.x + 1}

    graph = loop_graph(side, node, Model, read=operator.attrgetter("x"))
    return Timed(lambda: graph.invoke({"x": 0}, limited(STEPS)), STEPS)


def bare_pydantic_step(side: Side) -> Timed:
    from pydantic import BaseModel

    class Model(BaseModel):
        x: int

    def run() -> None:
        state = Model(x=0)
        while state.x < STEPS:
            state = Model.model_validate({**state.model_dump(), "x": state.x + 1})

    return Timed(run, STEPS)


# ---------------------------------------------------------------------- whole runs


def invoke_1(side: Side) -> Timed:
    return _invoke(side, 1)


def invoke_10(side: Side) -> Timed:
    return _invoke(side, CHAIN)


def _invoke(side: Side, nodes: int) -> Timed:
    graph = chain_graph(side, nodes)
    return Timed(lambda: [graph.invoke({"x": 0}) for _ in range(50)], 50)


def bare_invoke_1(side: Side) -> Timed:
    return _bare_invoke(1)


def bare_invoke_10(side: Side) -> Timed:
    return _bare_invoke(CHAIN)


def _bare_invoke(nodes: int) -> Timed:
    def run() -> None:
        for _ in range(50):
            state: dict[str, Any] = {"x": 0}
            for _ in range(nodes):
                state = {**state, **bump(state)}

    return Timed(run, 50)


async def pausing(state: Any) -> Any:
    """Wait a millisecond, as for an answer over the network."""
    await asyncio.sleep(0.001)
    return {"x": state["x"] + 1}


def concurrent(side: Side) -> Timed:
    graph = chain_graph(side, CHAIN, pausing)

    async def run() -> None:
        await asyncio.gather(*(graph.ainvoke({"x": 0}) for _ in range(200)))

    return Timed(run, 200)


def bare_concurrent(side: Side) -> Timed:
    async def one() -> None:
        state: dict[str, Any] = {"x": 0}
        for _ in range(CHAIN):
            state = {**state, **await pausing(state)}

    async def run() -> None:
        await asyncio.gather(*(one() for _ in range(200)))

    return Timed(run, 200)


# ---------------------------------------------------------------------- fan-out


def work(item: Any) -> Any:
    """Do next to nothing with one packet."""
    return {"out": [item["i"]]}


async def awork(item: Any) -> Any:
    """Do the same as a coroutine."""
    return {"out": [item["i"]]}


def fan_graph(side: Side, node: Any) -> Any:
    """Compile a graph that sends `FAN` packets to a node."""
    graph, send = side.module("graph"), side.module("types").Send
    builder = graph.StateGraph(Gathered)
    builder.add_node("work", node)
    builder.add_conditional_edges(graph.START, lambda s: [send("work", {"i": i}) for i in range(FAN)], ["work"])
    return builder.compile()


def fan_sync(side: Side) -> Timed:
    graph = fan_graph(side, work)
    return Timed(lambda: graph.invoke({"out": []}), FAN)


def fan_async(side: Side) -> Timed:
    graph = fan_graph(side, awork)
    return Timed(lambda: graph.ainvoke({"out": []}), FAN)


def bare_fan_sync(side: Side) -> Timed:
    def run() -> None:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(work, {"i": i}) for i in range(FAN)]
            assert sum(len(future.result()["out"]) for future in futures) == FAN

    return Timed(run, FAN)


def bare_fan_async(side: Side) -> Timed:
    async def run() -> None:
        assert len(await asyncio.gather(*(asyncio.create_task(awork({"i": i})) for i in range(FAN)))) == FAN

    return Timed(run, FAN)


# ---------------------------------------------------------------------- streams


def custom_chunk(side: Side) -> Timed:
    get_stream_writer = side.module("config").get_stream_writer

    def node(state: Any) -> Any:
        writer = get_stream_writer()
        for i in range(state["x"]):
            writer(i)
        return {"x": 0}

    builder = side.module("graph").StateGraph(Counter)
    graph = builder.add_node("node", node).add_edge("__start__", "node").compile()

    def run(chunks: int) -> Callable[[], None]:
        def consume() -> None:
            assert sum(1 for _ in graph.stream({"x": chunks}, stream_mode="custom")) == chunks

        return consume

    return Timed(run(CHUNKS), CHUNKS, without=run(0))


def updates_chunk(side: Side) -> Timed:
    graph = loop_graph(side, bump)

    def run() -> None:
        assert sum(1 for _ in graph.stream({"x": 0}, limited(STEPS), stream_mode="updates")) == STEPS

    return Timed(run, STEPS, without=lambda: graph.invoke({"x": 0}, limited(STEPS)))


def bare_chunk(side: Side) -> Timed:
    def chunks() -> Iterator[Any]:
        for i in range(CHUNKS):
            yield {"node": {"x": i}}

    return Timed(lambda: list(chunks()), CHUNKS)


# ---------------------------------------------------------------------- compile and start


def compiling(side: Side) -> Timed:
    builder = chain_builder(side, 100)
    return Timed(builder.compile, 100)


def building(side: Side) -> Timed:
    return Timed(lambda: chain_builder(side, 100).compile(), 100)


def building_agent(side: Side) -> Timed:
    graph = side.module("graph")

    def build() -> None:
        builder = graph.StateGraph(graph.MessagesState)
        builder.add_node("model", bump)
        builder.add_node("tools", bump)
        builder.add_edge(graph.START, "model")
        builder.add_conditional_edges("model", lambda state: graph.END, ["tools", graph.END])
        builder.add_edge("tools", "model")
        builder.compile()

    return Timed(build, 1)


IMPORTS = "import {package}.graph, {package}.func, {package}.types"
IMPORT = """
import sys, time
start = time.process_time()
{imports}
cpu, modules = time.process_time() - start, len(sys.modules)
import json
from importlib.metadata import packages_distributions
loaded = {{name.partition(".")[0] for name in sys.modules}}
dists = {{dist for name, found in packages_distributions().items() if name in loaded for dist in found}}
print(json.dumps({{"cpu": cpu, "modules": modules, "distributions": len(dists)}}))
"""
START = """
import json, time
start = time.process_time()
from typing import TypedDict
from {package}.graph import END, START, StateGraph
State = TypedDict("State", {{"x": int}})
builder = StateGraph(State)
builder.add_node("node", lambda s: s)
builder.add_edge(START, "node")
builder.add_edge("node", END)
builder.compile()
print(json.dumps({{"cpu": time.process_time() - start}}))
"""


def fresh(code: str) -> Sample:
    """Run code in a fresh process and return the figures it prints; all it imports has been compiled by one before."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    sample: Sample = json.loads(done.stdout)
    return sample


def importing(side: Side) -> Sample:
    return fresh(IMPORT.format(imports=IMPORTS.format(package=side.package)))


def starting(side: Side) -> Sample:
    return fresh(START.format(package=side.package))


ROWS = [
    Row("superstep in a loop, sync", step_sync, bare_loop, bar=15, reference=300),
    Row("superstep in a loop, async", step_async, bare_step_async, bar=25, reference=490),
    Row("invoke of a 1-node graph", invoke_1, bare_invoke_1, bar=40, reference=700),
    Row("invoke of a 10-node graph", invoke_10, bare_invoke_10, bar=150, reference=2770),
    Row("one Send task of 1,000, sync", fan_sync, bare_fan_sync, bar=12, reference=200),
    Row("one Send task of 1,000, async", fan_async, bare_fan_async, bar=20, reference=360),
    Row("300-key state, one superstep", wide, bare_wide, bar=40, reference=754),
    Row("pydantic state, one superstep", pydantic_step, bare_pydantic_step, bar=25, reference=265),
    Row("one custom chunk", custom_chunk, bare_chunk, bar=2, reference=3.6),
    Row("one updates chunk", updates_chunk, bare_chunk, bar=5),  # the reference makes them also when nobody listens
    Row("a run among 200 async ones of 10 x 1 ms", concurrent, bare_concurrent, bar=400, reference=3846),
    Row("compile, per node", compiling, None, bar=40, reference=86),
    Row("build and compile, per node", building, None, bar=None),
    Row("build and compile, a loop of two nodes with messages", building_agent, None, bar=None),
    Row("start: import and first compile", starting, None, bar=0.45, reference=0.95, unit="s"),
    Row("import", importing, None, bar=0.15, reference=0.9, unit="s"),
    Row("import: modules", importing, None, bar=250, reference=1033, metric="modules", unit=""),
    Row("import: distributions", importing, None, bar=8, reference=38, metric="distributions", unit=""),
]
