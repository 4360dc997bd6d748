"""How a run begins: with an input, with a command, or where it stopped."""

from __future__ import annotations

from enum import Enum
from typing import Any

from twinstep.checkpoint.format import Checkpoint, Position, Record, decode_info, decode_record, encode_info
from twinstep.checkpoint.rows import Loaded
from twinstep.constants import MEMORIES, START
from twinstep.errors import (
    CheckpointNotFoundError,
    EmptyInputError,
    InvalidConfigError,
    InvalidUpdateError,
    NoCheckpointerError,
    NonDeterminismError,
)
from twinstep.ids import new_id
from twinstep.pregel.calls import ADVICE, sketch
from twinstep.pregel.effects import Program
from twinstep.pregel.execute import PUSHED, pass_on, record_row
from twinstep.pregel.forks import Start, locate, nested_start, repeats, resume_memories
from twinstep.pregel.isolation import isolate
from twinstep.pregel.journal import claim_thread, commit_state, keep_unsaved, load_state, read_state
from twinstep.pregel.lineage import Lineage
from twinstep.pregel.plan import apply
from twinstep.pregel.questions import match_answers, pending_questions
from twinstep.pregel.run import QUESTIONS, Failure, Run
from twinstep.pregel.state import State
from twinstep.pregel.task import NodeTask
from twinstep.stream.events import Write
from twinstep.types import NOTHING, Command, Interrupt

COMMAND = "command"
ANSWER = "answer:"
FAILURE = "failure"
"""The id of the record of a nested run's own failure."""
CONTROL = (COMMAND, ANSWER, QUESTIONS, MEMORIES, PUSHED)
"""How the ids of records begin that are not a task's outcome."""


class Opened(Enum):
    """What there is to do after a run was opened."""

    FRESH = "fresh"  # run from the first superstep
    RESUMED = "resumed"  # go on in the middle
    FINISHED = "finished"  # nothing: it has run to its end before


def open_run(run: Run, input: Any, checkpoint_id: str | None, seen: Loaded | None = None) -> Program[Opened]:
    """Open a run's state and store that it begins.

    Args:
        seen: the thread as it was found free.

    Raises:
        EmptyInputError: there is no input and nothing to continue.
        CheckpointNotFoundError: `checkpoint_id` does not exist on the thread.
        UnknownInterruptError: a command answers what was not asked.
        ThreadConflictError: another run was faster.
    """
    if run.saver is None:
        return (yield from _open_unsaved(run, input))
    if run.goal is not None:
        if input is not None and not isinstance(input, Command):
            raise InvalidConfigError(
                "A new input cannot start from a checkpoint of a nested graph; pass None or a Command to run again "
                "from there."
            )
        checkpoint_id = yield from locate(run, run.goal)
    if seen is not None and checkpoint_id is None:
        loaded = seen
    else:
        loaded = yield from load_state(run, checkpoint_id)
    if checkpoint_id is not None and not loaded.rows:
        raise CheckpointNotFoundError(
            f"Checkpoint '{checkpoint_id}' does not exist in {run.place}; get_state_history lists those that do."
        )
    run.head = loaded.head.checkpoint if loaded.head else None
    if run.parent is not None:
        return (yield from _open_nested(run, (yield from nested_start(run, loaded)), input))
    run.root.epoch = (seen or loaded).epoch
    run.root.base = loaded.rows[-1].id if loaded.rows else None
    last = read_state(run, loaded)
    if last is None or (input is not None and not isinstance(input, Command)):
        return (yield from _begin(run, input, loaded if last is not None else None))
    return (yield from _continue(run, loaded, last, input))


def _open_unsaved(run: Run, input: Any) -> Program[Opened]:
    run.state = State(run.spec, {})
    if isinstance(input, Command) and input.resume is not NOTHING:
        raise NoCheckpointerError(
            "Command(resume=...) needs the checkpointer that the interrupted run was started with: pass it to "
            "compile(checkpointer=...) or entrypoint(checkpointer=...)."
        )
    if input is not None and not isinstance(input, Command) and _enter(run, input):
        return Opened.FRESH
    return (yield from _begin(run, input))


