"""Processes that are killed with SIGKILL at random moments, and go on in another process."""

from __future__ import annotations

import ast
import asyncio
import operator
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypedDict

from scripts.trials.trial import Figure, Scale, Trial

from tests.runtime.jobs import KINDS, check_effects, expected
from tests.runtime.kennel import Kennel
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.constants import DEFAULT_THREADS
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.types import Send

FAN = 50


@dataclass
class Tally:
    """What killed processes have cost.

    Attributes:
        kills: how many were killed while they worked.
        wrong: wrong results, and effects that ran again although their result had been acknowledged.
        again: for each kill, how many finished effects ran again.
    """

    kills: int = 0
    wrong: int = 0
    again: list[float] = field(default_factory=list)


def storm(kennel: Kennel, path: Path, kills: int, rng: random.Random, job: dict[str, Any], check: Any) -> Tally:
    """Kill processes a moment after a random effect of theirs, then let another one end; count what it cost."""
    tally, thread = Tally(), 0
    while tally.kills < kills and thread < 4 * kills:
        thread += 1
        options = {**job, "path": str(path), "thread": str(thread)}
        effects = Path(f"{path}.{thread}.effects")
        dog = kennel.start(**options)
        last = rng.randrange(20, 500)
        while (not effects.exists() or effects.stat().st_size < last) and dog.alive():
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.004))
        if not dog.kill():
            continue
        tally.kills += 1
        try:
            tally.again.append(check(kennel.start(**options).said(), effects.read_text()))
        except (AssertionError, SyntaxError, ValueError):
            tally.wrong += 1
    return tally


def figures(name: str, tally: Tally, most: float) -> Iterator[Figure]:
    """Return the lines of a storm."""
    yield Figure(f"{name}: wrong results, acknowledged work done again", tally.wrong, 0, tally.kills)
    if tally.again:
        yield Figure(f"{name}: finished effects done again, most at once", max(tally.again), most, tally.kills)


def killed_programs(scale: Scale) -> Iterator[Figure]:
    """Kill storm: mixed programs of tasks, graphs, packets, nested runs and questions on SQLite."""
    for kind in KINDS:
        for lane in ("sync", "async"):
            for durability in ("sync", "async", "exit"):
                rng = random.Random(scale.seed)
                job = {"kind": kind, "lane": lane, "durability": durability, "pause": 0.0005}

                def check(said: str, effects: str, kind: Any = kind, durability: str = durability) -> float:
                    assert ast.literal_eval(said) == expected(kind)
                    if durability == "exit":  # a killed run starts over: that is its promise
                        return 0
                    return sum(check_effects(effects, expected(kind)["log"]).values())

                with Kennel("run_mixed") as kennel, TemporaryDirectory() as folder:
                    tally = storm(kennel, Path(folder) / "t.sqlite", scale(30), rng, job, check)
                yield from figures(f"{kind}, {lane}, durability {durability}", tally, most=3)


def run_fan(path: str, thread: str, how: str, lane: str, pause: float) -> None:
    """Run a fan-out of `FAN` effects, or go on with it; print what came of it."""
    file = os.open(f"{path}.{thread}.effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def ran(n: int) -> int:
        os.write(file, f"ran {n}\n".encode())
        return n

    def effect(n: int) -> int:
        time.sleep(pause)
        return ran(n)

    async def aeffect(n: int) -> int:
        await asyncio.sleep(pause)
        return ran(n)

    with SqliteSaver(path) as saver:
        program = FANS[how, lane](saver, effect if lane == "sync" else aeffect)
        config: Any = {"configurable": {"thread_id": thread}}
        input: Any = None if program.get_state(config).metadata else {"log": []}
        print(program.invoke(input, config) if lane == "sync" else asyncio.run(program.ainvoke(input, config)))


def tasks(saver: Any, effect: Any) -> Any:
    """Return an entrypoint that runs an effect `FAN` times."""
    work = task(effect, name="work")

    @entrypoint(checkpointer=saver)
    def program(x: Any) -> Any:
        return {"log": [future.result() for future in [work(n) for n in range(FAN)]]}

    return program


def atasks(saver: Any, effect: Any) -> Any:
    """Return the same with coroutines."""
    work = task(effect, name="work")

    @entrypoint(checkpointer=saver)
    async def program(x: Any) -> Any:
        return {"log": await asyncio.gather(*(work(n) for n in range(FAN)))}

    return program


def packets(saver: Any, effect: Any) -> Any:
    """Return a graph that runs an effect `FAN` times."""
    State: Any = TypedDict("State", {"log": Annotated[list[int], operator.add]})
    builder = StateGraph(State).add_node("work", lambda n: {"log": [effect(n)]})
    builder.add_conditional_edges(START, lambda state: [Send("work", n) for n in range(FAN)], ["work"])
    return builder.compile(saver)


def apackets(saver: Any, effect: Any) -> Any:
    """Return the same with coroutines."""
    State: Any = TypedDict("State", {"log": Annotated[list[int], operator.add]})

    async def work(n: int) -> dict[str, list[int]]:
        return {"log": [await effect(n)]}

    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(START, lambda state: [Send("work", n) for n in range(FAN)], ["work"])
    return builder.compile(saver)


FANS: dict[tuple[str, str], Any] = {
    ("tasks", "sync"): tasks,
    ("tasks", "async"): atasks,
    ("packets", "sync"): packets,
    ("packets", "async"): apackets,
}


def killed_fans(scale: Scale) -> Iterator[Figure]:
    """Kill storm: a fan-out of 50 effects on SQLite."""

    def check(said: str, effects: str) -> float:
        assert ast.literal_eval(said) == {"log": list(range(FAN))}
        return effects.count("ran") - FAN

    for how, lane in FANS:
        for pause in (0.0, 0.002, 0.01):
            with Kennel("run_fan", "scripts.trials.kills") as kennel, TemporaryDirectory() as folder:
                job = {"how": how, "lane": lane, "pause": pause}
                rng = random.Random(scale.seed)
                tally = storm(kennel, Path(folder) / "t.sqlite", scale(30), rng, job, check)
            name = f"{how} of {pause * 1000:g} ms, {lane}"
            yield from figures(name, tally, most=DEFAULT_THREADS)
            mean = sum(tally.again) / max(1, len(tally.again))
            yield Figure(f"{name}: finished effects done again, on average", mean, 2, tally.kills)


def warm() -> None:
    """Load what the jobs need."""


TRIALS: list[Trial] = [killed_programs, killed_fans]
