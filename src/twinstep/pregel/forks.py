"""Going back inside nested runs: where a nested checkpoint is reached from, and where a nested run starts.

A nested graph with `checkpointer=True` has one namespace for the whole thread. What it remembers belongs to the state
of the root all the same: the channel `MEMORIES` of the root holds the checkpoint that each such namespace stands at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from twinstep.channels import LastValue
from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.format import Place, decode_info, encode_info
from twinstep.checkpoint.rows import Loaded
from twinstep.constants import MEMORIES, NS_END, NS_SEP
from twinstep.errors import CheckpointNotFoundError
from twinstep.ids import path_id
from twinstep.pregel.effects import Program, history, load
from twinstep.pregel.run import Former, Run


class Start(NamedTuple):
    """What a nested run starts from: `forked`, when a caller went back to that very checkpoint."""

    loaded: Loaded
    place: Place
    forked: bool


def locate(run: Run, goal: tuple[str, str]) -> Program[str | None]:
    """Return the root's checkpoint from which a nested one is reached; None if the thread stands there.

    Raises:
        CheckpointNotFoundError: the nested checkpoint, or one that it was reached from, does not exist.
    """
    saver, root = run.saver, run.root
    assert saver is not None
    (ns, id), moved = goal, False
    while True:
        place = Place(run.place.thread_id, ns)
        loaded = yield from load(saver, *place, id)
        if not loaded.rows or loaded.head is None:
            raise CheckpointNotFoundError(f"Checkpoint '{id}' does not exist in {place}.")
        moved = moved or loaded.head.checkpoint != id
        if not ns:
            break
        root.targets[ns] = id
        root.former_id = root.former_id or loaded.head.run
        id = yield from _caller(saver, place, loaded.head.info, id)
        ns = _outer(ns)
    if moved:
        return id
    root.targets.clear()
    return None


def _outer(ns: str) -> str:
    """Return the namespace of the run in which that of a namespace is nested."""
    levels = ns.split(NS_SEP)
    if NS_END not in ns:
        return ""
    while levels.pop().isdigit():  # a number counts the calls of one task
        pass
    return NS_SEP.join(levels)


def _caller(saver: Journal, place: Place, info: bytes, id: str) -> Program[str]:
    """Return the checkpoint of the caller at which it called what made a nested checkpoint."""
    facts = decode_info(saver.serde, place, info) if info else {}
    if NS_END in place.ns and "at" in facts:
        return str(facts["at"])
    # a thread has one writer, so that ids tell what was made during which superstep
    older = yield from history(saver, place.thread_id, _outer(place.ns), id, 1)
    if not older:
        raise CheckpointNotFoundError(f"What called checkpoint '{id}' of {place} does not exist any more.")
    return older[0].id


def nested_start(run: Run, loaded: Loaded) -> Program[Start]:
    """Return what a nested run starts from, given the head of its namespace."""
    saver, root, head = run.saver, run.root, loaded.head
    assert saver is not None
    if root.targets:
        ns = run.ns if run.remembers else _former_ns(run)
        if ns in root.targets:
            place = Place(run.place.thread_id, ns)
            found = yield from load(saver, *place, root.targets.pop(ns))
            return Start(found, place, True)
    if not run.remembers or head is None or head.run == run.id or _facts(run, loaded).get("for") == root.base:
        return Start(loaded, run.place, False)
    outer = run
    while outer.parent is not None:
        outer = outer.parent.run
    channel = outer.state.channels.get(MEMORIES)
    wanted = channel.value.get(run.ns) if channel is not None else None
    if wanted == head.checkpoint:
        return Start(loaded, run.place, False)
    if wanted is not None:
        found = yield from load(saver, *run.place, wanted)
        if found.rows:
            return Start(replace(found, records=()), run.place, False)
    return Start(replace(loaded, rows=(), records=()), run.place, False)


def _former_ns(run: Run) -> str:
    """Return the namespace that a nested run had when the superstep of its caller ran before it was gone back to."""
    task: Any = run.parent
    former = task.run.former
    if former is None or task.run.step != former.now:
        return ""
    own = f"{task.name}{NS_END}{path_id((former.run, former.ns, former.step, *task.path[3:]))}"
    call = run.ns.rpartition(NS_SEP)[2]
    parts = (former.ns, own, call if call.isdigit() else "")
    return NS_SEP.join(part for part in parts if part)


def repeats(run: Run, ns: str) -> None:
    """Note that the next superstep of a run, which goes on from its last checkpoint, is one that a former run had."""
    assert run.last is not None
    run.former = Former(run.root.former_id or "", ns, run.last.step + 1, run.step + 1)


def _facts(run: Run, loaded: Loaded) -> dict[str, Any]:
    assert run.saver is not None
    head = loaded.head
    return decode_info(run.saver.serde, run.place, head.info) if head is not None and head.info else {}


def resume_memories(run: Run) -> None:
    """Take note of what a run that is resumed remembers, and of what is remembered below it."""
    if MEMORIES in run.state.channels:
        run.root.moved.update(run.state.channels[MEMORIES].value)
    if run.remembers and run.head is not None:
        run.root.moved[run.ns] = run.head


def open_memories(run: Run, heads: dict[str, str]) -> None:
    """Give the state of the root the channel of what nested graphs remember."""
    channel = run.state.channels[MEMORIES] = LastValue(dict, MEMORIES)
    channel.value = heads


def keep_memories(run: Run) -> None:
    """Take the checkpoints of graphs that are nested in a run and remember into its state.

    A nested run keeps them until its caller has them, so that they are found when it is resumed.
    """
    channel = run.state.channels.get(MEMORIES)
    known = channel.value if channel is not None else {}
    names = "".join(f"{level.partition(NS_END)[0]}{NS_SEP}" for level in run.ns.split(NS_SEP) if level)
    heads = {**known, **{ns: id for ns, id in run.root.moved.items() if ns.startswith(names)}}
    if heads != known:
        open_memories(run, heads)
        run.state.dirty.add(MEMORIES)
    if run.parent is None:
        run.root.moved.clear()


def approve(run: Run, loaded: Loaded) -> Program[None]:
    """Note beside the head of a nested graph that remembers that it was changed for the root's head of now."""
    assert run.saver is not None
    root = yield from load(run.saver, run.place.thread_id, "")
    facts = {"digest": "", **_facts(run, loaded), "for": root.head.checkpoint if root.head is not None else None}
    run.info = encode_info(run.saver.serde, run.place, facts)