def _enter(run: Run, input: Any) -> bool:
    """Make the first state of an input at once, where nobody can tell; return whether it is made."""
    if not _unseen(run) or run.interrupt_after or run.control is not None:
        return False
    start, channel = run.spec.nodes[START], run.state.channels[START]
    channel.update([value for _, value in isolate(run.spec.input(input))])
    task = NodeTask(run, start, (run.id, run.ns, 0, "pull", START), channel.get(), start.triggers)
    channel.update(())
    pass_on(task)
    if task.error is not None:
        task.error = None  # its traceback holds the task; it fails again where failures are dealt with
        return False
    apply(run, [task])
    run.step = 0
    return True


def _unseen(run: Run) -> bool:
    """Tell whether nobody watches, and no code of the user runs, before the first state is there."""
    return run.spec.starts_alone and not (run.log.wants or run.interrupt_before or run.on_conflict == "wait")


def _begin(run: Run, input: Any, loaded: Loaded | None = None) -> Program[Opened]:
    """Start a run with an input (or with a command's update) on the state as it is."""
    if input is None:
        raise EmptyInputError(
            f"'{run.spec.name}' received no input and there is nothing to continue"
            + (f" in {run.place}." if run.saver is not None else ": it has no checkpointer.")
        )
    if run.foreign:
        run.check_present(resumed=False)
    if loaded is not None and loaded.head is not None:
        _adopt(run, loaded)  # what a command has written stays, also when the run it was for is given up
        run.records, run.unused, run.root.answers = {}, set(), {}
    run.state.drop_pending()
    if isinstance(input, Command):
        match_answers(input.resume, ())
        run.state.apply((_command_writes(run, input),))
    else:
        run.state.apply((isolate(run.spec.input(input)),))
    run.step = -1 if run.step == -2 else run.step + 1
    yield from commit_state(run, "input", status="running", claim=run.parent is None, later=_unseen(run))
    return Opened.FRESH


def _command_writes(run: Run, command: Command[Any]) -> list[Write]:
    if command.graph is not None:
        raise InvalidUpdateError(f"{command} was given as input: it is for this graph, so graph= has to be left out.")
    writes = run.spec.update(command.update) if command.update is not None else []
    return isolate([*writes, *run.spec.goto(command.goto)])


def _continue(run: Run, loaded: Loaded, last: Checkpoint, command: Command[Any] | None) -> Program[Opened]:
    """Go on from a checkpoint: its run where it stopped, or another run from an older one."""
    head = loaded.head
    assert head is not None
    run.check_present(resumed=True)
    if last.id != head.checkpoint or run.root.targets:
        return (yield from _fork(run, loaded, command))
    run.root.id = head.run
    control = _adopt(run, loaded)
    questions = pending_questions(control.values(), run.root.answers)
    answers = match_answers(command.resume, questions) if command is not None else {}
    writes = _command_writes(run, command) if command is not None else []
    if writes or COMMAND in control or last.source == "update":
        run.mark_edited()
    run.root.recorded = list(control.values())
    if not run.state.updated:
        return (yield from _after_end(run, writes)) if writes else Opened.FINISHED
    _note(run, questions, answers, writes)
    yield from claim_thread(run, "running")
    return Opened.RESUMED


def _after_end(run: Run, writes: list[Write]) -> Program[Opened]:
    """Write to a thread on which nothing is due; that may start its nodes again."""
    run.root.id = new_id()
    run.state.apply((writes,))
    run.step += 1
    yield from commit_state(run, "update", status="running" if run.state.updated else "done", claim=True)
    return Opened.RESUMED if run.state.updated else Opened.FINISHED


def _fork(run: Run, loaded: Loaded, command: Command[Any] | None) -> Program[Opened]:
    """Start another run from an older checkpoint; its tasks run again, its questions may be answered anew."""
    assert run.saver is not None
    records = [decode_record(run.saver.serde, run.place, row) for row in loaded.records]
    questions = pending_questions(records, {})
    answers = match_answers(command.resume, questions) if command is not None else {}
    run.step += 1
    repeats(run, "")
    yield from commit_state(run, "fork", status="running", claim=True)
    if command is not None:
        writes = _command_writes(run, command)
        if writes:
            run.mark_edited()
        run.root.recorded = records
        _note(run, questions, answers, writes)
        yield from keep_unsaved(run)
    return Opened.RESUMED


