"""One run of a program, and what all runs of one thread share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.format import Checkpoint, Place, Record, Source, decode_record
from twinstep.checkpoint.rows import RecordRow
from twinstep.constants import DEFAULT_THREADS, NS_SEP, PREVIOUS
from twinstep.ids import new_id
from twinstep.pregel.growth import Growth
from twinstep.pregel.spec import NodeSpec, ProgramSpec, View
from twinstep.pregel.state import State
from twinstep.runtime import RunControl
from twinstep.scope import Scope
from twinstep.serde import Serializer
from twinstep.stream import SILENT, EventLog
from twinstep.stream.events import Write
from twinstep.types import Durability, Mismatch, RunnableConfig

if TYPE_CHECKING:
    from twinstep.pregel.workers import Slots


Position = tuple[Any, ...]
"""Where a question is asked: the same at every resume, and in a fork."""


class Root:
    """What a run shares with all runs nested in it: one thread, one claim on it, one set of workers.

    Attributes:
        id: the run's id; a resumed run keeps it.
        broken: the first write that failed; nothing is started or written after it.
        epoch: the thread's epoch as of our claim.
        answers: those given in the open superstep, by the position of the question.
        positions: where the questions of this process were asked, by id.
        loop: the event loop of the asynchronous driver, for code that is reached through threads.
        gate: limits how many coroutines work at once; set by the asynchronous driver when there is a limit.
        slots: limits how many tasks work at once; made by the first driver that needs it.
    """

    __slots__ = ("answers", "broken", "epoch", "gate", "id", "limit", "loop", "positions", "slots", "thread_id")

    def __init__(self, id: str, thread_id: str | None, limit: int | None) -> None:
        self.id, self.thread_id = id, thread_id
        self.epoch = 0
        self.broken: BaseException | None = None
        self.answers: dict[Position, Any] = {}
        self.positions: dict[str, Position] = {}
        self.loop: Any = None
        self.limit = limit
        self.slots: Slots | None = None
        self.gate: Any = None

    def workers(self) -> Slots:
        """Return the workers of this run."""
        if self.slots is None:
            from twinstep.pregel.workers import Slots  # threads are made only for programs that need them

            # on an event loop, the thread of the loop does no work of its own
            self.slots = Slots(self.limit or DEFAULT_THREADS, held=self.loop is None)
        return self.slots


class Failure(NamedTuple):
    """A failure that is on record.

    Attributes:
        run, id: the run it happened in, and the id of its record there.
        path: of the task that failed.
        caller: the task that had started it, and how much that one had started by then.
    """

    run: Run
    id: str
    error: BaseException
    path: tuple[Any, ...]
    caller: Scope
    started: int

    def is_last(self) -> bool:
        """Tell whether its caller has started nothing since, so that nothing on record can depend on it."""
        return self.caller.started == self.started


class Run:
    """One execution of a program: of the root graph or entrypoint, or of one nested in a task.

    Attributes:
        ns: checkpoint namespace; `""` for the root.
        parent: the task this run is nested in.
        state: the channels, once opened.
        token: tells the saver which of its process's runs works on the thread.
        step: number of the superstep that runs or ran last.
        checkpoint_id: the checkpoint that superstep started from.
        row_step: number of the last superstep that is applied.
        row_source: what made the state that the last applied superstep left.
        written: what the nodes of a nested run have written to state keys; kept: how much of it is stored.
        growth: how the lists of the state were last stored.
        before: the checkpoint before the one of `checkpoint_id`.
        last: the checkpoint the state was read from.
        parent_checkpoint: the last checkpoint of the lineage that is stored.
        head: the checkpoint the namespace stands at in the journal.
        info: facts about the run that are kept beside the head.
        base, weight: where replay of that checkpoint starts, and how much it reads (see `journal`).
        records: outcomes of this superstep that are on record, by task id; decoded when they are needed.
        unsaved: records that are written with the next commit.
        failures: those on record, of this run and of the runs nested in it.
        lost: errors of tasks that nobody has seen, because the task that had started them failed.
        forget: records that the next commit removes.
        memory: keep outcomes of tasks for a retry, although nothing is stored.
        show: makes the values of `values` chunks.
    """

    __slots__ = (
        "base", "before", "cache", "checkpoint_id", "config", "context", "control", "durability",
        "failures", "forget", "growth", "head", "info", "interrupt_after", "interrupt_before", "kept",
        "last", "limit", "log", "lost", "memory", "mismatch", "ns", "ns_path", "parent",
        "parent_checkpoint", "place", "records", "root", "row_source", "row_step", "saver", "show", "spec",
        "state", "step", "stop_step", "store", "token", "unsaved", "weight", "written",
    )  # fmt: skip

    def __init__(
        self,
        spec: ProgramSpec,
        config: RunnableConfig,
        *,
        root: Root | None = None,
        parent: Scope | None = None,
        thread_id: str | None = None,
        ns: str = "",
        saver: Journal | None = None,
        store: Any = None,
        cache: Any = None,
        context: Any = None,
        log: EventLog = SILENT,
        control: RunControl | None = None,
        durability: Durability = "async",
        mismatch: Mismatch = "error",
        limit: int,
        interrupt_before: Sequence[str] = (),
        interrupt_after: Sequence[str] = (),
        memory: bool = False,
        show: Callable[[View], Any] | None = None,
    ) -> None:
        self.spec, self.config, self.parent, self.ns = spec, config, parent, ns
        self.root = root or Root(str(config.get("run_id") or new_id()), thread_id, config.get("max_concurrency"))
        self.token = self.root.id
        self.ns_path: tuple[str, ...] = tuple(ns.split(NS_SEP)) if ns else ()
        self.saver, self.store, self.cache, self.context = saver, store, cache, context
        self.log, self.control, self.durability, self.mismatch = log, control, durability, mismatch
        self.limit, self.interrupt_before, self.interrupt_after = limit, interrupt_before, interrupt_after
        self.memory = memory
        self.show = show or spec.stream
        self.place = Place(self.root.thread_id or "", ns)
        self.state: State = None  # type: ignore[assignment]  # set when the run is opened, before any task exists
        self.step, self.stop_step = -2, 0
        self.checkpoint_id: str | None = None
        self.head: str | None = None
        self.parent_checkpoint: str | None = None
        self.growth = Growth(self.serde)
        self.row_step = self.step
        self.before: str | None = None
        self.last: Checkpoint | None = None
        self.base: str | None = None
        self.info: bytes | None = None
        self.weight = (0, 0)
        self.records: dict[str, RecordRow | Record] = {}
        self.unsaved: list[RecordRow] = []
        self.written: list[Write] = []
        self.kept = 0
        self.row_source: Source = "input"
        self.failures: list[Failure] = []
        self.lost: list[BaseException] = []
        self.forget: list[str] = []

    @property
    def serde(self) -> Serializer:
        """What turns values into bytes."""
        return self.saver.serde if self.saver is not None else Serializer()

    @property
    def id(self) -> str:
        """The id of the run, shared by all runs nested in it."""
        return self.root.id

    def recall(self, id: str) -> Record | None:
        """Return what is on record for a task."""
        row = self.records.get(id)
        if row is None or isinstance(row, Record):
            return row
        assert self.saver is not None
        return decode_record(self.saver.serde, self.place, row)

    def with_managed(self, node: NodeSpec, view: View) -> View:
        """Return a view with the keys that the engine fills in for a node."""
        if not node.managed:
            return view
        remaining = self.stop_step - self.step + 1
        return {**view, **{key: value.read(remaining) for key, value in node.managed}}

    def previous(self) -> Any:
        """Return what an entrypoint saved in its last run on the thread."""
        channel = self.state.channels.get(PREVIOUS)
        return channel.get() if channel is not None and channel.is_available() else None

    def emitter(self, kind: type) -> Callable[[Any], None] | None:
        """Return the function that emits events of a kind, or None when nobody listens to them."""
        return self.log.emit if kind in self.log.wants else None
