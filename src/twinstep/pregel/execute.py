"""How one task runs: attempts, cache, record, events. Programs, the same for every driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

from twinstep.checkpoint.format import Position, Record, RecordKind
from twinstep.checkpoint.rows import Commit, RecordRow
from twinstep.constants import MEMORIES, START
from twinstep.errors import (
    CheckpointStorageError,
    GraphBubbleUp,
    GraphInterrupt,
    NodeError,
    OutsideRunError,
    ParentCommand,
    ThreadConflictError,
    causes,
    is_invalid_resume,
)
from twinstep.ids import question_id
from twinstep.pregel.calls import check_made, sketch
from twinstep.pregel.effects import SPARING, Call, Join, Program, Sleep, Store, StoreBeside, Wait
from twinstep.pregel.isolation import COPIED, isolate
from twinstep.pregel.retry import retry_delay
from twinstep.pregel.run import QUESTIONS, Run
from twinstep.pregel.spec import PASS, NodeSpec
from twinstep.pregel.task import CallTask, NodeTask, Task
from twinstep.scope import SCOPE
from twinstep.stream.events import Write
from twinstep.types import Command, Interrupt

T = TypeVar("T", bound=Task)
FAILED = "failed:"
"""Begins the id of the record of a failure that was given to the node's error handler."""
PUSHED = "pushed:"
"""Begins the id of the record of what a call has pushed to the state of its node."""


def attempts(task: Task) -> Program[Any]:
    """Run a task's code until it succeeds or no policy retries its failure; return its result."""
    action = task.action
    while True:
        task.begin()
        try:
            kwargs = action.fill(task, task.args, task.kwargs) if action.inject else task.kwargs
            args = task.args_of_attempt() if task.retry else task.args
            result = yield Call(action, args, kwargs, task, task.timeout)
            if task.pending:
                yield from _join(task)
                task.pending = None  # they hold their caller
            if task.run.unused or task.run.root.answers:
                check_made(task)
            return result
        except Exception as error:
            failures = (yield Join(task.pending, cancel=True)) if task.pending else ()
            task.pending = None
            lost = [other for other, seen in failures if not seen]
            delay = retry_delay(task.retry, error, task.attempt)
            if delay is None:
                task.run.lost += lost
                raise
            yield from release(task.run, [error, *lost])
            if not task.first:
                task.first = time.time()
            if delay > 0:
                yield Sleep(delay)
            if task.fenced:
                task = task.revived()
                SCOPE.set(task)
        except GeneratorExit:
            raise
        except BaseException as signal:
            wanted = isinstance(signal, GraphBubbleUp)  # and not when the run is cancelled or the program ends
            spare = signal.args == (SPARING,)
            failures = (yield Join(task.pending, cancel=not wanted, spare=spare)) if task.pending else ()
            task.pending = None
            raise _questions(task, [signal, *(error for error, _ in failures)]) or signal from None


def _join(task: Task) -> Program[None]:
    """Wait for the tasks nobody has waited for; their failure is the failure of the task that started them."""
    failures = yield Join(task.pending or (), cancel=False)
    questions = _questions(task, [error for error, _ in failures])
    if questions is not None:
        raise questions
    for error, seen in failures:
        if not seen:
            raise error


def _questions(task: Task, errors: Sequence[BaseException]) -> GraphInterrupt | None:
    """Return one signal with all questions among errors (also those inside exception groups), if there are any."""
    if len(errors) == 1 and isinstance(errors[0], GraphInterrupt) and _known(task, errors[0].interrupts):
        return errors[0]
    found: dict[str, Interrupt] = {}
    for error in errors:
        group = error.subgroup(GraphInterrupt) if isinstance(error, BaseExceptionGroup) else None
        for signal in _leaves(group) if group is not None else [error]:
            if isinstance(signal, GraphInterrupt):
                for n, question in enumerate(signal.interrupts):
                    id = question.id or question_id((*task.path, "raised", n))
                    task.run.root.positions.setdefault(id, (*task.position, ("raised", n)))
                    found[id] = question if question.id else replace(question, id=id)
    return GraphInterrupt(tuple(found.values())) if found else None


def _known(task: Task, questions: Sequence[Interrupt]) -> bool:
    """Tell whether it is known of all questions where they were asked; of none at all it is not."""
    return bool(questions) and task.run.root.positions.keys() >= {question.id for question in questions}


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [leaf for e in group.exceptions for leaf in (_leaves(e) if isinstance(e, BaseExceptionGroup) else [e])]