def _note(
    run: Run,
    questions: list[tuple[Interrupt, Position]],
    answers: dict[str, tuple[Position, Any]],
    writes: list[Write],
) -> None:
    """Take over what a command says, and prepare its record."""
    texts = {question.id: sketch((question.value,), {}) for question, _ in questions}
    for id, (position, value) in answers.items():
        run.root.answers[position] = value
        run.root.asked[position] = texts[id]
        record = Record("answer", id, "", (position, value), shown=texts[id])
        run.unsaved.append(record_row(run, ANSWER + id, record))
    if writes:
        earlier = run.recall(COMMAND)
        run.state.add(writes)
        every = [*(earlier.value if earlier is not None else ()), *writes]
        run.unsaved.append(record_row(run, COMMAND, Record("command", COMMAND, "", every)))


def _adopt(run: Run, loaded: Loaded) -> dict[str, Record]:
    """Take over what is on record of the superstep that was not finished; return what is not a task's outcome."""
    run.records = {row.id: row for row in loaded.records}
    run.doubtful = []
    control = {id: record for id in run.records if id.startswith(CONTROL) and (record := run.recall(id)) is not None}
    run.unused = set(run.records).difference(control)
    run.pushed = any(record.kind == "writes" for record in control.values())
    for record in control.values():
        if record.kind == "answer":
            position, value = record.value
            run.root.answers[position] = value
            run.root.asked[position] = record.shown
        elif record.kind == "memories":
            run.root.moved.update(record.value)
        elif record.kind == "command":
            run.state.add(run.spec.past.writes(record.value))
    return control


def _open_nested(run: Run, start: Start, input: Any) -> Program[Opened]:
    """Start a nested run, or go on with it when the run it belongs to is resumed."""
    parent: Any = run.parent
    assert run.saver is not None
    digest = run.saver.serde.digest(input).hex()
    shown = sketch((input,), {})
    facts = {"digest": digest, "input": shown, "at": parent.run.checkpoint_id, "task": parent.id}
    run.info = encode_info(run.saver.serde, run.place, facts)
    loaded, head = start.loaded, start.loaded.head
    last = read_state(run, loaded, start.place if start.forked else None)
    if last is not None and last.source == "update":
        run.mark_edited()
    if start.forked:
        return (yield from _fork_nested(run, start.place.ns))
    info = decode_info(run.saver.serde, run.place, head.info) if head is not None and head.run == run.id else None
    if info is None or info.get("task", parent.id) != parent.id:  # the latter: an earlier call of one that remembers
        return (yield from _begin_nested(run, input))
    if info["digest"] != digest and run.mismatch == "error":
        before = info.get("input", f"another input (digest {info['digest']})")
        raise NonDeterminismError(
            f"'{run.spec.name}' was called with {before} first, and with {shown} when its caller was resumed. {ADVICE}",
            name=run.spec.name,
            recorded=before,
            actual=input,
        )
    if info["digest"] != digest and run.mismatch == "rerun":
        return (yield from _begin_nested(run, input))
    run.check_present(resumed=True)
    resume_memories(run)
    _adopt(run, loaded)
    failure = run.recall(FAILURE) if FAILURE in run.records else None
    if failure is not None:
        path = (*parent.path, "nested")
        parent.run.failures.append(Failure(run, FAILURE, failure.value, path, parent, parent.started))
        raise failure.value
    return Opened.RESUMED if run.state.updated else Opened.FINISHED


def _begin_nested(run: Run, input: Any) -> Program[Opened]:
    run.written.clear()
    run.kept = 0
    if run.state.channels.pop(MEMORIES, None) is not None:
        run.gone = {*run.gone, MEMORIES}
    return (yield from _begin(run, input))


def _fork_nested(run: Run, ns: str) -> Program[Opened]:
    """Go on from a checkpoint of an earlier run, perhaps in another namespace."""
    run.check_present(resumed=True)
    if ns != run.ns:
        run.parent_checkpoint, run.lineage = None, Lineage()
    repeats(run, ns)
    run.kept = 0
    yield from commit_state(run, "fork", status="running")
    return Opened.RESUMED if run.state.updated else Opened.FINISHED
