"""From the event log to callback handlers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from twinstep.callbacks import (
    GraphCallbackHandler,
    GraphInterruptEvent,
    GraphResumeEvent,
    RunEvent,
    SuperstepEvent,
    TaskEvent,
)
from twinstep.errors import InvalidConfigError
from twinstep.stream.events import (
    Event,
    Interrupted,
    Namespace,
    RunFinished,
    RunStarted,
    SuperstepFinished,
    SuperstepStarted,
    TaskFinished,
    TaskStarted,
)

log: logging.Logger = logging.getLogger("twinstep")

WANTS: dict[str, tuple[type, ...]] = {
    "on_interrupt": (Interrupted,),
    "on_resume": (),
    "on_run_start": (),
    "on_run_end": (RunFinished,),
    "on_superstep_start": (SuperstepStarted,),
    "on_superstep_end": (SuperstepStarted, SuperstepFinished, RunFinished),
    "on_task_start": (TaskStarted,),
    "on_task_end": (TaskStarted, TaskFinished, RunFinished),
}
"""The events behind each method, besides `RunStarted`."""


class CallbackListener:
    """Tells one handler what it has overridden, of a run and of all runs nested in it."""

    subgraphs = True
    handler: GraphCallbackHandler
    depth: int

    def __init__(self, handler: GraphCallbackHandler) -> None:
        self.handler, self.depth = handler, 0
        told = {name for name in WANTS if getattr(type(handler), name) is not getattr(GraphCallbackHandler, name)}
        self.kinds: frozenset[type] = frozenset({RunStarted}.union(*(WANTS[name] for name in told)))
        self._tell: dict[type, Callable[[Any], None]] = {
            RunStarted: self._run_started,
            RunFinished: self._run_finished,
            SuperstepStarted: self._superstep_started,
            SuperstepFinished: self._superstep_finished,
            TaskStarted: self._task_started,
            TaskFinished: self._task_finished,
            Interrupted: self._interrupted,
        }
        self._runs: dict[Namespace, RunEvent] = {}
        self._steps: dict[Namespace, SuperstepEvent] = {}
        self._tasks: dict[Namespace, dict[str, TaskEvent]] = {}

    def offer(self, event: Event) -> None:
        """Tell the handler of an event."""
        if type(event) in self.kinds:
            self._tell[type(event)](event)

    def _call(self, name: str, event: Any) -> None:
        try:
            getattr(self.handler, name)(event)
        except Exception:
            log.warning("%s.%s raised; the run goes on.", type(self.handler).__name__, name, exc_info=True)

    def _run_started(self, event: RunStarted) -> None:
        where: dict[str, Any] = {
            "run_id": event.run_id,
            "checkpoint_id": event.checkpoint_id,
            "checkpoint_ns": event.ns,
        }
        run = RunEvent(name=event.name, resumed=event.resumed, seq=event.seq, **where)
        self._runs[event.ns] = run
        self._call("on_run_start", run)
        if event.resumed:
            self._call("on_resume", GraphResumeEvent(status="pending", **where))

    def _run_finished(self, event: RunFinished) -> None:
        for task in list(self._tasks.pop(event.ns, {}).values()):
            self._call("on_task_end", replace(task, status="cancelled", seq=event.seq))
        step = self._steps.pop(event.ns, None)
        if step is not None:
            self._call("on_superstep_end", replace(step, status=event.status, seq=event.seq))
        run = self._runs.pop(event.ns, None)
        if run is not None:
            self._call("on_run_end", replace(run, status=event.status, error=event.error, seq=event.seq))

    def _superstep_started(self, event: SuperstepStarted) -> None:
        step = SuperstepEvent(
            run_id=self._run_id(event), checkpoint_ns=event.ns, step=event.step, nodes=event.nodes, seq=event.seq
        )
        self._steps[event.ns] = step
        self._call("on_superstep_start", step)

    def _superstep_finished(self, event: SuperstepFinished) -> None:
        step = self._steps.pop(event.ns, None)
        if step is not None:
            self._call("on_superstep_end", replace(step, status="done", seq=event.seq))

    def _task_started(self, event: TaskStarted) -> None:
        task = TaskEvent(
            run_id=self._run_id(event),
            checkpoint_ns=event.ns,
            step=event.step,
            task_id=event.id,
            name=event.name,
            input=event.input,
            seq=event.seq,
        )
        self._tasks.setdefault(event.ns, {})[event.id] = task
        self._call("on_task_start", task)

    def _task_finished(self, event: TaskFinished) -> None:
        task = self._tasks.get(event.ns, {}).pop(event.id, None)
        if task is None:  # its outcome was on record
            return
        ended = replace(
            task,
            status="failed" if event.error is not None else "interrupted" if event.interrupts else "done",
            writes=tuple(event.writes),
            error=event.error,
            cached=event.cached,
            seq=event.seq,
        )
        self._call("on_task_end", ended)

    def _interrupted(self, event: Interrupted) -> None:
        if len(event.ns) > self.depth:  # it reaches the run around it
            return
        stop = GraphInterruptEvent(
            run_id=self._run_id(event),
            status=event.status,
            checkpoint_id=event.checkpoint_id,
            checkpoint_ns=event.ns,
            interrupts=event.interrupts,
        )
        self._call("on_interrupt", stop)

    def _run_id(self, event: Event) -> str:
        run = self._runs.get(event.ns)
        return "" if run is None else run.run_id


def callback_listeners(callbacks: Any, known: Iterable[Any] = ()) -> tuple[CallbackListener, ...]:
    """Return listeners for the handlers of a config that are not among `known` ones.

    Raises:
        InvalidConfigError: the callbacks are no list of handlers.
    """
    handlers = getattr(callbacks, "handlers", callbacks)  # LangChain's managers keep theirs so
    if not isinstance(handlers, list | tuple):
        raise InvalidConfigError(f"config['callbacks'] is a list of handlers, got {callbacks!r}.")
    told = {id(listener.handler) for listener in known if isinstance(listener, CallbackListener)}
    own = {id(h): h for h in handlers if isinstance(h, GraphCallbackHandler) and id(h) not in told}
    return tuple(map(CallbackListener, own.values()))
