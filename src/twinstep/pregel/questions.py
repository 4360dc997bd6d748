"""Questions to a human: what makes two of them the same, and where their answers come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from twinstep.adapter import adapter
from twinstep.checkpoint.format import Position, Record
from twinstep.errors import (
    INVALID_ANSWER,
    GraphInterrupt,
    NoCheckpointerError,
    NonDeterminismError,
    UnknownInterruptError,
    did_you_mean,
)
from twinstep.ids import question_id
from twinstep.pregel.run import Root, Run
from twinstep.scope import Scope
from twinstep.types import NOTHING, Interrupt


class Asker(Protocol):
    """The task that asks."""

    run: Run
    name: str
    path: tuple[Any, ...]
    asked: set[Position] | None

    @property
    def position(self) -> Position: ...
    def occurrence(self, key: Any) -> int: ...
    def check_wanted(self, asked: str) -> None: ...


def ask(task: Asker, value: Any, schema: Any, key: str | None, site: str) -> Any:
    """Return the answer to a question of a task.

    Raises:
        GraphInterrupt: there is none yet.
        NonDeterminismError: another question of the task was answered and has not been asked again.
    """
    task.check_wanted("interrupt()")
    root = task.run.root
    saver = task.run.saver or _nearest_saver(task)
    if saver is None:
        raise NoCheckpointerError(
            f"interrupt() in '{task.name}' needs a checkpointer, or the run could never be resumed: pass one to "
            "compile(checkpointer=...) or entrypoint(checkpointer=...), e.g. InMemorySaver()."
        )
    identity = ("key", key) if key is not None else ("at", site, saver.serde.digest(value).hex())
    position = (*task.position, (*identity, task.occurrence(("?", *identity))))
    id = question_id((*task.path, position[-1]))
    if task.asked is None:
        task.asked = set()
    if root.answers and position not in root.answers:
        if task.run.edited:
            position = _after_edit(task, position, value)
        elif key is None:
            position = _other_question(task, position, value)
    root.positions[id] = position
    if position in root.answers:
        task.asked.add(position)
        return _checked(root.answers[position], schema, id)
    raise GraphInterrupt((Interrupt(value, id, response_schema=_json_schema(schema)),))


def _nearest_saver(task: Asker | Scope) -> Any:
    parent = task.run.parent
    return None if parent is None else parent.run.saver or _nearest_saver(parent)


def _other_question(task: Asker, position: Position, value: Any) -> Position:
    """Decide what to do when a new question comes before one that was answered is asked again."""
    own, asked, root = task.position, task.asked or (), task.run.root
    unasked = [known for known in root.answers if known[:-1] == own and known not in asked]
    if not unasked or task.run.mismatch == "rerun":
        return position
    if task.run.mismatch == "accept":
        return unasked[0]
    raise not_asked(root, task.name, unasked[0], value)


def _after_edit(task: Asker, position: Position, value: Any) -> Position:
    """Return the place of the question that was answered before the state was changed; another question is asked.

    The update was a superstep of its own, and the question may speak of what has changed.
    """
    root, parent = task.run.root, task.run.parent
    step = len(getattr(parent, "position", ())) + 2 if parent is not None else None

    def place(known: Position) -> Position:
        return known[:-1] if step is None else (*known[:step], *known[step + 1 : -1])

    open = [known for known in root.answers if place(known) == place(position) and known not in (task.asked or ())]
    before = {known: question.value for question, known in pending_questions(root.recorded, {})}
    same = [known for known in open if known[-1] == position[-1] or _same_form(before.get(known), value)]
    return same[0] if same else position


def _same_form(before: Any, now: Any) -> bool:
    """Tell whether two questions are the same one about other data: mappings with the same keys."""
    return isinstance(before, Mapping) and isinstance(now, Mapping) and before.keys() == now.keys()


def not_asked(root: Root, name: str, position: Position, instead: Any = NOTHING) -> NonDeterminismError:
    """Return the error of a task that does not ask a question again that was answered, but perhaps another one."""
    recorded = root.asked.get(position) or str(position[-1])
    now = "and has ended" if instead is NOTHING else f"but {instead!r}"
    return NonDeterminismError(
        f"'{name}' has not asked a question again that was answered ({recorded}), {now}. Ask the same questions in the "
        "same order at every resume: give the question a key=, or put what it depends on into a task.",
        name=name,
        recorded=recorded,
        actual=None if instead is NOTHING else instead,
    )


def _json_schema(schema: Any) -> dict[str, Any] | None:
    if schema is None or isinstance(schema, Mapping):
        return dict(schema) if schema is not None else None
    found: dict[str, Any] = adapter(schema).json_schema()
    return found


def _checked(answer: Any, schema: Any, id: str) -> Any:
    if schema is None or isinstance(schema, Mapping):
        return answer
    from pydantic import ValidationError

    try:
        return adapter(schema).validate_python(answer)
    except ValidationError as error:
        error.add_note(f"{INVALID_ANSWER}. Question: {id}")
        raise


def pending_questions(records: Iterable[Record], answers: Mapping[Position, Any]) -> list[tuple[Interrupt, Position]]:
    """Return the questions among records that have no answer, each with its position."""
    found: dict[str, tuple[Interrupt, Position]] = {}
    for record in records:
        if record.kind == "questions":
            for question, position in record.value:
                if position not in answers:
                    found[question.id] = (question, position)
    return list(found.values())


def match_answers(resume: Any, pending: Sequence[tuple[Interrupt, Position]]) -> dict[str, tuple[Position, Any]]:
    """Give each answer to its question.

    Args:
        resume: one answer for the only question, or answers by question id.
        pending: the open questions, each with its position.

    Returns:
        For the id of each answered question its position and the answer.

    Raises:
        UnknownInterruptError: an answer fits no question, or there are several questions and no ids.
    """
    if resume is NOTHING:
        return {}
    positions = {question.id: position for question, position in pending}
    ids = list(positions)
    if names_questions(resume):
        if not resume:
            raise UnknownInterruptError("Command(resume={}) holds no answer.", reason="empty_map", pending_ids=ids)
        unknown = [key for key in resume if key not in positions]
        if unknown:
            raise UnknownInterruptError(
                f"No question with id {', '.join(unknown)} is waiting (waiting: {', '.join(ids) or 'none'})."
                + did_you_mean(unknown[0], ids),
                reason="not_pending",
                interrupt_ids=unknown,
                pending_ids=ids,
            )
        return {id: (positions[id], answer) for id, answer in resume.items()}
    if not ids:
        raise UnknownInterruptError(
            "Command(resume=...) has nothing to answer: no question is waiting on this thread. Look at "
            "get_state(config).interrupts; a new run is started with an input, a failed one continues with None.",
            reason="not_pending",
        )
    if len(ids) > 1:
        raise UnknownInterruptError(
            f"{len(ids)} questions are waiting; say which is answered: Command(resume={{id: answer, ...}}) with ids "
            f"{', '.join(ids)}.",
            reason="ambiguous",
            pending_ids=ids,
        )
    return {ids[0]: (positions[ids[0]], resume)}


def names_questions(resume: Any) -> bool:
    """Tell whether answers are given by the ids of their questions."""
    return isinstance(resume, Mapping) and all(_looks_like_id(key) for key in resume)


def _looks_like_id(key: Any) -> bool:
    return isinstance(key, str) and len(key) == 32 and all(c in "0123456789abcdef" for c in key)
