"""From the state of a run to transactions, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinstep.channels import MISSING
from twinstep.checkpoint.format import (
    EXTEND,
    LAST,
    SAME,
    SAME_AS_INPUT,
    SAME_AS_STATE,
    SET,
    SPLICE,
    UNSET,
    Change,
    Checkpoint,
    Place,
    Source,
    TaskWrites,
    decode_checkpoint,
    encode_checkpoint,
    replay,
    written_items,
    written_to,
)
from twinstep.checkpoint.rows import CheckpointRow, Commit, Loaded, Status
from twinstep.constants import END, MEMORIES, PREVIOUS, START, TASKS
from twinstep.errors import is_invalid_resume
from twinstep.ids import new_id
from twinstep.pregel.effects import Program, load
from twinstep.pregel.execute import node_record, record_id, record_row, write
from twinstep.pregel.forks import keep_memories, open_memories
from twinstep.pregel.kept import KeptState, is_long, kept_end, kept_state
from twinstep.pregel.past import BRANCH
from twinstep.pregel.run import Run
from twinstep.pregel.state import State
from twinstep.pregel.task import NodeTask
from twinstep.stream.events import CheckpointCommitted

LITTLE = 512
"""Bytes of the checkpoint of an input that are no reason to build upon it."""


def advance(run: Run, source: Source) -> None:
    """Note that a superstep is applied: what follows starts from a checkpoint of its own."""
    run.row_step, run.row_source = run.step, source
    if run.saver is not None:
        run.before, run.checkpoint_id = run.checkpoint_id, new_id()
    if run.records:
        run.records = {}
        run.unused = set()
    if run.alias:
        run.alias = {}
    if run.failures:
        run.failures = []
    if run.forget and run.saver is None:
        run.forget = []


def commit_state(
    run: Run,
    source: Source,
    tasks: Sequence[NodeTask] = (),
    *,
    status: Status,
    claim: bool = False,
    later: bool = False,
) -> Program[None]:
    """Store the state as the next checkpoint of the thread, with the outcomes it follows from.

    In durability `exit` this is put off until the run stops (`commit_end`); with `later`, until the next checkpoint:
    both are one transaction then.
    """
    before = run.checkpoint_id
    advance(run, source)
    if run.saver is None:
        return
    forget = run.forget
    if len(tasks) > 1:  # one alone has no record
        forget = [*forget, *[task.id for task in tasks if not task.solo]]
    if run.durability == "exit":
        run.unsaved.clear()
        run.forget.clear()
        if claim:
            yield from claim_thread(run, None)
        return
    row = checkpoint_row(run, source, tasks)
    if later and not forget:
        run.waiting = row
        return
    # the claim is waited for: whoever lost the thread must not begin
    beside = run.durability == "async" and run.saver.overlaps and status == "running" and not claim
    beside = beside and run.parent is None and run.waiting is None and CheckpointCommitted not in run.log.wants
    yield from _commit(run, row, status, claim=claim, forget=forget, forget_at=before, beside=beside)


def commit_end(run: Run, status: Status) -> Program[None]:
    """Store what a run in durability `exit`, which keeps only its end, has not stored yet."""
    if run.saver is not None and run.checkpoint_id != run.parent_checkpoint:
        yield from _commit(run, checkpoint_row(run, run.row_source, ()), status)


def commit_stop(run: Run, tasks: Sequence[NodeTask], status: Status) -> Program[None]:
    """Store that a run stops in the middle of a superstep, with the outcomes that are not on record yet."""
    if run.saver is None:
        return
    run.unsaved = [row for row in run.unsaved if row.id not in run.forget]
    if run.durability == "exit":
        yield from commit_end(run, status)
    for task in tasks:
        if task.solo and (task.error or task.interrupts is not None) and not is_invalid_resume(task.error):
            record = node_record(task)
            run.unsaved.append(record_row(run, record_id(task, record), record))
    yield from _commit(run, None, status, forget=run.forget, forget_at=run.checkpoint_id)


def keep_unsaved(run: Run) -> Program[None]:
    """Store the records that wait."""
    if run.unsaved and run.durability != "exit":
        yield from _commit(run, None, None)


def claim_thread(run: Run, status: Status | None) -> Program[None]:
    """Take the thread over without changing its state; the answers that wait in `unsaved` are stored with it."""
    yield from _commit(run, None, status, claim=True)


def _commit(
    run: Run,
    row: CheckpointRow | None,
    status: Status | None,
    *,
    claim: bool = False,
    forget: Sequence[str] = (),
    forget_at: str | None = None,
    beside: bool = False,
) -> Program[None]:
    root, earlier = run.root, None
    if run.waiting is not None:
        row, earlier = (row, run.waiting) if row is not None else (run.waiting, None)
        claim, run.waiting = claim or run.parent is None, None
    commit = Commit(
        run.place.thread_id,
        run.ns,
        root.id,
        root.epoch,
        claim=claim,
        expect=run.head,
        checkpoint=row,
        earlier=earlier,
        records=tuple(run.unsaved),
        forget=tuple(forget),
        forget_at=forget_at,
        status=status if row is not None or run.head is not None else None,
        info=run.info if row is not None else None,
    )
    yield from write(run, commit, beside=beside)
    if claim:
        root.epoch += 1
    if row is not None:
        run.head = row.id
        if run.remembers:
            root.moved[run.ns] = row.id
        if status == "done" and run.warm is not None:
            _keep_end(run, run.warm)
    run.unsaved.clear()
    run.forget.clear()


def _keep_end(run: Run, warm: KeptState) -> None:
    """Keep the state that a run has ended with, so that the next run need not read it."""
    assert run.saver is not None
    assert run.head is not None
    kept = kept_end(run.saver.serde.plain, warm, run.state, run.changed, run.head, run.lineage)
    if kept is not None:
        run.saver.kept.put(*run.place, kept)


def checkpoint_row(run: Run, source: Source, tasks: Sequence[NodeTask]) -> CheckpointRow:
    """Encode the state as the checkpoint `run.checkpoint_id`."""
    saver, state, id = run.saver, run.state, run.checkpoint_id
    assert saver is not None
    assert id is not None
    if run.root.moved:
        keep_memories(run)
    writes = [TaskWrites(t.stored_id, t.name, t.stored) for t in tasks]
    if run.parent is not None and source == "fork":  # of the run that it goes on with, which is in another namespace
        writes = [TaskWrites("", run.spec.name, list(run.written))]
    elif run.parent is not None and run.durability == "exit":  # one checkpoint for all supersteps since the last
        writes = [TaskWrites("", run.spec.name, run.written[run.kept :])]
        run.kept = len(run.written)
    if run.spec.functional:  # the return value; what is saved for the next run is a channel of its own
        for written in writes:
            written.writes[:] = [write for write in written.writes if write[0] == END]
    base, changes = changes_since(run, id, source, writes)
    refer_to_state(state, changes, writes)
    if base == run.parent_checkpoint and tasks and tasks[0].name == START:
        refer_to_input(tasks[0].args[0], writes[0])
    metadata = run.config.get("metadata") or {}
    checkpoint = Checkpoint(
        id,
        run.parent_checkpoint,
        base,
        run.row_step,
        source,
        run.id,
        tuple(state.updated),
        changes,
        writes,
        metadata,
        run.spec.past.version,
    )
    row = encode_checkpoint(saver.serde, run.place, checkpoint)
    run.lineage.follow(checkpoint, len(row.blob))
    run.parent_checkpoint = id
    if run.warm is not None:
        run.changed |= state.dirty
    state.stored()
    return row


def changes_since(run: Run, id: str, source: Source, writes: Sequence[TaskWrites]) -> tuple[str, dict[str, Change]]:
    """Return the checkpoint that the checkpoint `id` builds on, and how the channels changed since that one.

    It builds on its parent; now and then on an earlier one, or, when replay would be long, on none: then it is whole.
    """
    state, lineage, parent = run.state, run.lineage, run.parent_checkpoint
    free = run.parent is None or source == "input"  # a nested run is read back from its beginning (see `Run.written`)
    gone, run.gone = run.gone, ()
    last = {key: value for task in writes for key, value in task.writes}
    little = run.waiting is not None and _is_little(run.waiting)
    if lineage.joint is None or parent is None or ((little or lineage.long) and free):
        for name in state.dirty:
            run.growth.note(name, None if state.has_plain(name) else state.channels[name].value)
        whole = stored_values(state)
        return id, {n: [LAST] if last.get(n, MISSING) is value else [SET, value] for n, value in whole.items()}
    changes = {name: change for name in state.dirty if (change := change_of(run, name, writes, last)) is not None}
    if gone:
        changes.update((name, [UNSET]) for name in gone)
    if not lineage.slow or not free:
        return parent, changes
    lineage.note(changes)
    return lineage.joint, {name: joined_change(state, name, kept) for name, kept in lineage.changed.items()}


def _is_little(first: CheckpointRow) -> bool:
    """Tell whether a checkpoint is a small first input, so that reading need not begin there."""
    return first.base == first.id and len(first.blob) <= LITTLE


def refer_to_state(state: State, changes: dict[str, Change], writes: Sequence[TaskWrites]) -> None:
    """Leave out of the writes what a change holds already: a value that became the channel's own, as it is."""
    for task in writes:
        for n, (key, value) in enumerate(task.writes):
            change = changes.get(key)
            if change is not None and change[0] in (SET, SPLICE) and value is state.channels[key].value:
                task.writes[n] = (key, SAME_AS_STATE)


