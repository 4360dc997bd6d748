"""The superstep loop: plan, run, apply, commit, until nothing is due.

This program exists once; what it asks for is done by the synchronous or the asynchronous driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from twinstep.checkpoint.format import Record
from twinstep.checkpoint.rows import Status
from twinstep.constants import START
from twinstep.errors import (
    CheckpointStorageError,
    GraphBubbleUp,
    GraphDrained,
    GraphRecursionError,
    InvalidUpdateError,
    NodeCancelledError,
    ParentCommand,
    ThreadConflictError,
    TwinstepError,
    is_invalid_resume,
)
from twinstep.pregel.deadline import limit_step
from twinstep.pregel.effects import Program, RunTasks
from twinstep.pregel.execute import pass_on, record_row, release
from twinstep.pregel.journal import advance, commit_end, commit_state, commit_stop
from twinstep.pregel.plan import apply, plan, warn_of_joins
from twinstep.pregel.questions import pending_questions
from twinstep.pregel.resume import ANSWER, FAILURE, Opened, open_run
from twinstep.pregel.run import QUESTIONS, Failure, Run
from twinstep.pregel.snapshot import checkpoint_payload
from twinstep.pregel.task import NodeTask
from twinstep.pregel.turns import open_in_turn
from twinstep.stream.events import (
    CheckpointCommitted,
    Interrupted,
    RunFinished,
    RunStarted,
    SuperstepFinished,
    SuperstepStarted,
    ValuesChanged,
)
from twinstep.types import Interrupt


@dataclass(slots=True)
class Outcome:
    """How a run ended: its output, and what it waits for (`breakpoint`: stopped before or after a node)."""

    value: Any
    interrupts: tuple[Interrupt, ...] = ()
    breakpoint: bool = False


def execute(run: Run, input: Any, checkpoint_id: str | None = None) -> Program[Outcome]:
    """Run a program from its input (or from where it stopped) to its end, or to the next stop.

    Raises:
        Exception: whatever the code of a node raised; the thread can be continued with `None`.
    """
    guard = run.saver if run.parent is None else None
    waits = guard is not None and run.on_conflict == "wait"
    if guard is not None and not waits:
        guard.enter(run.place.thread_id, run.token)
    try:
        opened = yield from (open_in_turn if waits else open_run)(run, input, checkpoint_id)
        outcome = Outcome(None)
        if run.log.wants:
            tell_start(run, resumed=opened is Opened.RESUMED)
            if opened is not Opened.FINISHED:
                tell_checkpoint(run, "input" if opened is Opened.FRESH else "loop")
        if opened is not Opened.FINISHED:
            outcome = yield from _until_stopped(run, resumed=opened is Opened.RESUMED)
        outcome.value = run.spec.output(run.view)
        if run.log.wants:
            tell_end(run, "interrupted" if outcome.interrupts or outcome.breakpoint else "done", output=outcome.value)
        return outcome
    except BaseException:
        if guard is not None:
            guard.abandon(run.place.thread_id, run.id)
        raise
    finally:
        if guard is not None:
            guard.leave(run.place.thread_id, run.token)


def _until_stopped(run: Run, *, resumed: bool) -> Program[Outcome]:
    tasks: list[NodeTask] = []
    try:
        run.stop_step = run.step + run.limit + (START in run.spec.nodes and START in run.state.updated)
        if resumed and not run.spec.functional:
            tell_values(run)
        pause = not resumed
        while run.state.updated:
            run.step += 1
            tasks = plan(run)
            if run.step > run.stop_step or run.control is not None:
                check_limits(run, tasks)
            if run.interrupt_before and pause and _stops(tasks, run.interrupt_before):
                run.step -= 1
                return (yield from _break(run, "interrupt_before"))
            pause = True
            stopped = yield from superstep(run, tasks)
            if stopped is not None:
                return stopped
            if run.interrupt_after and run.state.updated and _stops(tasks, run.interrupt_after):
                return (yield from _break(run, "interrupt_after"))
        if run.durability == "exit":
            yield from commit_end(run, "done")
        warn_of_joins(run)
        return Outcome(None)
    except GeneratorExit:
        raise
    except BaseException as error:
        yield from _fail(run, tasks, error)
        for task in tasks:
            task.error = None  # its traceback holds the task
        raise


def superstep(run: Run, tasks: Sequence[NodeTask]) -> Program[Outcome | None]:
    """Run the due tasks and commit what they wrote; return the outcome if questions prevent it."""
    if len(tasks) == 1:
        tasks[0].solo = True
    if run.step_timeout is not None:
        limit_step(run, tasks)
    if run.log.wants:
        tell_superstep(run, tasks)
    if run.spec.starts_alone and tasks[0].name == START:
        pass_on(tasks[0])
    else:
        yield RunTasks(tasks)
    for task in tasks:
        if task.writes is None:
            raise_failures(run, tasks)
            return (yield from _stop(run, tasks))
    apply(run, tasks)
    if run.saver is None:
        advance(run, "loop")
    else:
        yield from commit_state(run, "loop", tasks, status="running" if run.state.updated else "done")
    if run.log.wants:
        if tasks[0].solo:
            tasks[0].emit_outcome()
        tell_values(run)
        tell_checkpoint(run, "loop")
        tell_superstep_end(run)
    return None


def _stop(run: Run, tasks: Sequence[NodeTask]) -> Program[Outcome]:
    """Stop at the questions of the tasks."""
    questions = open_questions(run, tasks)
    yield from commit_stop(run, tasks, "interrupted")
    if run.log.wants:
        tell_questions(run, tasks, questions)
    return Outcome(None, questions, breakpoint=not questions)


def open_questions(run: Run, tasks: Sequence[NodeTask]) -> tuple[Interrupt, ...]:
    """Return what was asked now, and what was asked before and has not been reached this time."""
    known = {question.id: question for task in tasks for question in task.interrupts or ()}
    if not run.records:
        return tuple(known.values())
    again = {QUESTIONS + task.id for task in tasks if task.interrupts}
    earlier = [run.recall(id) for id in run.records if id.startswith(QUESTIONS) and id not in again]
    for question, _ in pending_questions([record for record in earlier if record is not None], run.root.answers):
        known.setdefault(question.id, question)
    return tuple(known.values())


def check_limits(run: Run, tasks: Sequence[NodeTask]) -> None:
    """Stop a run that has used up its supersteps or was asked to drain."""
    if run.step > run.stop_step:
        due = ", ".join(task.name for task in tasks)
        raise GraphRecursionError(
            f"Recursion limit of {run.limit} reached without hitting a stop condition in '{run.spec.name}' (due: "
            f"{due}). Check that its loop ends, or pass a larger limit: config={{'recursion_limit': ...}}."
        )
    if run.control is not None and run.control.drain_requested:
        raise GraphDrained(run.control.drain_reason or "shutdown")


def raise_failures(run: Run, tasks: Sequence[NodeTask]) -> None:
    """Raise the first failure of a superstep; the others are kept with it."""
    errors = [task.error for task in tasks if task.error is not None and task.has_failed]
    waiting = [question for task in tasks for question in task.interrupts or ()]
    if not errors:
        if not waiting:  # else they come first: the nodes that have commands for the graph around run again
            _raise_commands(run, tasks)
        return
    first, others = errors[0], [e for e in errors[1:] if isinstance(e, Exception)]
    if waiting:
        first.add_note(f"Questions wait as well: {waiting}; answer them with Command(resume=...).")
    if others and first.__cause__ is None:
        first.__cause__ = ExceptionGroup("other failures of the same superstep", others)
    try:
        raise first
    finally:
        del first, errors  # the traceback holds this frame


def _raise_commands(run: Run, tasks: Sequence[NodeTask]) -> None:
    """Raise the commands of a superstep for the graph around, all at once."""
    commands = [command for task in tasks if isinstance(task.error, ParentCommand) for command in task.error.commands]
    if commands and run.parent is None:
        raise InvalidUpdateError(
            f"Command(graph=Command.PARENT) was returned in '{run.spec.name}', which no graph contains: {commands[0]}"
        ) from None
    if commands:
        raise ParentCommand(*commands)


def _stops(tasks: Sequence[NodeTask], names: Sequence[str]) -> bool:
    every = "*" in names
    return any((every and not task.node.hidden) or task.name in names for task in tasks)


def _break(run: Run, status: Literal["interrupt_before", "interrupt_after"]) -> Program[Outcome]:
    """Stop at a static breakpoint."""
    yield from commit_stop(run, (), "interrupted")
    emit = run.emitter(Interrupted)
    if emit is not None:
        emit(Interrupted(run.ns_path, run.step, (), None, status, run.checkpoint_id))
    return Outcome(None, breakpoint=True)


def _fail(run: Run, tasks: Sequence[NodeTask], error: BaseException) -> Program[None]:
    """Put on record that the run stopped at an error."""
    for task in tasks:
        if task.solo and task.error is not None:
            task.emit_outcome()
    tell_end(run, "drained" if isinstance(error, GraphDrained) else "failed", error)
    if isinstance(error, ThreadConflictError | CheckpointStorageError):
        return  # the thread belongs to another run, or cannot be written to
    if run.parent is not None and _lasting(error):
        yield from _fail_nested(run, tasks, error)
        return
    yield from release(run, [error, *run.lost])
    status: Status = "failed"
    if is_invalid_resume(error):
        question = "".join(error.__notes__).rpartition("Question: ")[2][:32]
        run.root.answers.pop(run.root.positions.get(question, ()), None)
        run.forget.append(ANSWER + question)
        status = "interrupted"
    if tasks and all(task.writes is not None for task in tasks):
        # the superstep could not be applied: what its nodes wrote would fail again, so they have to run again
        run.forget += [task.id for task in tasks if not task.solo]
    if isinstance(error, ParentCommand):
        status = "done"
    elif not isinstance(error, Exception | GraphBubbleUp):
        status = "running"  # stopped from outside: as unfinished as that of a killed process
    try:
        yield from commit_stop(run, tasks, "interrupted" if isinstance(error, GraphDrained) else status)
    except TwinstepError as second:
        error.add_note(f"The failure could not be put on record: {second}")


def _lasting(error: BaseException) -> bool:
    """Tell whether a nested run's failure is an outcome for its caller, who may catch it."""
    return isinstance(error, Exception) and not is_invalid_resume(error) and not isinstance(error, NodeCancelledError)


