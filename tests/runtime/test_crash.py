"""Processes that die at any moment: the run goes on, and nothing that was acknowledged happens twice."""

from __future__ import annotations

import ast
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.jobs import KINDS, Kind, check_effects, expected, mixed
from tests.runtime.kennel import Dog, Kennel, needs_processes
from twinstep.checkpoint.sqlite import SqliteSaver

pytestmark = needs_processes
LANES = ["sync", "async"]


@pytest.fixture(scope="module")
def kennel() -> Iterator[Kennel]:
    with Kennel("run_mixed") as kennel:
        yield kennel


PARALLEL = 3
"""Most effects that the program runs at once."""


def finish(kennel: Kennel, path: Path, thread: str, kind: Kind, lane: str, **options: Any) -> dict[str, int]:
    """Run a thread to its end; check its result and its effects; return the repeated ones."""
    said = kennel.start(path=str(path), thread=thread, kind=kind, lane=lane, **options).said()
    assert ast.literal_eval(said) == expected(kind), said
    return check_effects(Path(f"{path}.{thread}.effects").read_text(), expected(kind)["log"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lane", LANES)
def test_without_a_crash_every_effect_runs_once(kennel, tmp_path, kind, lane):
    for _ in "12":
        # going on with what is done does nothing
        assert finish(kennel, tmp_path / "t.sqlite", "1", kind, lane) == {}


USUAL = [
    ("entrypoint", "sync", "before"),
    ("graph", "async", "before"),
    ("coroutine", "async", "before"),
    ("questions", "sync", "before"),
]
OTHERS = [c for c in itertools.product(KINDS, LANES, ["before", "after"]) if c not in USUAL]


@pytest.mark.parametrize(
    ("kind", "lane", "moment"), [*USUAL, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)]
)
def test_a_process_may_die_at_every_commit(kennel, tmp_path, kind, lane, moment):
    """For every k: a process ends at its k-th commit, before or after it is stored; another goes on."""
    path = tmp_path / "t.sqlite"
    for k in range(1, 100):
        job = {"path": str(path), "thread": str(k), "kind": kind, "lane": lane}
        said = kennel.start(**job, die_at=k, moment=moment).said()
        if said:
            assert ast.literal_eval(said) == expected(kind), said
            break
        repeated = finish(kennel, path, str(k), kind, lane)
        assert sum(repeated.values()) <= PARALLEL, (k, repeated)
    else:
        pytest.fail("the program never came to its end")
    assert k > 15


def kill_at_random(kennel: Kennel, tmp_path: Path, kills: int, seed: int) -> None:
    """Kill processes a moment after a random effect of theirs, several in a row on one thread; then let it end."""
    rng = random.Random(seed)
    path = tmp_path / "t.sqlite"
    killed = threads = 0
    while killed < kills:
        threads += 1
        thread, kind, lane = str(threads), rng.choice(KINDS), rng.choice(LANES)
        effects = Path(f"{path}.{thread}.effects")
        died = 0
        for _ in range(3):
            dog = kennel.start(path=str(path), thread=thread, kind=kind, lane=lane, pause=0.0005)
            done = size(effects)
            last = done + rng.randrange(400)  # bytes of the log of effects, which is about 700 bytes long
            while size(effects) < last and dog.alive():
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.003))
            died += dog.kill()
        killed += died
        repeated = finish(kennel, path, thread, kind, lane)
        assert sum(repeated.values()) <= PARALLEL * died, repeated
        assert threads < 3 * kills


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def test_a_process_may_be_killed_at_any_moment(kennel, tmp_path):
    seed = int(time.time())
    print(f"seed {seed}")  # shown when the test fails
    kill_at_random(kennel, tmp_path, kills=12, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_processes_may_be_killed_at_any_moment_again_and_again(kennel, tmp_path, seed):
    kill_at_random(kennel, tmp_path, kills=100, seed=seed)


@pytest.mark.parametrize("lane", LANES)
def test_a_killed_run_never_looks_finished(kennel, tmp_path, lane):
    """Also not when all nodes of a superstep have finished and their results are not applied yet."""
    path = tmp_path / "t.sqlite"
    for k in range(2, 18):
        dog: Dog = kennel.start(path=str(path), thread=str(k), kind="graph", lane=lane, die_at=k)
        assert dog.said() == ""
        with SqliteSaver(path) as saver:
            graph = mixed("graph", saver, lambda what, name: None)
            state = graph.get_state({"configurable": {"thread_id": str(k)}})
        assert (state.next != (), state.metadata["status"]) == (True, "running"), k


@pytest.mark.parametrize("lane", LANES)
def test_a_run_that_keeps_only_its_end_starts_over_after_a_crash(kennel, tmp_path, lane):
    path = tmp_path / "t.sqlite"
    for k in (1, 2, 3):
        job = {"path": str(path), "thread": str(k), "kind": "entrypoint", "lane": lane, "durability": "exit"}
        said = kennel.start(**job, die_at=k).said()
        if said == "":
            assert ast.literal_eval(kennel.start(**job).said()) == expected("entrypoint")