def refer_to_input(input: Any, task: TaskWrites) -> None:
    """Leave out of the writes what the checkpoint before holds as the input."""
    for n, (key, value) in enumerate(task.writes):
        if type(input) is dict and value is input.get(key, MISSING):
            task.writes[n] = (key, SAME_AS_INPUT)


def stored_values(state: State) -> dict[str, Any]:
    """Return what a whole checkpoint holds of every channel."""
    values = {}
    for name, channel in state.channels.items():
        if channel.saved and (value := channel.checkpoint()) is not MISSING:
            values[name] = value
    return values


def change_of(run: Run, name: str, writes: Sequence[TaskWrites], last: dict[str, Any]) -> Change | None:
    """Return how a channel changed since the last checkpoint, without storing twice what the tasks wrote (last)."""
    state, channel = run.state, run.state.channels[name]
    if not channel.saved:
        return None
    value = channel.checkpoint()
    if type(value) is not list:
        run.growth.note(name, None)  # a list that comes after it has not grown from the one before it
    if value is MISSING:
        return [UNSET]
    if name == PREVIOUS and value is state.view.get(END) and END in state.dirty:
        run.growth.note(name, None)
        return [SAME, END]
    if type(value) is list:
        growth = _growth(run, name, value)
        if growth is not None:
            return [EXTEND, growth[0]] if _joined(written_to(writes, name), growth[1]) else [SPLICE, *growth]
    return [LAST] if last.get(name, MISSING) is value else [SET, value]


