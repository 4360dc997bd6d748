"""What a resumed run asks for, compared with what is on record: shown arguments, and calls that are not made again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from itertools import islice
from typing import Any

from twinstep.checkpoint.format import Position, Record
from twinstep.errors import NonDeterminismError, ProgramChangedError
from twinstep.ids import id_below
from twinstep.pregel.questions import not_asked
from twinstep.pregel.run import QUESTIONS, Run
from twinstep.pregel.task import Task

LENGTH = 120
"""Most characters of arguments that a record shows."""
ITEMS, LEVELS, TEXT = 4, 2, 60
"""How much of a value a record shows: items of a container, containers within containers, characters of a text."""
ADVICE = (
    "On resume the code must make the same calls: move what changes (time, random numbers, reads) into a task, or name "
    "its calls with task(key=...)."
)


def sketch(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return arguments as text for humans, cut to `LENGTH` characters."""
    parts = [_short(value) for value in args]
    if kwargs:
        parts += [f"{name}={_short(value)}" for name, value in kwargs.items()]
    text = ", ".join(parts)
    return text if len(text) <= LENGTH else text[: LENGTH - 3] + "..."


def _short(value: Any, level: int = LEVELS) -> str:
    """Return a value as text, in a time that does not depend on its size."""
    kind = type(value)
    if kind is str or kind is bytes:
        half = TEXT // 2
        return repr(value) if len(value) <= TEXT else f"{value[:half]!r}...{value[-half:]!r}"
    if kind in _BRACKETS:
        left, right = _BRACKETS[kind]
        some = list(islice(value.items() if kind is dict else value, ITEMS)) if level else []
        items = [f"{k!r:.{TEXT}}: {_short(v, level - 1)}" for k, v in some] if kind is dict else []
        items = items or [_short(item, level - 1) for item in some]
        return f"{left}{', '.join(items)}{', ...' * (len(value) > len(some))}{right}"
    plain = value is None or isinstance(value, int | float | Enum) or not hasattr(value, "__dict__")
    try:
        return repr(value) if plain and not hasattr(value, "__len__") else f"{kind.__name__}(...)"
    except Exception:  # an integer of more digits than Python writes out, or an object that cannot show itself
        return f"{kind.__name__}(...)"


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
}


def name_on_record(caller: Task, name: str, place: Any) -> str:
    """Return the name that a task has in what is on record of a call, which may be an older one."""
    run, begun = caller.run, caller.begun_ids()
    names = (name, *run.spec.past.old_names(name))
    return next((each for each in names if _on_record(run, id_below(begun, each, place))), name)


def stands_for(record: Record, task: Task) -> bool:
    """Tell whether a record may stand for a call with other arguments.

    Raises:
        NonDeterminismError: the run's policy is to stop then.
    """
    if task.run.mismatch != "error":
        return task.run.mismatch == "accept"
    before = f"{task.name}({record.shown})" if record.shown else f"a call with digest {record.digest}"
    raise NonDeterminismError(
        f"Call {task.path[-1]} of task '{task.name}' was recorded as {before} and is made as "
        f"{task.name}({sketch(task.args, task.kwargs)}) now. {ADVICE}",
        name=task.name,
        recorded=before,
        actual=(task.args, task.kwargs),
    )


def _on_record(run: Run, id: str) -> bool:
    """Tell whether something is on record of a call: its outcome, its questions, or a call that it has made."""
    if id in run.records or QUESTIONS + id in run.records:
        return True
    return any(record.caller == id[:8] for other in tuple(run.unused) if (record := run.recall(other)) is not None)


def check_made(task: Task) -> None:
    """Check that code that has ended has made all calls again, and asked all questions, that are on record of it.

    Raises:
        NonDeterminismError: it has not.
        ProgramChangedError: it has not called a task on record at all.
    """
    run = task.run
    if run.mismatch != "error":
        return
    if run.unused:
        _check_calls(task)
    answers = run.root.answers
    if answers and run.saver is not None:
        asked = task.asked or ()
        for position in answers:
            if position not in asked and not _reached(task, position):
                raise not_asked(run.root, task.name, position)


def _reached(task: Task, position: Position) -> bool:
    """Tell whether code that has ended has come to the place of a question, if that is one of what it has started."""
    own = task.position
    if position[: len(own)] != own:
        return True
    step, *rest = position[len(own) :]
    calls = task.calls or {}
    if not rest:
        return False
    if step == "nested":
        return bool(calls.get(("child",), 0) > int(rest[0]))
    number = rest[0]  # of a call, unless that has a key
    return not isinstance(number, int) or bool(calls.get(task.run.spec.past.node(step), 0) > number)


def _check_calls(task: Task) -> None:
    run, caller = task.run, task.id[:8]
    # a copy: other nodes of the superstep find their records at the same time
    made_before = (run.recall(id) for id in tuple(run.unused))
    unused = [record for record in made_before if record is not None and record.caller == caller]
    left = [record for record in unused if run.spec.past.node(record.name) is not None]
    if not left:
        return
    names = tuple(sorted({record.name for record in left}))
    calls = ", ".join(f"{record.name}({record.shown})" for record in left)
    for id in [id for id in run.doubtful if (record := run.recall(id)) is not None and record.caller == caller]:
        del run.records[id]  # what this code has called instead must not be expected of the code that is right
        run.forget.append(id)
    message = (
        f"'{task.name}' has not made all the calls again that are on record; missing: {calls}. {ADVICE} "
        "A task that has got another name is found with renamed={'old': 'new'}."
    )
    if any(key in names or key == name for key in task.calls or () for name in names):
        raise NonDeterminismError(message, name=names[0], recorded=calls)
    raise ProgramChangedError(message, missing=names)
