"""What a checkpoint looks like from outside: `get_state`, its history, and the payload of `checkpoints` events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from twinstep.checkpoint.format import SAME_AS_STATE, Checkpoint, Record, decode_record
from twinstep.checkpoint.rows import Loaded, RecordRow
from twinstep.constants import TASKS
from twinstep.errors import CheckpointCorruptError, CheckpointNotFoundError
from twinstep.ids import id_time, path_id
from twinstep.pregel.effects import Program, history, load
from twinstep.pregel.journal import load_state, read_state
from twinstep.pregel.plan import due_nodes, next_names
from twinstep.pregel.resume import ANSWER
from twinstep.pregel.run import QUESTIONS, Run
from twinstep.pregel.spec import View
from twinstep.stream import as_result
from twinstep.stream.events import Write
from twinstep.types import Interrupt, PregelTask, RunnableConfig, StateSnapshot


class Children(Protocol):
    """The graphs nested in the nodes of a graph."""

    def find(self, node: str) -> Children | None:
        """Return what is nested in a node."""
        ...

    def run(self, ns: str) -> Run:
        """Make a reader of a namespace that this graph wrote."""
        ...


def config_of(run: Run, checkpoint_id: str | None) -> RunnableConfig:
    """Return the config that addresses a checkpoint."""
    where: dict[str, Any] = {"thread_id": run.place.thread_id, "checkpoint_ns": run.ns}
    return {"configurable": where if checkpoint_id is None else {**where, "checkpoint_id": checkpoint_id}}


def iso_time(checkpoint_id: str) -> str:
    """Return the time of a checkpoint in ISO 8601, UTC."""
    return datetime.fromtimestamp(id_time(checkpoint_id), UTC).isoformat()


def metadata_of(run: Run, source: str, step: int, run_id: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's metadata as users see it."""
    return {**extra, "source": source, "step": step, "parents": {}, "run_id": run_id}


def checkpoint_payload(run: Run, source: str) -> dict[str, Any]:
    """Return what a `checkpoints` event shows of the checkpoint a run has just committed."""
    names = next_names(run.spec, run.state)
    metadata = metadata_of(run, source, run.step, run.id, run.config.get("metadata") or {})
    tasks = [
        {"id": id, "name": name, "interrupts": (), "state": None}
        for id, name, _ in due_tasks(run, run.step + 1, run.id)
    ]
    return {
        "config": config_of(run, run.checkpoint_id),
        "parent_config": config_of(run, run.before) if run.before else None,
        "values": run.spec.stream(run.state.view),
        "metadata": metadata,
        "next": list(names),
        "tasks": tasks,
    }


def due_tasks(run: Run, step: int, run_id: str) -> list[tuple[str, str, tuple[Any, ...]]]:
    """Return id, name and public path of the tasks that are due in a superstep of a run."""
    spec, state = run.spec, run.state
    paths: list[tuple[Any, ...]] = [("pull", name) for name in sorted(due_nodes(spec, state.updated))]
    if TASKS in state.updated:
        paths += [("push", i, packet.node) for i, packet in enumerate(state.channels[TASKS].get())]
    return [
        (
            path_id((run_id, run.ns, step, *path[:-1], run.alias.get(path[-1], path[-1]))),
            path[-1],
            ("__pregel_pull", path[1]) if path[0] == "pull" else ("__pregel_push", path[1], False),
        )
        for path in paths
    ]


def get_state(
    run: Run, checkpoint_id: str | None, given: RunnableConfig, children: Children, *, subgraphs: bool
) -> Program[StateSnapshot]:
    """Read a thread's state at a checkpoint (None: the latest).

    Raises:
        CheckpointNotFoundError: the checkpoint does not exist.
    """
    assert run.saver is not None
    loaded = yield from load_state(run, checkpoint_id)
    if not loaded.rows:
        if checkpoint_id is not None:
            raise CheckpointNotFoundError(f"Checkpoint '{checkpoint_id}' does not exist in {run.place}.")
        return StateSnapshot({}, (), given)
    snapshot = show(run, loaded, None)
    if snapshot.tasks and loaded.head is not None and loaded.head.checkpoint == loaded.rows[-1].id:
        tasks = yield from _with_children(run, snapshot.tasks, children, subgraphs=subgraphs)
        snapshot = snapshot._replace(tasks=tasks)
    return snapshot


def _with_children(
    run: Run, tasks: Sequence[PregelTask], children: Children, *, subgraphs: bool
) -> Program[tuple[PregelTask, ...]]:
    """Add to tasks the state of the runs nested in them."""
    found = []
    for task in tasks:
        nested = children.find(task.name)
        if nested is not None and task.result is None:
            for ns in (f"{task.name}:{task.id}", task.name):
                child = nested.run(f"{run.ns}|{ns}" if run.ns else ns)
                where = config_of(child, None)
                state = yield from get_state(child, None, where, nested, subgraphs=subgraphs)
                if state.metadata is not None:
                    task = task._replace(state=state if subgraphs else where)
                    break
        found.append(task)
    return tuple(found)