def _growth(run: Run, name: str, value: list[Any]) -> tuple[int, list[Any]] | None:
    """Return how many items of the stored list were kept, and those after them; None if it is another value."""
    state = run.state
    if not state.has_plain(name):
        # while the checkpoint of the input waits, nothing but channels has seen what was read
        untouched = run.waiting is not None and state.channels[name].keeps_items
        return run.growth.added(name, value, untouched=untouched)
    kept = state.kept.get(name)
    if kept:  # whatever `growth` knows of it is still how the stored list begins
        return kept, value[kept:]
    run.growth.note(name, None)
    return None


def joined_change(state: State, name: str, kept: int) -> Change:
    """Return how a channel changed since the last joint, when so many items of its list are still the same."""
    value = state.channels[name].checkpoint() if name in state.channels else MISSING
    if value is MISSING:
        return [UNSET]
    if name == PREVIOUS and value is state.view.get(END):
        return [SAME, END]
    return [SPLICE, kept, value[kept:]] if kept else [SET, value]


def _joined(written: Sequence[Any], items: list[Any]) -> bool:
    """Tell whether written values, one after the other, are just these items."""
    flat = written_items(written)
    return len(flat) == len(items) and all(a is b for a, b in zip(flat, items, strict=True))


def _open_state(run: Run, stored: dict[str, Any], last: Checkpoint) -> None:
    """Open the state that a checkpoint holds, under the names and in the form that it has now."""
    past, updated, values = run.spec.past, last.updated, stored
    contents = run.warm.contents if run.warm is not None else {}
    if past.renamed or past.version != last.version:
        contents = {}
        values = past.stored(stored, last.version, run.spec.name)
        updated = tuple(new for old in last.updated if (new := past.channel(old)) is not None)
        packets = {packet.node for packet in stored.get(TASKS, ())}
        run.alias = {
            new: old for old, new in past.renamed.items() if new and (BRANCH + old in stored or old in packets)
        }
        run.gone = stored.keys() - values.keys()
    run.state = State(run.spec, values, updated, contents)
    if MEMORIES in values:
        open_memories(run, values[MEMORIES])
    run.foreign, run.due = values.keys() - run.state.channels.keys(), updated
    if values is not stored:
        changed = {name for name in values if values[name] is not stored.get(name, MISSING)}
        run.state.dirty |= changed & run.state.channels.keys()
        for name in changed if past.version == last.version else stored:  # a migration may have changed any item
            run.state.kept.pop(name, None)


