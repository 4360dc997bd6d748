"""One task: a node of a superstep, or a call of a task function. It is also the scope of the code it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any, Self, cast

from twinstep.channels import Folding
from twinstep.constants import NS_END, NS_SEP, RETURN
from twinstep.errors import InvalidUpdateError, NodeError, OutsideRunError, ParentCommand, did_you_mean
from twinstep.ids import begin_ids, id_below, path_id
from twinstep.messages.convert import messages_in, values_of
from twinstep.pregel.action import Action
from twinstep.pregel.isolation import isolate, own
from twinstep.pregel.questions import ask
from twinstep.pregel.run import Failure, Run
from twinstep.pregel.spec import NodeSpec
from twinstep.runtime import ExecutionInfo, Runtime
from twinstep.stream.events import Custom, Message, TaskFinished, TaskStarted, ToolCalled, Write
from twinstep.types import CachePolicy, Interrupt, RetryPolicy, RunnableConfig, Send, TimeoutPolicy

Path = tuple[Any, ...]


class Task:
    """Code with its arguments at one place of a run.

    The place (`path`) is the same at every resume; whatever is recorded of the task is found by it.

    Attributes:
        attempt: number of the running attempt, from 1.
        calls: how often the code has called each task or child in this attempt.
        pushed: what the code has added to its node's update while it runs.
        pending: task futures that the code has not waited for.
        holds: whether it works in a slot of its own (see `workers.Slots`); False when it has lent it.
        gated: the same, for the gate of the event loop.
        written: what the nodes of the run nested in it wrote, when it is a graph used as a node.
        cached: whether the outcome comes from the cache.
        fenced: whether the engine has given the running attempt up; what it still does is ignored.
        closing: whether a coroutine of it that was cancelled has not ended: what is nested there stores how far it got.
        unwanted: whether nobody waits for the outcome any more, because what it belongs to has failed.
        awaited: the coroutine of this task that a thread waits for.
    """

    # defaults here, because most tasks never touch most of them
    triggers: tuple[str, ...] = ("__pregel_push",)
    metadata: dict[str, Any] | None = None
    attempt: int = 0
    started: int = 0
    first: float = 0.0
    began: float = 0.0
    seen: float = 0.0
    calls: dict[Any, int] | None = None
    asked: set[Path] | None = None
    pushed: list[Write] | None = None
    pending: list[Any] | None = None
    failure: NodeError | None = None
    cached: bool = False
    fenced: bool = False
    closing: bool = False
    gated: bool = False
    unwanted: bool = False
    awaited: Any = None
    holds: bool | None = None
    written: Sequence[Write] = ()
    _id: str | None = None
    _ids: Any = None
    trace_outputs: Callable[[Any], Any] | None = None
    run: Run
    name: str
    path: Path
    action: Action
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    retry: tuple[RetryPolicy, ...]
    cache: CachePolicy | None
    timeout: TimeoutPolicy | None

    def __init__(
        self,
        run: Run,
        name: str,
        path: Path,
        action: Action,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        retry: tuple[RetryPolicy, ...] = (),
        cache: CachePolicy | None = None,
        timeout: TimeoutPolicy | None = None,
    ) -> None:
        self.run, self.name, self.path, self.action = run, name, path, action
        self.args, self.kwargs = args, kwargs
        self.retry, self.cache, self.timeout = retry, cache, timeout

    @property
    def id(self) -> str:
        """The task's id: a digest of its path."""
        if self._id is None:
            self._id = path_id(self.path)
        return self._id

    def begun_ids(self) -> Any:
        """Return the hash that the ids of the calls its code makes begin with."""
        if self._ids is None:
            self._ids = begin_ids(self.path)
        return self._ids

    @property
    def caches(self) -> bool:
        """Whether the outcome is looked up in a cache, and kept there."""
        return self.cache is not None and self.run.cache is not None

    def args_of_attempt(self) -> tuple[Any, ...]:
        """Return what an attempt is given; a node gets copies, so that none sees what the one before it did."""
        return self.args

    @property
    def position(self) -> Path:
        """The path without what tells one run of the same step from another: ids, and the number of a root's step."""
        parent, (_, ns, step, *rest) = self.run.parent, self.path
        if not isinstance(parent, Task):
            return tuple(rest)
        call = ns.rpartition(NS_SEP)[2]
        return (*parent.position, "nested", call if call.isdigit() else "0", step, *rest)

    def abort(self) -> None:
        """Cancel the coroutine that a thread waits for, now or when there is one; a plain function goes on."""
        self.unwanted = True
        awaited = self.awaited
        if awaited is not None:
            awaited.abort()

    def begin(self) -> None:
        """Start an attempt: everything is counted anew, so that the same calls find the same records."""
        self.attempt += 1
        if self.attempt > 1:
            self.calls = self.asked = self.pending = self.pushed = None
        if self.timeout is not None:
            self.began = self.seen = time.monotonic()

    def revived(self) -> Self:
        """Return the scope of the next attempt: a new one, when code of the last may still be running."""
        if not self.fenced:
            return self
        new = copy(self)
        new.fenced = False
        return new

    def at(self, place: str) -> Self:
        """Return the scope of other code that runs for this task: what it starts and asks is known by a place below."""
        new = copy(self)
        new.path, new._id, new._ids = (*self.path, place), None, None
        new.attempt, new.first = 0, 0.0
        new.calls = new.asked = new.pending = new.pushed = None
        return new

    def occurrence(self, key: Any) -> int:
        """Return how often `key` was counted before in this attempt."""
        if self.calls is None:
            self.calls = {}
        n = self.calls.get(key, 0)
        self.calls[key] = n + 1
        return n

    def check_wanted(self, asked: str) -> None:
        """Note that the code starts something, and refuse it for an attempt that was given up.

        Raises:
            OutsideRunError: it was.
            CheckpointStorageError, ThreadConflictError: the run can no longer be stored.
        """
        self.started += 1
        if self.run.root.broken is not None:
            raise self.run.root.broken
        if self.fenced:
            raise OutsideRunError(
                f"'{asked}' was not started: this attempt of '{self.name}' has ended, timed out or was cancelled."
            )

    # ------------------------------------------------------------------ what user code asks for (see twinstep.scope)

    def ask(self, value: Any, schema: Any, key: str | None, site: str) -> Any:
        """Return the answer to a question, or stop the run to wait for it."""
        return ask(self, value, schema, key, site)

    def write(self, value: Any) -> None:
        """Send one value to the `custom` stream."""
        self.alive()
        emit = self.run.emitter(Custom)
        if emit is not None and not self.fenced:
            emit(Custom(self.run.ns_path, self.run.step, value))

    def tool(self, data: dict[str, Any]) -> None:
        """Send what happens to a call of a tool to the `tools` stream."""
        self.alive()
        emit = self.run.emitter(ToolCalled)
        if emit is not None and not self.fenced:
            emit(ToolCalled(self.run.ns_path, self.run.step, data))

    def message(self, message: Any, about: dict[str, Any] | None = None) -> None:
        """Send one message, or a piece of one, to the `messages` stream."""
        self.alive()
        if not self.fenced:
            self.tell(message, about)

    def tell(self, message: Any, about: dict[str, Any] | None = None) -> None:
        """Emit the event of a message; its metadata are where the code is, and `about`."""
        emit = self.run.emitter(Message)
        if emit is not None:
            self.run.root.told.add(message.id)
            metadata = {**self.config().get("metadata", {}), "checkpoint_ns": self.child_ns(), **(about or {})}
            emit(Message(self.run.ns_path, self.run.step, message, metadata))

    def tell_new(self, values: Iterable[Any]) -> None:
        """Tell the messages among values that are new here and were not told while the code was running."""
        told = self.run.root.told
        new = [m for m in messages_in(values) if m.id is None or m.id not in told]
        if new:
            known = {m.id for arg in self.args for m in messages_in(values_of(arg)) if m.id is not None}
            for message in new:
                if message.id not in known and message.type != "remove":
                    self.tell(message)

    def push(self, key: str, value: Any) -> None:
        """Add to the update of the node that this code belongs to, if its state has such a key.

        Raises:
            InvalidUpdateError: it has none, or one that is replaced by what is written; `messages` may be missing.
        """
        spec = self.run.spec
        if key in spec.keys and isinstance(spec.channels[key], Folding):
            self.take_pushed([(key, value)])
        elif key != "messages":
            raise InvalidUpdateError(
                f"'{self.name}' cannot push to '{key}': push_message(state_key=...) takes a key of the state of "
                f"'{spec.name}' that has a reducer, or None." + did_you_mean(key, spec.keys)
            )

    def take_pushed(self, writes: list[Write]) -> None:
        """Add what was pushed here, or in a task that this code has called."""
        if not self.fenced:
            self.pushed = [*(self.pushed or ()), *writes]

    def alive(self) -> None:
        """Note a sign of life, for idle timeouts that count every sign."""
        if self.timeout is not None and self.timeout.refresh_on == "auto":
            self.seen = time.monotonic()

    def heartbeat(self) -> None:
        """Note an explicit sign of life."""
        self.seen = time.monotonic()

    def previous(self) -> Any:
        """Return what the entrypoint saved in its last run on the thread."""
        return self.run.previous()

    def config(self) -> RunnableConfig:
        """Return the config as this code should see it: the caller's, and where the code is."""
        run, given = self.run, self.run.config
        where = {"checkpoint_ns": self.child_ns(), "thread_id": run.root.thread_id}
        known = {key: value for key, value in where.items() if value is not None}
        metadata = {
            **given.get("metadata", {}),
            **(self.metadata or {}),
            **({"thread_id": run.root.thread_id} if run.root.thread_id is not None else {}),
            "langgraph_step": run.step,
            "langgraph_node": self.name,
            "langgraph_triggers": self.triggers,
            "langgraph_path": self.public_path,
            "langgraph_checkpoint_ns": self.child_ns(),
        }
        configurable = {**given.get("configurable", {}), **known}
        own = {"configurable": configurable, "metadata": metadata, "recursion_limit": run.limit}
        if "tags" in given:
            own["tags"] = list(given["tags"])
        return cast(RunnableConfig, {**given, **own})

    def child_ns(self) -> str:
        """Return the namespace that runs nested in this task begin with."""
        own = f"{self._stored_name()}{NS_END}{self.id}"
        return f"{self.run.ns}{NS_SEP}{own}" if self.run.ns else own

    def _stored_name(self) -> str:
        """Return the name that the task had when it began: another one than now, when it was renamed meanwhile."""
        before = self.run.spec.past.old_names(self.name)
        return next((name for name in before if name in self.path[-2:]), self.name)

    @property
    def public_path(self) -> Path:
        """The place within the superstep, as snapshots and metadata show it."""
        return ("__pregel_push", self.path[-1], True)

    def runtime(self) -> Runtime[Any]:
        """Return what the run offers to this code."""
        run = self.run
        info = ExecutionInfo(
            checkpoint_id=run.checkpoint_id,
            checkpoint_ns=self.child_ns(),
            task_id=self.id,
            thread_id=run.root.thread_id,
            run_id=run.id,
            node_attempt=self.attempt,
            node_first_attempt_time=self.first or None,
        )
        return Runtime(
            context=run.context,
            store=run.store,
            stream_writer=self.write,
            heartbeat=self.heartbeat,
            previous=self.previous(),
            execution_info=info,
            control=run.control,
        )

    # ------------------------------------------------------------------ events

    def emit_started(self) -> None:
        """Tell that the task begins."""
        emit = self.run.emitter(TaskStarted)
        if emit is not None:
            run = self.run
            input = own(self.shown_input)
            emit(TaskStarted(run.ns_path, run.step, self.path, self.name, input, self.triggers, self.metadata))

    @property
    def shown_input(self) -> Any:
        """The input as `tasks` events show it."""
        return self.args, self.kwargs

    def emit_finished(
        self,
        writes: list[Write],
        error: BaseException | None = None,
        interrupts: tuple[Interrupt, ...] = (),
        *,
        plain: bool = True,
    ) -> None:
        """Tell how the task ended."""
        emit = self.run.emitter(TaskFinished)
        if emit is not None:
            run, trace, writes = self.run, self.trace_outputs, isolate(list(writes))
            event = TaskFinished(
                run.ns_path, run.step, self.path, self.name, writes, plain, error, interrupts, self.cached, trace
            )
            emit(event)


