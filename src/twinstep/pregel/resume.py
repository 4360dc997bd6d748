"""How a run begins: with an input, with a command, or where it stopped."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from twinstep.checkpoint.format import Checkpoint, Record, decode_info, encode_info
from twinstep.checkpoint.rows import Loaded
from twinstep.errors import (
    CheckpointNotFoundError,
    EmptyInputError,
    NoCheckpointerError,
    NonDeterminismError,
)
from twinstep.pregel.effects import Program, load
from twinstep.pregel.execute import QUESTIONS, record_row
from twinstep.pregel.journal import claim_thread, commit_state, read_state
from twinstep.pregel.questions import match_answers
from twinstep.pregel.run import Answer, Run
from twinstep.pregel.state import State
from twinstep.stream.events import Write
from twinstep.types import NOTHING, Command, Interrupt

COMMAND = "command"
ANSWER = "answer:"
CONTROL = (COMMAND, ANSWER, QUESTIONS)
"""How the ids of records begin that are not a task's outcome."""


class Opened(Enum):
    """What there is to do after a run was opened."""

    FRESH = "fresh"  # run from the first superstep
    RESUMED = "resumed"  # go on in the middle
    FINISHED = "finished"  # nothing: it has run to its end before


def open_run(run: Run, input: Any, checkpoint_id: str | None) -> Program[Opened]:
    """Open a run's state and store that it begins.

    Raises:
        EmptyInputError: there is no input and nothing to continue.
        CheckpointNotFoundError: `checkpoint_id` does not exist on the thread.
        UnknownInterruptError: a command answers what was not asked.
        ThreadConflictError: another run was faster.
    """
    if run.saver is None:
        return (yield from _open_unsaved(run, input))
    loaded = yield from load(run.saver, run.place.thread_id, run.ns, checkpoint_id)
    if checkpoint_id is not None and not loaded.rows:
        raise CheckpointNotFoundError(
            f"Checkpoint '{checkpoint_id}' does not exist in {run.place}; get_state_history lists those that do."
        )
    run.root.epoch = loaded.epoch if run.parent is None else run.root.epoch
    run.head = loaded.head.checkpoint if loaded.head else None
    last = read_state(run, loaded)
    if run.parent is not None:
        return (yield from _open_nested(run, loaded, input))
    if last is None or (input is not None and not isinstance(input, Command)):
        return (yield from _begin(run, input))
    return (yield from _continue(run, loaded, last, input))


def _open_unsaved(run: Run, input: Any) -> Program[Opened]:
    run.state = State(run.spec, {})
    if isinstance(input, Command) and input.resume is not NOTHING:
        raise NoCheckpointerError(
            "Command(resume=...) needs the checkpointer that the interrupted run was started with: pass it to "
            "compile(checkpointer=...) or entrypoint(checkpointer=...)."
        )
    return (yield from _begin(run, input))


def _begin(run: Run, input: Any) -> Program[Opened]:
    """Start a run with an input (or with a command's update) on the state as it is."""
    if input is None:
        raise EmptyInputError(
            f"'{run.spec.name}' received no input and there is nothing to continue"
            + (f" in {run.place}." if run.saver is not None else ": it has no checkpointer.")
        )
    run.state.drop_pending()
    if isinstance(input, Command):
        match_answers(input.resume, ())
        run.state.apply((_command_writes(run, input),))
    else:
        run.state.apply((run.spec.input(input),))
    run.step = -1 if run.step == -2 else run.step + 1
    yield from commit_state(run, "input", status="running", claim=run.parent is None)
    return Opened.FRESH


def _command_writes(run: Run, command: Command[Any]) -> list[Write]:
    writes = run.spec.update(command.update) if command.update is not None else []
    return [*writes, *run.spec.goto(command.goto)]


def _continue(run: Run, loaded: Loaded, last: Checkpoint, command: Command[Any] | None) -> Program[Opened]:
    """Go on from a checkpoint: its run where it stopped, or another run from an older one."""
    head = loaded.head
    assert head is not None
    if last.id != head.checkpoint:
        return (yield from _fork(run, command))
    run.root.id = head.run
    records = _adopt(run, loaded)
    questions = pending_questions(records.values(), run.root.answers)
    if command is None and not run.state.updated:
        return Opened.FINISHED
    if command is not None:
        answers = match_answers(command.resume, questions)
        writes = _command_writes(run, command)
        if not answers and not writes and not run.state.updated:
            return Opened.FINISHED
        _note(run, answers, writes, records)
        run.state.add(writes)
    yield from claim_thread(run, "running")
    return Opened.RESUMED


def _note(run: Run, answers: dict[str, Answer], writes: list[Write], records: dict[str, Record]) -> None:
    """Prepare the records of a command, which are stored with the claim on the thread."""
    run.root.answers.update(answers)
    for id, answer in answers.items():
        run.unsaved.append(record_row(run, ANSWER + id, Record("answer", id, b"", tuple(answer))))
    if writes:
        earlier = records[COMMAND].value if COMMAND in records else []
        run.unsaved.append(record_row(run, COMMAND, Record("command", COMMAND, b"", [*earlier, *writes])))


def _adopt(run: Run, loaded: Loaded) -> dict[str, Record]:
    """Take over what is on record of the superstep that was not finished; return what is not a task's outcome."""
    run.records = {row.id: row for row in loaded.records}
    control: dict[str, Record] = {}
    for id in run.records:
        if not id.startswith(CONTROL):
            continue
        record = run.recall(id)
        assert record is not None
        control[id] = record
        if record.kind == "answer":
            run.root.answers[record.name] = Answer(*record.value)
        elif record.kind == "command":
            run.state.add([tuple(write) for write in record.value])
    return control


def pending_questions(records: Iterable[Record], answers: dict[str, Answer]) -> list[tuple[Interrupt, str]]:
    """Return the questions among records that have no answer, each with the id of the task that asks."""
    found: dict[str, tuple[Interrupt, str]] = {}
    for record in records:
        if record.kind == "questions":
            for question, task in record.value:
                if question.id not in answers:
                    found[question.id] = (question, task)
    return list(found.values())


def _fork(run: Run, command: Command[Any] | None) -> Program[Opened]:
    """Start another run from an older checkpoint; its tasks run again."""
    if command is not None:
        match_answers(command.resume, ())
        run.state.add(_command_writes(run, command))
    run.step += 1
    yield from commit_state(run, "fork", status="running", claim=True)
    return Opened.RESUMED


def _open_nested(run: Run, loaded: Loaded, input: Any) -> Program[Opened]:
    """Start a nested run, or go on with it when the run it belongs to is resumed."""
    assert run.saver is not None
    digest = run.saver.serde.digest(input)
    run.info = encode_info(run.saver.serde, run.place, {"digest": digest})
    head = loaded.head
    if head is None or head.run != run.id:
        return (yield from _begin(run, input))
    recorded = decode_info(run.saver.serde, run.place, head.info)["digest"]
    if recorded != digest and run.mismatch == "error":
        raise NonDeterminismError(
            f"'{run.spec.name}' was first called with another input than it is called with now that its caller is "
            f"resumed: {input!r}. On resume the code must make the same calls; move what changes into a task.",
            name=run.spec.name,
            recorded=recorded.hex(),
            actual=input,
        )
    if recorded != digest and run.mismatch == "rerun":
        return (yield from _begin(run, input))
    _adopt(run, loaded)
    return Opened.RESUMED if run.state.updated else Opened.FINISHED
