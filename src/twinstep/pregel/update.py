"""Changing a thread's state from outside, as if a node had written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinstep.arguments import expect_several
from twinstep.checkpoint.format import Checkpoint, Record, Source, decode_checkpoint, decode_record
from twinstep.checkpoint.rows import Loaded, Status
from twinstep.constants import COPY, END, INPUT, NS_END, START
from twinstep.errors import CheckpointNotFoundError, InvalidUpdateError, did_you_mean
from twinstep.pregel.effects import Program, load
from twinstep.pregel.execute import record_row, route
from twinstep.pregel.forks import approve
from twinstep.pregel.isolation import isolate
from twinstep.pregel.journal import commit_state, keep_unsaved, read_state
from twinstep.pregel.lineage import Lineage
from twinstep.pregel.run import QUESTIONS, Run
from twinstep.pregel.snapshot import config_of, due_tasks
from twinstep.pregel.task import NodeTask
from twinstep.scope import SCOPE
from twinstep.types import RunnableConfig, StateUpdate


def update_state(
    run: Run, checkpoint_id: str | None, supersteps: Sequence[Sequence[StateUpdate]]
) -> Program[RunnableConfig]:
    """Write to a thread as nodes would have, one checkpoint per superstep; return the config of the last one.

    Raises:
        InvalidUpdateError: there is nothing to write, the node is unknown or not clear, or it could not write this.
        CheckpointNotFoundError: the checkpoint does not exist.
        ThreadConflictError: a run of this process works on the thread, or another process changed it.
    """
    assert run.saver is not None
    if not supersteps:
        raise InvalidUpdateError("No supersteps provided: pass at least one list of StateUpdate.")
    token = run.id
    run.saver.enter(run.place.thread_id, token)
    try:
        loaded = yield from load(run.saver, run.place.thread_id, run.ns, checkpoint_id)
        if checkpoint_id is not None and not loaded.rows:
            raise CheckpointNotFoundError(f"Checkpoint '{checkpoint_id}' does not exist in {run.place}.")
        run.root.epoch = loaded.epoch
        run.head = loaded.head.checkpoint if loaded.head is not None else None
        read_state(run, loaded)
        if run.ns and loaded.head is not None:
            run.root.id = loaded.head.run  # a nested run stays the one its caller is going to resume
        if run.ns and NS_END not in run.ns:
            yield from approve(run, loaded)
        done = finished(run, loaded) if checkpoint_id is None else []
        writers = last_writers(run, loaded)
        asked = open_questions(run, loaded)
        for updates in expect_several("bulk_update_state(supersteps)", supersteps, "a list of lists of StateUpdate"):
            writers = yield from _superstep(run, updates, writers, done)
            done = []
        yield from carry_questions(run, asked)
        return config_of(run, run.checkpoint_id)
    finally:
        run.saver.leave(run.place.thread_id, token)


def last_writers(run: Run, loaded: Loaded) -> list[str]:
    """Return the nodes of the last superstep on record."""
    assert run.saver is not None
    for row in reversed(loaded.rows):
        checkpoint: Checkpoint = decode_checkpoint(run.saver.serde, run.place, row)
        if checkpoint.writes or checkpoint.source == "input":
            return [task.name for task in checkpoint.writes]
    return []


def finished(run: Run, loaded: Loaded) -> list[NodeTask]:
    """Return the tasks of the open superstep whose outcome is on record: an update does not undo them."""
    head = loaded.head
    if head is None or not loaded.rows or head.checkpoint != loaded.rows[-1].id:
        return []
    assert run.saver is not None
    rows = {row.id: row for row in loaded.records}
    tasks = []
    for id, name, shown in due_tasks(run, run.step + 1, head.run):
        record = decode_record(run.saver.serde, run.place, rows[id]) if id in rows else None
        if record is not None and record.kind == "writes":
            place = ("pull", name) if len(shown) == 2 else ("push", shown[1], name)
            task = NodeTask(run, run.spec.nodes[name], (run.id, run.ns, run.step + 1, *place), None, ())
            task.writes, task.solo = run.spec.past.writes(record.value), True
            tasks.append(task)
    return tasks


def open_questions(run: Run, loaded: Loaded) -> dict[tuple[Any, ...], Record]:
    """Return what the due tasks of a checkpoint have asked, by their place in the superstep."""
    assert run.saver is not None
    rows = {row.id: row for row in loaded.records}
    tasks = due_tasks(run, run.step + 1, rows[next(iter(rows))].run) if rows else []
    return {
        path: decode_record(run.saver.serde, run.place, rows[QUESTIONS + id])
        for id, _, path in tasks
        if QUESTIONS + id in rows
    }


def carry_questions(run: Run, asked: dict[tuple[Any, ...], Record]) -> Program[None]:
    """Keep the questions of tasks that are still due after an update, so that they can still be answered."""
    for id, _, path in due_tasks(run, run.step + 1, run.id):
        if path in asked:
            run.unsaved.append(record_row(run, QUESTIONS + id, asked[path]))
    yield from keep_unsaved(run)


def _superstep(
    run: Run, updates: Sequence[StateUpdate], writers: list[str], done: list[NodeTask]
) -> Program[list[str]]:
    if not isinstance(updates, Sequence) or not all(isinstance(update, StateUpdate) for update in updates):
        raise InvalidUpdateError(f"A superstep is a list of StateUpdate(values, as_node), got {updates!r}.")
    if not updates:
        raise InvalidUpdateError("No updates provided: every superstep needs at least one StateUpdate.")
    if len(updates) > 1 and any(update.as_node is None for update in updates):
        raise InvalidUpdateError("as_node is required when applying multiple updates in one superstep.")
    names = [update.as_node or infer_node(run, writers) for update in updates]
    run.check_present(resumed=not SPECIAL.keys() & {*names} or COPY in names)
    special = next((name for name in names if name in SPECIAL), None)
    if special is None:
        return (yield from _nodes(run, updates, names, done))
    if len(updates) > 1:
        raise InvalidUpdateError(f"An update as_node='{special}' has to be alone in its superstep.")
    yield from SPECIAL[special](run, updates[0].values, done)
    if special == COPY and updates[0].values is not None:
        return (yield from _superstep(run, [StateUpdate(*pair) for pair in updates[0].values], writers, []))
    return writers


def _nodes(
    run: Run, updates: Sequence[StateUpdate], names: Sequence[str], done: Sequence[NodeTask]
) -> Program[list[str]]:
    run.step = max(run.step + 1, 0)
    tasks = [task for task in done if task.name not in names]
    for update, name in zip(updates, names, strict=True):
        tasks.append((yield from _task(run, name, update)))
    yield from _commit(run, "update", tasks)
    return [task.name for task in tasks]


def _commit(run: Run, source: Source, tasks: Sequence[NodeTask]) -> Program[None]:
    run.state.apply([task.writes or () for task in tasks], [name for task in tasks for name in task.node.consumes])
    yield from _store(run, source, tasks)


def _store(run: Run, source: Source, tasks: Sequence[NodeTask] = ()) -> Program[None]:
    status: Status = "interrupted" if run.state.updated else "done"
    yield from commit_state(run, source, tasks, status=status, claim=True)


def _as_input(run: Run, values: Any, done: Sequence[NodeTask]) -> Program[None]:
    """Start over with an input, which waits to be run."""
    run.step = -1 if run.step == -2 else run.step + 1
    run.state.drop_pending()
    run.state.apply((isolate(run.spec.input(values)),))
    yield from _store(run, "input")


def _as_end(run: Run, values: Any, done: Sequence[NodeTask]) -> Program[None]:
    """Finish the run: what has ended is kept, what is due is dropped."""
    if values is not None:
        raise InvalidUpdateError("An update as_node=END takes no values: it only drops what is due.")
    run.step += 1
    run.state.apply([task.writes or () for task in done])
    run.state.drop_pending()
    yield from _store(run, "update", done)


def _as_copy(run: Run, values: Any, done: Sequence[NodeTask]) -> Program[None]:
    """Put a clone of the checkpoint beside it, under the same parent."""
    run.parent_checkpoint = run.last.parent if run.last is not None else None
    run.lineage = Lineage()  # the clone stands on its own
    yield from _store(run, "fork")


SPECIAL = {INPUT: _as_input, END: _as_end, COPY: _as_copy}
"""Updates that do not come from a node."""


def _task(run: Run, name: str, update: StateUpdate) -> Program[NodeTask]:
    """Make the task of a node that is taken to have returned the values."""
    node = run.spec.nodes.get(name)
    if node is None:
        raise InvalidUpdateError(
            f"Node '{name}' does not exist in '{run.spec.name}'." + did_you_mean(name, run.spec.nodes)
        )
    if name == START:
        run.spec.input(update.values)  # refuses what is no input
    task = NodeTask(run, node, (run.id, run.ns, run.step, "pull", name), None, ())
    values = dict(isolate(run.spec.input(update.values)))[START] if name == START else update.values
    token = SCOPE.set(task)
    try:
        task.writes = yield from route(task, node, values)
    finally:
        SCOPE.reset(token)
    task.solo = True
    return task


def infer_node(run: Run, writers: list[str]) -> str:
    """Return the node an update is taken to come from when the caller names none."""
    nodes = run.spec.nodes
    if len(nodes) == 1:
        return next(iter(nodes))
    if not writers:
        return START if START in nodes else next(iter(nodes))
    if len(set(writers)) == 1:
        return writers[0]
    raise InvalidUpdateError(
        f"Ambiguous update, specify as_node: the last superstep ran {', '.join(sorted(set(writers)))}."
    )