def release(run: Run, errors: Sequence[BaseException]) -> Program[None]:
    """Forget the failures that errors came from, so that they are tried again, with all that failed below them.

    So are those that nothing can depend on. Failures that were caught, and gone on from, stay on record.
    """
    roots = set().union(*(causes(error) for error in errors))
    origins = [failure.path for failure in run.failures if id(failure.error) in roots or failure.is_last()]
    nested: dict[int, tuple[Run, list[str]]] = {}
    for failure in [f for f in run.failures if any(f.path[: len(path)] == path for path in origins)]:
        run.failures.remove(failure)
        failure.run.records.pop(failure.id, None)
        if failure.run is run:
            run.forget.append(failure.id)
            run.unsaved = [row for row in run.unsaved if row.id != failure.id]
        else:
            nested.setdefault(id(failure.run), (failure.run, []))[1].append(failure.id)
    for owner, ids in nested.values():
        yield from forget_failures(owner, ids)


def forget_failures(run: Run, ids: Sequence[str]) -> Program[None]:
    """Remove the failures of a nested run from the record."""
    if run.saver is None or run.head is None:
        return
    root, at = run.root, run.checkpoint_id
    commit = Commit(
        run.place.thread_id, run.ns, root.id, root.epoch, forget=tuple(ids), forget_at=at, status="interrupted"
    )
    yield Store(run.saver, commit)  # the attempt it belonged to has ended, so `write` would refuse


def write(run: Run, commit: Commit, *, beside: bool = False) -> Program[None]:
    """Store a transaction of a run after all those before it, unless it no longer has the right to.

    Args:
        beside: do not wait for its end, unless the superstep beside the last one was over before that paid; the next
            transaction of the run does, and none is begun after one that failed.

    Raises:
        OutsideRunError: the attempt that the run is nested in was given up.
        CheckpointStorageError, ThreadConflictError: this write failed, or an earlier one did.
    """
    parent = run.parent
    while isinstance(parent, Task):
        if parent.fenced and not parent.closing:
            raise OutsideRunError(f"What '{parent.name}' had started was given up; nothing of it is stored any more.")
        parent = parent.run.parent
    root = run.root
    if root.broken is not None:
        raise root.broken
    assert run.saver is not None
    try:
        if root.pending is not None:
            yield Wait(root.pending)
            root.pending = None
        if beside and not root.is_quick():
            pending = root.pending = yield StoreBeside(run.saver, commit)
            pending.add_done_callback(root.note_end)
        else:
            yield Store(run.saver, commit)
        if beside:
            root.note_write()
    except (CheckpointStorageError, ThreadConflictError) as error:
        root.broken = error
        raise


def _cached(task: T, make: Callable[[T], Program[Any]]) -> Program[Any]:
    from twinstep.pregel.caching import cached  # only programs that cache pay for it

    return cached(task, make)


# ---------------------------------------------------------------------- calls of task functions


def run_call(task: CallTask) -> Program[Any]:
    """Run a call of a task function of which no outcome is on record."""
    SCOPE.set(task)
    task.emit_started()
    try:
        return (yield from _call_outcome(task))
    finally:
        end_scope()


def _call_outcome(task: CallTask) -> Program[Any]:
    """Run a call and put on record what came of it."""
    run = task.run
    try:
        result = yield from (_cached(task, attempts) if task.caches else attempts(task))
    except GraphInterrupt as signal:
        yield from keep(task, _call_record(task, "questions", with_positions(run, signal.interrupts)))
        task.emit_finished([], interrupts=signal.interrupts)
        raise
    except Exception as error:
        annotate(task, error)
        if not is_invalid_resume(error):
            task.failed(error)
            if run.keeps:
                yield from keep(task, _call_record(task, "error", error))
        task.emit_finished([], error)
        raise
    if task.pushed or (run.pushed and PUSHED + task.id in run.records):
        yield from _keep_pushed(task)
    if run.keeps:
        yield from keep(task, _call_record(task, "result", result))
    task.emit_outcome(result)
    return result


def _keep_pushed(task: CallTask) -> Program[None]:
    """Hand what a call has pushed to its caller; on record, for when the call is not made again."""
    run, id, pushed = task.run, PUSHED + task.id, list(task.pushed or ())
    task.caller.take_pushed(pushed)
    run.pushed = True
    record = Record("writes", task.name, "", pushed)
    if run.saver is not None:
        yield from keep_row(run, record_row(run, id, record))
    elif run.memory:
        run.records[id] = record