def _fail_nested(run: Run, tasks: Sequence[NodeTask], error: BaseException) -> Program[None]:
    """Put on record that a nested run failed; whether it is tried again depends on what its caller makes of that."""
    assert run.parent is not None
    outer, path = run.parent.run, (*run.parent.path, "nested")
    outer.failures += [failure._replace(path=(*path, *failure.path)) for failure in run.failures]
    outer.lost += run.lost
    if run.saver is not None and run.head is not None:
        run.unsaved.append(record_row(run, FAILURE, Record("error", run.spec.name, "", error)))
        outer.failures.append(Failure(run, FAILURE, error, path, run.parent, run.parent.started))
    yield from commit_stop(run, tasks, "failed")


# ---------------------------------------------------------------------- events


def tell_values(run: Run) -> None:
    """Tell the state as it is."""
    emit = run.emitter(ValuesChanged)
    if emit is not None and (run.state.view or not run.spec.functional):
        emit(ValuesChanged(run.ns_path, run.step, run.show(run.view)))


def tell_questions(run: Run, tasks: Sequence[NodeTask], questions: tuple[Interrupt, ...]) -> None:
    """Tell the questions that stop the run."""
    for task in tasks:
        if task.solo:
            task.emit_outcome()
    emit = run.emitter(Interrupted)
    if emit is not None:
        values = None if run.spec.functional else run.show(run.view)
        emit(Interrupted(run.ns_path, run.step, questions, values, "pending", run.checkpoint_id))