def show(run: Run, loaded: Loaded, next: Follower | None) -> StateSnapshot:
    """Make the snapshot of a loaded checkpoint; `next` is the one that follows it, when it is known."""
    last = read_state(run, loaded, writes=False)
    assert last is not None
    head = loaded.head if loaded.head is not None and loaded.head.checkpoint == last.id else None
    run.root.id = head.run if head is not None else next.checkpoint.run if next is not None else last.run
    metadata = metadata_of(run, last.source, last.step, last.run, last.metadata)
    if head is not None:
        metadata["status"] = head.status
    done = next.results(run.ns) if next is not None else {}
    tasks = _tasks(run, last.step + 1, loaded.records, done, open=head is not None)
    return StateSnapshot(
        values=run.spec.stream(run.state.view),
        next=_next(tasks) if head is not None else next_names(run.spec, run.state),
        config=config_of(run, last.id),
        metadata=metadata,
        created_at=iso_time(last.id),
        parent_config=config_of(run, last.parent) if last.parent else None,
        tasks=tasks,
        interrupts=tuple(question for task in tasks for question in task.interrupts),
    )


def _next(tasks: Sequence[PregelTask]) -> tuple[str, ...]:
    """Return what is still to run; all, when all has run and its results are not applied yet: that is not the end."""
    return tuple(task.name for task in tasks if task.result is None) or tuple(task.name for task in tasks)


def _tasks(
    run: Run, step: int, rows: Sequence[RecordRow], results: Mapping[str, list[Write]], *, open: bool
) -> tuple[PregelTask, ...]:
    """Return the tasks of the superstep after a checkpoint, with what is known of their outcomes."""
    assert run.saver is not None
    records: dict[str, Record] = {row.id: decode_record(run.saver.serde, run.place, row) for row in rows}
    found = []
    for id, name, path in due_tasks(run, step, run.id):
        record = records.get(id)
        asked = _asked(records, id, path)
        writes = results.get(id)
        if writes is None and record is not None and record.kind == "writes":
            writes = [write for write in record.value if write[0] in run.spec.shared]
        questions: tuple[Interrupt, ...] = ()
        if not (open and writes is not None):
            questions = tuple(q for q in asked if not open or ANSWER + q.id not in records)
        error = record.value if record is not None and record.kind == "error" else None
        result = as_result(writes) if writes is not None else None
        found.append(PregelTask(id, name, path, error, questions, None, result))
    return tuple(found)


def _asked(records: dict[str, Record], id: str, path: tuple[Any, ...]) -> list[Interrupt]:
    """Return what a task, the tasks it has called and the runs nested in it have asked."""
    kind, name = ("pull", path[1:]) if path[0] == "__pregel_pull" else ("push", path[1:2])
    own = (kind, *name)
    found: dict[str, Interrupt] = {}
    for key, record in records.items():
        if key.startswith(QUESTIONS):
            for question, position in record.value:
                if key == QUESTIONS + id or position[: len(own)] == own:
                    found[question.id] = question
    return list(found.values())


class Follower(NamedTuple):
    """A checkpoint that was shown before an older one, with the values of its state."""

    checkpoint: Checkpoint
    view: View

    def results(self, ns: str) -> dict[str, list[Write]]:
        """Return what the tasks wrote that led to it, by their ids."""
        run, step = self.checkpoint.run, self.checkpoint.step
        return {
            path_id((run, ns, step, "pull", task.name)) if task.id is None else task.id: [
                (key, self.view.get(key) if value is SAME_AS_STATE else value) for key, value in task.writes
            ]
            for task in self.checkpoint.writes
        }


def get_older(
    run: Run, before: str | None, follower: Follower | None
) -> Program[tuple[StateSnapshot, Follower] | None]:
    """Read the snapshot of the newest checkpoint older than `before`; `follower` is the one shown before it."""
    assert run.saver is not None
    found = yield from history(run.saver, run.place.thread_id, run.ns, before, 1)
    if not found:
        return None
    loaded = yield from load(run.saver, run.place.thread_id, run.ns, found[0].id)
    if not loaded.rows:
        if (yield from history(run.saver, run.place.thread_id, run.ns, before, 1)) != found:  # removed meanwhile
            return (yield from get_older(run, before, follower))
        raise CheckpointCorruptError(
            f"A checkpoint of {run.place} is damaged: it is stored as '{found[0].id}' and cannot be loaded as that. "
            "Those before it can still be loaded by their id."
        )
    next = follower if follower is not None and follower.checkpoint.parent == found[0].id else None
    snapshot = show(run, loaded, next)
    assert run.last is not None
    return snapshot, Follower(run.last, run.state.view)