def _call_record(task: CallTask, kind: RecordKind, value: Any) -> Record:
    shown = sketch(task.args, task.kwargs) if task.run.saver is not None else ""
    return Record(kind, task.name, task.digest, value, task.caller.id[:8], shown)


def end_scope() -> None:
    """Give the running attempt up: whatever of it is still running belongs to nobody any more."""
    scope = SCOPE.get()
    if isinstance(scope, Task):
        scope.fenced = True


def take_result(run: Run, caller: Task, id: str, record: Record) -> Any:
    """Return the result on record of a call that is not made again; the caller gets what it has pushed, too."""
    run.unused.discard(id)
    if run.pushed and (pushed := run.recall(PUSHED + id)) is not None:
        caller.take_pushed(pushed.value)
    return record.value if run.saver is not None else own_copy(record.value)


def with_positions(run: Run, questions: Sequence[Interrupt]) -> list[tuple[Any, Position]]:
    """Return questions, each with its position."""
    return [(question, run.root.positions.get(question.id, ())) for question in questions]


def annotate(task: Task, error: BaseException) -> None:
    """Add to an error the name and id of the task it passed through."""
    note = f"During task with name '{task.name}' and id '{task.id}'"
    if note not in getattr(error, "__notes__", ()):  # an error that comes from the record has its notes
        error.add_note(note)


def keep(task: Task, record: Record) -> Program[None]:
    """Put an outcome on record, before anybody is told of it."""
    run = task.run
    if run.saver is None:
        if run.memory and record.kind != "questions":
            run.records[task.id] = record._replace(value=own_copy(record.value))
        return
    yield from keep_row(run, record_row(run, record_id(task, record), record))


def keep_row(run: Run, row: RecordRow) -> Program[None]:
    """Store a record, now or (in exit durability) when the run stops."""
    run.records[row.id] = row
    if run.unused:
        run.doubtful.append(row.id)
    root = run.root
    rows: tuple[RecordRow, ...] = (row,)
    if root.moved:  # what nested graphs remember counts as soon as the outcome of their caller does
        rows = (row, record_row(run, MEMORIES, Record("memories", "", "", dict(root.moved))))
    if run.durability == "exit":
        run.unsaved.extend(rows)
        return
    slots = root.slots
    if slots is not None:
        slots.storing(1)
    try:
        yield from write(run, Commit(run.place.thread_id, run.ns, root.id, root.epoch, records=rows))
    finally:
        if slots is not None:
            slots.storing(-1)


def own_copy(value: Any) -> Any:
    """Return a value that the caller cannot change, as far as it can be copied."""
    try:
        return deepcopy(value)
    except Exception:  # a lock, a client, a generator: only the caller can keep from changing it
        return value


def keep_failure(task: NodeTask, error: Exception) -> Program[None]:
    """Put on record the failure that an error handler is going to take."""
    run, id = task.run, FAILED + task.id
    if run.saver is not None and id not in run.records:
        yield from keep_row(run, record_row(run, id, Record("error", task.name, "", error)))


def record_id(task: Task, record: Record) -> str:
    """Return the id of a record: outcomes have the id of their task, questions an id beside it."""
    return QUESTIONS + task.id if record.kind == "questions" else task.id


def record_row(run: Run, id: str, record: Record) -> RecordRow:
    """Encode a record of the superstep that runs."""
    return run.shelf(run.checkpoint_id or "", run.id).encode(id, record)


# ---------------------------------------------------------------------- nodes


def run_node(task: NodeTask) -> Program[None]:
    """Run a node of a superstep; its outcome is set on the task and, if it is not alone, put on record."""
    token = SCOPE.set(task)
    try:
        if task.run.unused and replay_node(task):
            task.emit_outcome()
            return
        if task.run.log.wants:
            task.emit_started()
        yield from _outcome(task)
        if not task.solo:
            if task.run.saver is not None:
                yield from _keep_node(task)
            if task.run.log.wants:
                task.emit_outcome()
    finally:
        end_scope()
        SCOPE.reset(token)


def pass_on(task: NodeTask) -> None:
    """Turn a run's input into writes, where that takes no code of the user."""
    try:
        task.writes = [*task.node.writes(task.args[0]), *task.node.follow]
    except Exception as error:
        annotate(task, error)
        task.error = error