def _note_growth(run: Run) -> None:
    """Take note of how the lists of a state are stored that was read just now."""
    encoded = run.warm.values if run.warm is not None else {}
    for name, channel in run.state.channels.items():
        if name not in run.state.kept or run.state.has_plain(name):
            continue
        if name in encoded:
            run.growth.begin(name, channel.value, encoded[name])
        else:
            run.growth.note(name, channel.value)


def load_state(run: Run, checkpoint_id: str | None = None) -> Program[Loaded]:
    """Load a checkpoint for `read_state`; of the head of a root, only what is not kept in memory."""
    saver, place = run.saver, run.place
    assert saver is not None
    run.keeps_head = checkpoint_id is None and run.parent is None
    warm = run.warm = saver.kept.get(*place) if run.keeps_head else None
    loaded = yield from load(saver, *place, checkpoint_id, warm.known if warm is not None else None)
    if warm is not None and not (loaded.since and warm.leads_to(loaded.rows)):
        run.warm = None
        if loaded.since:
            loaded = yield from load(saver, *place)
    return loaded


def read_state(run: Run, loaded: Loaded, place: Place | None = None, *, writes: bool = True) -> Checkpoint | None:
    """Open a run's state as a loaded checkpoint holds it; None (and an empty state) when there is none.

    Args:
        run: the run.
        loaded: the checkpoint.
        place: where it is, when that is not the run's own namespace.
        writes: whether the run is going to store checkpoints that build on it.
    """
    assert run.saver is not None
    chain = [decode_checkpoint(run.saver.serde, place or run.place, row) for row in loaded.rows]
    if not chain:
        run.state = State(run.spec, {})
        return None
    last = run.last = chain[-1]
    values = _read_values(run, chain, loaded.rows)
    _open_state(run, values, last)
    if writes:
        _note_growth(run)
    if run.parent is not None:
        owner = run.id if place is None else chain[-1].run
        for link in chain:
            if link.source == "input":  # begins a call
                run.written.clear()
            if link.run == owner:
                run.written += [write for task in link.writes if task.name != START for write in task.writes]
        run.kept = len(run.written)
    run.before = last.parent
    run.step, run.checkpoint_id, run.parent_checkpoint = last.step, last.id, last.id
    return last


def _read_values(run: Run, chain: Sequence[Checkpoint], rows: Sequence[CheckpointRow]) -> dict[str, Any]:
    """Rebuild the values of the last checkpoint of a chain, and how it is read back."""
    assert run.saver is not None
    known, start = None, 0
    if run.warm is not None:
        same = run.spec.past.version == chain[-1].version  # else a migration, code of the user, is given the values
        known, start = run.warm.decoded(run.saver.serde.plain, run.spec.growing if same else ()), 1
        run.lineage = run.warm.lineage.copy()
    values = replay(run.place, chain, known)
    for link, row in zip(chain[start:], rows[start:], strict=True):
        run.lineage.follow(link, len(row.blob))
    if run.keeps_head and (run.warm is not None or is_long(rows)):
        run.warm = kept_state(run.saver.serde.plain, run.warm, values, chain, run.lineage, run.spec.growing)
        run.saver.kept.put(*run.place, run.warm)
    return values
