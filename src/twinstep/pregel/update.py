"""Changing a thread's state from outside, as if a node had written."""

from __future__ import annotations

from collections.abc import Sequence

from twinstep.checkpoint.format import Checkpoint, Source, decode_checkpoint
from twinstep.checkpoint.rows import Loaded
from twinstep.constants import COPY, END, INPUT, START
from twinstep.errors import CheckpointNotFoundError, InvalidUpdateError, did_you_mean
from twinstep.pregel.effects import Program, load
from twinstep.pregel.execute import route
from twinstep.pregel.journal import commit_state, read_state
from twinstep.pregel.run import Run
from twinstep.pregel.snapshot import config_of
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
    run.saver.enter(run.place.thread_id, run.id)
    try:
        loaded = yield from load(run.saver, run.place.thread_id, run.ns, checkpoint_id)
        if checkpoint_id is not None and not loaded.rows:
            raise CheckpointNotFoundError(f"Checkpoint '{checkpoint_id}' does not exist in {run.place}.")
        run.root.epoch = loaded.epoch
        run.head = loaded.head.checkpoint if loaded.head is not None else None
        read_state(run, loaded)
        writers = last_writers(run, loaded)
        for updates in supersteps:
            writers = yield from _superstep(run, updates, writers)
        return config_of(run, run.checkpoint_id)
    finally:
        run.saver.leave(run.place.thread_id, run.id)


def last_writers(run: Run, loaded: Loaded) -> list[str]:
    """Return the nodes of the last superstep on record."""
    assert run.saver is not None
    for row in reversed(loaded.rows):
        checkpoint: Checkpoint = decode_checkpoint(run.saver.serde, run.place, row)
        if checkpoint.writes or checkpoint.source == "input":
            return [task.name for task in checkpoint.writes]
    return []


def _superstep(run: Run, updates: Sequence[StateUpdate], writers: list[str]) -> Program[list[str]]:
    if not updates:
        raise InvalidUpdateError("No updates provided: every superstep needs at least one StateUpdate.")
    if len(updates) > 1 and any(update.as_node is None for update in updates):
        raise InvalidUpdateError("as_node is required when applying multiple updates in one superstep.")
    names = [update.as_node or infer_node(run, writers) for update in updates]
    run.step = -1 if run.step == -2 and names[0] == INPUT else run.step + 1
    source: Source = "update"
    tasks: list[NodeTask] = []
    if names[0] == INPUT:
        source = "input"
        run.state.drop_pending()
        run.state.apply((run.spec.input(updates[0].values),))
    elif names[0] == COPY:
        source = "fork"
    else:
        run.step = max(run.step, 0)
        for update, name in zip(updates, names, strict=True):
            if name != END:
                tasks.append((yield from _task(run, name, update)))
        run.state.apply([task.writes or () for task in tasks])
    status = "interrupted" if run.state.updated else "done"
    yield from commit_state(run, source, tasks, status=status, claim=True)  # type: ignore[arg-type]
    return [task.name for task in tasks] or writers


def _task(run: Run, name: str, update: StateUpdate) -> Program[NodeTask]:
    """Make the task of a node that is taken to have returned the values."""
    node = run.spec.nodes.get(name)
    if node is None:
        raise InvalidUpdateError(
            f"Node '{name}' does not exist in '{run.spec.name}'." + did_you_mean(name, run.spec.nodes)
        )
    task = NodeTask(run, node, (run.id, run.ns, run.step, "pull", name), None, ())
    token = SCOPE.set(task)
    try:
        task.writes = yield from route(task, node, update.values)
    finally:
        SCOPE.reset(token)
    task.solo = True
    return task


def infer_node(run: Run, writers: list[str]) -> str:
    """Return the node an update is taken to come from when the caller names none."""
    nodes = run.spec.nodes
    own = [name for name in nodes if name != START]
    if len(own) == 1:
        return own[0]
    if not writers:
        return START if START in nodes else own[0]
    if len(set(writers)) == 1:
        return writers[0]
    raise InvalidUpdateError(
        f"Ambiguous update, specify as_node: the last superstep ran {', '.join(sorted(set(writers)))}."
    )