def _keep_node(task: NodeTask) -> Program[None]:
    """Put a node's outcome on record; an outcome that cannot be is a failure."""
    if not task.storable or is_invalid_resume(task.error):
        return
    try:
        yield from keep(task, node_record(task))
    except Exception as error:
        task.error, task.writes, task.interrupts = error, None, None


def replay_node(task: NodeTask) -> bool:
    """Take a node's outcome from the record, if it has finished before."""
    record = task.run.recall(task.id)
    if record is None or record.kind != "writes":
        return False
    task.run.unused.discard(task.id)
    spec = task.run.spec
    writes = spec.past.writes(record.value)
    unknown = [name for name, _ in writes if name not in spec.channels]
    if unknown:
        spec.check_present(unknown, unknown, (), f"what '{task.name}' has written")
    task.writes = writes
    task.name = record.name  # an error handler's, perhaps
    return True


def node_record(task: NodeTask) -> Record:
    """Return what has to be put on record of a node's outcome."""
    if task.error is not None:
        return Record("error", task.name, "", task.error)
    if task.interrupts is not None:
        return Record("questions", task.name, "", with_positions(task.run, task.interrupts))
    return Record("writes", task.name, "", task.writes)


def _outcome(task: NodeTask) -> Program[None]:
    """Run a node's code and set on the task what came of it."""
    if task.node.error_handler is not None and (failed := task.run.recall(FAILED + task.id)) is not None:
        yield from _handle(task, failed.value)
        return
    try:
        task.writes = yield from (_cached(task, _writes) if task.caches else _writes(task))
    except GraphInterrupt as signal:
        task.interrupts = signal.interrupts
    except Exception as error:
        annotate(task, error)
        if task.node.error_handler is None or is_invalid_resume(error) or task.run.root.broken is not None:
            task.error = error
            return
        task.emit_finished([], error)
        yield from _handle(task, error)
    except GeneratorExit:
        raise
    except BaseException as error:  # a command for the graph around, cancellation, keyboard interrupt
        task.error = error


def _handle(task: NodeTask, error: Exception) -> Program[None]:
    """Give a failure to the node's error handler; it is on record, so that a resumed run goes on with the handler."""
    handler = task.node.error_handler
    assert handler is not None
    scope = task.at("handler")  # what the handler calls and asks is not what the node has called and asked
    scope.action, scope.retry, scope.timeout = handler.action, handler.retry, handler.timeout
    scope.failure = NodeError(task.name, error)
    token = SCOPE.set(scope)
    try:
        yield from keep_failure(task, error)
        scope.name = task.name = handler.name
        task.emit_started()
        task.writes = yield from _writes(scope, handler)
    except GraphInterrupt as signal:
        task.interrupts = signal.interrupts
    except Exception as second:
        annotate(task, second)
        task.run.forget.append(FAILED + task.id)  # when the run is continued, the node is tried again
        second.__context__ = second.__context__ or error
        task.error = second
    except GeneratorExit:
        raise
    except BaseException as signal:
        task.error = signal
    finally:
        end_scope()
        SCOPE.reset(token)


def _writes(task: NodeTask, handler: NodeSpec | None = None) -> Program[list[Write]]:
    """Run the code of a node (or of its error handler) and return everything it writes."""
    node = handler or task.node
    try:
        result = (yield from attempts(task)) if node.action is not PASS else task.args[0]
    except ParentCommand as signal:  # from a graph nested in this node, addressed to the graph of this node
        if task.run.spec.functional:
            raise
        return (yield from route(task, node, [replace(command, graph=None) for command in signal.commands]))
    if node.result is not None and not isinstance(result, Command):
        result = node.result(task.written, result)
    return (yield from route(task, node, result))


def route(task: NodeTask, node: NodeSpec, result: Any) -> Program[list[Write]]:
    """Return everything that follows from a node's result: its updates, its edges, its choices."""
    writes = node.writes(result)
    if task.pushed:
        writes[:0] = task.pushed
    for _, value in writes:
        if type(value) in COPIED and node.name != START:  # its input was copied when it came
            isolate(writes)
            break
    if node.follow:
        writes.extend(node.follow)
    if node.branches:
        view = task.run.with_managed(node, task.run.state.preview(writes))
        for branch in node.branches:
            path = branch.path
            kwargs = path.kwargs(task) if path.inject else {}
            chosen = yield Call(path, (branch.read(view),), kwargs, task, inline=True)
            writes.extend(branch.route(chosen))
    return writes