def tell_checkpoint(run: Run, source: str) -> None:
    """Tell that a checkpoint is on record."""
    emit = run.emitter(CheckpointCommitted)
    if emit is not None and run.saver is not None:
        emit(CheckpointCommitted(run.ns_path, run.step, checkpoint_payload(run, source)))


def tell_start(run: Run, *, resumed: bool) -> None:
    """Tell that the run begins, or goes on."""
    emit = run.emitter(RunStarted)
    if emit is not None:
        emit(RunStarted(run.ns_path, run.step, run.id, run.spec.name, resumed, run.checkpoint_id))


def tell_superstep(run: Run, tasks: Sequence[NodeTask]) -> None:
    """Tell that a superstep begins."""
    emit = run.emitter(SuperstepStarted)
    if emit is not None:
        emit(SuperstepStarted(run.ns_path, run.step, tuple(task.name for task in tasks)))


def tell_superstep_end(run: Run) -> None:
    """Tell that a superstep is applied and stored."""
    emit = run.emitter(SuperstepFinished)
    if emit is not None:
        emit(SuperstepFinished(run.ns_path, run.step))


def tell_end(run: Run, status: Any, error: BaseException | None = None, output: Any = None) -> None:
    """Tell that the run has ended."""
    emit = run.emitter(RunFinished)
    if emit is not None:
        emit(RunFinished(run.ns_path, run.step, status, error, output))
