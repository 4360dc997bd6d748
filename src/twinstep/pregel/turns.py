"""Whose turn it is on a thread: a run that may wait begins when the run before it has ended."""

from __future__ import annotations

from typing import Any

from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.rows import Loaded
from twinstep.errors import InvalidConfigError, ThreadConflictError
from twinstep.pregel.effects import Program, Sleep
from twinstep.pregel.journal import load_state
from twinstep.pregel.questions import names_questions
from twinstep.pregel.resume import Opened, open_run
from twinstep.pregel.run import Run
from twinstep.types import NOTHING, Command

SHORTEST, LONGEST = 0.001, 0.05
"""Seconds between two looks at a thread; each pause is twice as long as the one before."""


def open_in_turn(run: Run, input: Any, checkpoint_id: str | None) -> Program[Opened]:
    """Open a run as soon as no other run works on its thread.

    Whatever another run has stored meanwhile is what this one goes on from.

    Raises:
        ThreadConflictError: a run that is known to live works on the thread and has stored nothing for
            `run.conflict_timeout` seconds, or an answer that names no question would have to wait.
        InvalidConfigError: there is no such limit, and whether that run lives is not known.
    """
    saver = run.saver
    assert saver is not None
    while True:
        seen = yield from _wait(run, saver, input)
        try:
            return (yield from open_run(run, input, checkpoint_id, seen))
        except ThreadConflictError as conflict:  # another one was faster, and nothing has been run yet
            saver.leave(run.place.thread_id, run.token)
            _refuse_blind(input, conflict)
            run.reset()


def _wait(run: Run, saver: Journal, input: Any) -> Program[Loaded]:
    """Enter the thread when no run works on it, or when one that may be dead has been silent for too long.

    Returns what was seen then; whoever changes the thread after that look keeps this run from claiming it.
    """
    silent, pause, before = 0.0, SHORTEST, None
    while True:
        loaded = yield from load_state(run)
        conflict = _entered(run, saver, loaded)
        if conflict is None:
            return loaded
        _refuse_blind(input, conflict)
        now = (loaded.epoch, loaded.head, len(loaded.records))
        silent = silent + pause if now == before else 0.0
        before = now
        if run.conflict_timeout is None:
            _check_known(run, saver)
        elif silent >= run.conflict_timeout:
            if saver.works_on(run.place.thread_id):
                raise conflict
            saver.enter(run.place.thread_id, run.token)
            return loaded
        pause = min(2 * pause, LONGEST)
        yield Sleep(pause)


def _entered(run: Run, saver: Journal, loaded: Loaded) -> ThreadConflictError | None:
    """Enter the thread; return why that is not possible."""
    thread_id = run.place.thread_id
    ended = not _working(loaded) or saver.has_left(thread_id, loaded.holder or "")
    if loaded.holder is not None and not ended and saver.works_on(thread_id) is not False:  # which is: it was killed
        return ThreadConflictError(
            f"Thread '{thread_id}' is busy: run '{loaded.holder}' works on it, so run '{run.id}' was not started.",
            thread_id=thread_id,
            ours=run.id,
            theirs=loaded.holder,
        )
    try:
        saver.enter(thread_id, run.token)
    except ThreadConflictError as conflict:
        return conflict
    return None


def _check_known(run: Run, saver: Journal) -> None:
    if saver.works_on(run.place.thread_id) is None:
        raise InvalidConfigError(
            f"conflict_timeout=None waits as long as the run that works on thread '{run.place.thread_id}' lives, and a "
            f"{type(saver).__name__} cannot tell that of a run of another process: give a number of seconds."
        )


def _working(loaded: Loaded) -> bool:
    """Tell whether the holder of a thread has, as far as is stored, not come to its end."""
    head = loaded.head
    return head is None or head.status == "running" or head.run != loaded.holder


def _refuse_blind(input: Any, conflict: ThreadConflictError) -> None:
    """Refuse to wait with an answer that names no question: it would go to whatever is asked next."""
    if isinstance(input, Command) and input.resume is not NOTHING and not names_questions(input.resume):
        conflict.add_note(
            "An answer waits only for its own question: pass Command(resume={id: answer}) with the question's id."
        )
        raise conflict