class CallTask(Task):
    """A call of a task function.

    Attributes:
        caller: the task whose code made it.
        hidden: whether streams leave it out.
        digest: of the arguments as they were when it was made; of one that is never put on record it is empty.
    """

    caller: Task
    digest: str = ""
    hidden: bool = False

    @property
    def id(self) -> str:
        if self._id is None:
            self._id = id_below(self.caller.begun_ids(), self.path[-2], self.path[-1])
        return self._id

    def emit_started(self) -> None:
        if not self.hidden:
            super().emit_started()

    def emit_finished(self, *args: Any, **kwargs: Any) -> None:
        if not self.hidden:
            super().emit_finished(*args, **kwargs)

    def failed(self, error: BaseException) -> None:
        """Note that the call has failed, and that this is on record."""
        self.run.failures.append(Failure(self.run, self.id, error, self.path, self.caller, self.caller.started))

    def emit_outcome(self, result: Any) -> None:
        """Tell the call's result."""
        if TaskFinished in self.run.log.wants:
            self.emit_finished([(RETURN, result)])
        if Message in self.run.log.wants and not self.hidden:
            self.tell_new([result])


class NodeTask(Task):
    """A node of a superstep.

    Attributes:
        writes: what it writes, once it has finished.
        error: why it has failed.
        interrupts: the questions it waits for; empty when a graph nested in it stopped at a breakpoint.
        solo: whether it is alone in its superstep, so that its outcome is recorded with the checkpoint itself.
    """

    writes: list[Write] | None = None
    error: BaseException | None = None
    interrupts: tuple[Interrupt, ...] | None = None
    solo = False
    node: NodeSpec
    triggers: tuple[str, ...]

    def __init__(self, run: Run, node: NodeSpec, path: Path, input: Any, triggers: tuple[str, ...]) -> None:
        super().__init__(run, node.name, path, node.action, (input,), {}, node.retry, node.cache, node.timeout)
        self.node, self.triggers = node, triggers

    def args_of_attempt(self) -> tuple[Any, ...]:
        return tuple(map(own, self.args))

    @property
    def public_path(self) -> Path:
        kind, *rest = self.path[3:]
        return ("__pregel_pull", *rest) if kind == "pull" else ("__pregel_push", rest[0], False)

    @property
    def metadata(self) -> dict[str, Any] | None:  # type: ignore[override]
        return self.node.metadata

    @property
    def trace_outputs(self) -> Callable[[Any], Any] | None:  # type: ignore[override]
        return self.node.trace.process_outputs if self.node.trace is not None else None

    @property
    def shown_input(self) -> Any:
        trace, input = self.node.trace, self.args[0]
        return input if trace is None or trace.process_inputs is None else trace.process_inputs(input)

    @property
    def has_failed(self) -> bool:
        """Whether it has failed; commands for the graph around, which are carried as errors, are no failure."""
        return self.error is not None and not isinstance(self.error, ParentCommand)

    @property
    def visible(self) -> list[Write]:
        """The writes that a consumer sees: those of state keys."""
        shared = self.run.spec.shared
        return [write for write in self.writes or () if write[0] in shared]

    @property
    def stored_id(self) -> str | None:
        """The id that a checkpoint holds: none where it follows from the rest (see `TaskWrites`)."""
        return None if self.path[3:] == ("pull", self.name) else self.id

    @property
    def stored(self) -> list[Write]:
        """The writes that a checkpoint holds: what consumers see, without what is never stored."""
        kept = self.run.spec.kept
        return [write for write in self.writes or () if write[0] in kept]

    @property
    def storable(self) -> bool:
        """Whether the outcome can be put on record; one that holds what is never stored has to be made again."""
        channels = self.run.spec.channels
        return all(channels[name].saved for name, _ in self.writes or ())

    def emit_started(self) -> None:
        if TaskStarted in self.run.log.wants and not self.node.hidden:
            super().emit_started()

    def emit_outcome(self) -> None:
        """Tell how the node ended."""
        if TaskFinished in self.run.log.wants and not self.node.hidden:
            node = self.node
            self.emit_finished(self.visible, self.error, self.interrupts or (), plain=node.plain)
        if Message in self.run.log.wants and not self.node.hidden:
            self.tell_new(value for _, value in self.visible)


def build(path: Path, make: Callable[[Any], Any], source: Any) -> Any:
    """Make a node's input; an error names the node."""
    try:
        return make(source)
    except Exception as error:
        error.add_note(f"Before task with name '{path[-1]}' and path {path[3:]}")
        raise


def pull(run: Run, node: NodeSpec, triggers: tuple[str, ...]) -> NodeTask:
    """Make the task of a node whose trigger was updated."""
    path = (run.root.id, run.ns, run.step, "pull", run.alias.get(node.name, node.name) if run.alias else node.name)
    view = run.state.view
    input = build(path, node.read, run.with_managed(node, view) if node.managed else view)
    return NodeTask(run, node, path, input, triggers)


def push(run: Run, node: NodeSpec, index: int, packet: Send) -> NodeTask:
    """Make the task of a `Send`."""
    path = (run.id, run.ns, run.step, "push", index, run.alias.get(node.name, node.name))
    input = own(packet.arg)  # several packets may have one payload
    if node.coerce is not None:
        input = build(path, node.coerce, input)
    task = NodeTask(run, node, path, input, Task.triggers)
    if packet.timeout is not None:
        task.timeout = TimeoutPolicy.of(packet.timeout)
    return task
