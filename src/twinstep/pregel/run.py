"""One run of a program, and what all runs of one thread share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.format import Checkpoint, Place, Position, Record, Shelf, Source
from twinstep.checkpoint.rows import CheckpointRow, RecordRow
from twinstep.checkpoint.validate import identifier
from twinstep.constants import CONFLICT_TIMEOUT, DEFAULT_THREADS, NS_SEP, PREVIOUS, TASKS
from twinstep.ids import new_id
from twinstep.pregel.growth import Growth
from twinstep.pregel.isolation import own
from twinstep.pregel.kept import KeptState
from twinstep.pregel.lineage import Lineage
from twinstep.pregel.spec import NodeSpec, Preview, ProgramSpec, View
from twinstep.pregel.state import State
from twinstep.runtime import RunControl
from twinstep.scope import Scope
from twinstep.serde import Serializer
from twinstep.stream import SILENT, EventLog
from twinstep.stream.events import Write
from twinstep.types import Durability, Mismatch, OnConflict, RunnableConfig

if TYPE_CHECKING:
    from concurrent.futures import Future

    from twinstep.pregel.workers import Slots


PLAIN = Serializer()
"""Encodes values of runs that are not stored, for comparing them."""
QUICK = 0.0002
"""Seconds that a superstep has to take for a thread to be given the write beside it."""
QUESTIONS = "questions:"
"""Begins the id of the record of a task's questions."""


class Root:
    """What a run shares with all runs nested in it: one thread, one claim on it, one set of workers.

    Attributes:
        id: the run's id; a resumed run keeps it.
        broken: the first write that failed; nothing is started or written after it.
        pending: the end of the write that goes on beside the superstep that runs.
        begun: when the last write was that could be beside a superstep; 0 once that superstep has ended.
        worked: seconds from then to its end, if it was one node.
        epoch: the thread's epoch as of our claim.
        answers: those given in the open superstep, by the position of the question; asked: these questions, as text.
        recorded: what was on record of it when the run was resumed, besides outcomes.
        positions: where the questions of this process were asked, by id.
        base: the checkpoint the root was opened at.
        targets: checkpoints that nested runs go back to, by the namespaces that they had; former_id: their run.
        moved: new checkpoints of nested graphs that remember, by namespace.
        loop: the event loop of the asynchronous driver, for code that is reached through threads.
        told: ids of messages that the `messages` stream has shown.
        gate: limits how many coroutines work at once; set by the asynchronous driver when there is a limit.
        slots: limits how many tasks work at once; made by the first driver that needs it.
    """

    __slots__ = (
        "answers",
        "asked",
        "base",
        "begun",
        "broken",
        "epoch",
        "former_id",
        "gate",
        "id",
        "limit",
        "loop",
        "moved",
        "pending",
        "positions",
        "recorded",
        "slots",
        "targets",
        "thread_id",
        "told",
        "worked",
    )
    id: str
    thread_id: str | None

    def __init__(self, id: str, thread_id: str | None, limit: int | None) -> None:
        self.id, self.thread_id = id, thread_id
        self.epoch: int = 0
        self.broken: BaseException | None = None
        self.pending: Future[None] | None = None
        self.begun: float = 0.0
        self.worked: float = inf
        self.answers: dict[Position, Any] = {}
        self.asked: dict[Position, str] = {}
        self.recorded: Sequence[Record] = ()
        self.positions: dict[str, Position] = {}
        self.base: str | None = None
        self.targets: dict[str, str] = {}
        self.former_id: str | None = None
        self.moved: dict[str, str] = {}
        self.loop: Any = None
        self.limit: int | None = limit
        self.slots: Slots | None = None
        self.gate: Any = None
        self.told: set[str | None] = set()

    def note_end(self, write: Future[None]) -> None:
        """Take note of a write that has failed, so that nothing more is started."""
        error = None if write.cancelled() else write.exception()
        if error is not None and self.broken is None:
            self.broken = error

    def note_write(self) -> None:
        """Take note of a write that may be, or could have been, beside the next superstep."""
        self.begun = perf_counter()

    def note_work(self) -> None:
        """Take note that a superstep of one node has ended."""
        if self.begun:
            self.worked, self.begun = perf_counter() - self.begun, 0.0

    def is_quick(self) -> bool:
        """Tell whether the superstep before was over so soon that the write now may as well be waited for."""
        worked, self.worked = self.worked, inf
        return worked < QUICK

    def workers(self) -> Slots:
        """Return the workers of this run."""
        if self.slots is None:
            from twinstep.pregel.workers import Slots  # threads are made only for programs that need them

            # on an event loop, the thread of the loop does no work of its own
            self.slots = Slots(self.limit or DEFAULT_THREADS, held=self.loop is None)
        return self.slots


class Former(NamedTuple):
    """A superstep that another run ran before: that run, its namespace, the superstep's number then and now."""

    run: str
    ns: str
    step: int
    now: int


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


@dataclass(slots=True, eq=False)
class Run:
    """One execution of a program: of the root graph or entrypoint, or of one nested in a task.

    Attributes:
        blocked: event loops that cannot go on before it has ended, since it is driven synchronously in their threads.
        ns: checkpoint namespace; `""` for the root.
        parent: the task this run is nested in.
        remembers: whether it is one lineage for the whole thread, which the next call goes on with.
        goal: namespace and id of the nested checkpoint that a root goes back to.
        former: the superstep that it repeats, having gone back to a checkpoint.
        state: the channels, once opened.
        token: tells the saver which of its process's runs works on the thread.
        step: number of the superstep that runs or ran last.
        checkpoint_id: the checkpoint that superstep started from.
        row_step: number of the last superstep that is applied.
        row_source: what made the state that the last applied superstep left.
        written: what the nodes of a nested run have written to state keys; kept: how much of it is stored.
        serde: turns values into bytes.
        growth: how the lists of the state were last stored.
        before: the checkpoint before the one of `checkpoint_id`.
        last: the checkpoint the state was read from.
        warm: what is kept in memory of the head; keeps_head: whether what is read is kept.
        changed: the channels that changed since.
        parent_checkpoint: the last checkpoint of the lineage that is stored.
        head: the checkpoint the namespace stands at in the journal.
        info: facts about the run that are kept beside the head.
        lineage: how that checkpoint is read back.
        foreign: names of the channels that are stored and do not exist in the program.
        due: names of the channels that were updated when the state was stored.
        gone: names of the channels that are stored and exist under another name, or no more.
        alias: the names that nodes of the open superstep had when it began, by the names they have now.
        edited: whether somebody has changed its state from outside while the superstep was open.
        records: outcomes of this superstep that are on record, by task id; decoded when they are needed.
        last_shelf: see `shelf`.
        pushed: whether there is a record of what a call has pushed to the state of its node.
        unused: ids of the outcomes that were on record when the run was resumed and have not been asked for again.
        doubtful: ids of the outcomes that were put on record while there were unused ones.
        unsaved: records that are written with the next commit.
        waiting: the checkpoint of the input, when it is stored with the next one; its claim is made then too.
        failures: those on record, of this run and of the runs nested in it.
        lost: errors of tasks that nobody has seen, because the task that had started them failed.
        forget: records that the next commit removes.
        memory: keep outcomes of tasks for a retry, although nothing is stored.
        step_timeout, step_ends: seconds a superstep may take, and the time at which the one that runs has to end.
        latest: the values when an output key was last written, where these may vanish.
        unwanted: whether it was cancelled because of a failure while a thread could not be stopped.
        show: makes the values of `values` chunks.
    """

    spec: ProgramSpec
    config: RunnableConfig
    _: KW_ONLY
    limit: int
    root: Root = None  # type: ignore[assignment]  # made below when it is not given
    parent: Scope | None = None
    thread_id: InitVar[str | None] = None
    ns: str = ""
    saver: Journal | None = None
    store: Any = None
    cache: Any = None
    context: Any = None
    log: EventLog = SILENT
    control: RunControl | None = None
    durability: Durability = "async"
    mismatch: Mismatch = field(default="error", init=False)
    on_conflict: OnConflict = field(default="error", init=False)
    conflict_timeout: float | None = field(default=CONFLICT_TIMEOUT, init=False)
    interrupt_before: Sequence[str] = ()
    interrupt_after: Sequence[str] = ()
    show: Callable[[View], Any] = field(default=None, init=False)  # type: ignore[assignment]  # the specification's when it is not given
    memory: bool = field(default=False, init=False)
    step_timeout: float | None = field(default=None, init=False)
    step_ends: float | None = field(default=None, init=False)
    latest: View | None = field(default=None, init=False)
    unwanted: bool = field(default=False, init=False)

    blocked: tuple[Any, ...] = field(default=(), init=False)
    token: str = field(init=False)
    ns_path: tuple[str, ...] = field(init=False)
    place: Place = field(init=False)
    serde: Serializer = field(init=False)
    growth: Growth = field(init=False)
    state: State = field(init=False)
    step: int = field(default=-2, init=False)
    stop_step: int = field(default=0, init=False)
    checkpoint_id: str | None = field(default=None, init=False)
    row_step: int = field(default=-2, init=False)
    row_source: Source = field(default="input", init=False)
    written: list[Write] = field(default_factory=list, init=False)
    kept: int = field(default=0, init=False)
    before: str | None = field(default=None, init=False)
    last: Checkpoint | None = field(default=None, init=False)
    warm: KeptState | None = field(default=None, init=False)
    keeps_head: bool = field(default=False, init=False)
    changed: set[str] = field(default_factory=set, init=False)
    parent_checkpoint: str | None = field(default=None, init=False)
    head: str | None = field(default=None, init=False)
    info: bytes | None = field(default=None, init=False)
    lineage: Lineage = field(init=False)
    foreign: Collection[str] = field(default=(), init=False)
    due: Collection[str] = field(default=(), init=False)
    gone: Collection[str] = field(default=(), init=False)
    alias: Mapping[str, str] = field(default_factory=dict, init=False)
    remembers: bool = field(default=False, init=False)
    edited: bool = field(default=False, init=False)
    former: Former | None = field(default=None, init=False)
    goal: tuple[str, str] | None = field(default=None, init=False)
    records: dict[str, RecordRow | Record] = field(default_factory=dict, init=False)
    last_shelf: Shelf | None = field(default=None, init=False)
    pushed: bool = field(default=False, init=False)
    unused: set[str] = field(default_factory=set, init=False)
    doubtful: list[str] = field(default_factory=list, init=False)
    unsaved: list[RecordRow] = field(default_factory=list, init=False)
    waiting: CheckpointRow | None = field(default=None, init=False)
    failures: list[Failure] = field(default_factory=list, init=False)
    lost: list[BaseException] = field(default_factory=list, init=False)
    forget: list[str] = field(default_factory=list, init=False)

    def __post_init__(self, thread_id: str | None) -> None:
        if self.root is None:
            given = self.config.get("run_id")
            id = identifier(given, "run_id") if given else new_id()
            self.root = Root(id, thread_id, self.config.get("max_concurrency"))
        if self.parent is not None:
            self.blocked = self.parent.run.blocked
        self.token = self.root.id
        self.ns_path = tuple(self.ns.split(NS_SEP)) if self.ns else ()
        self.place = Place(self.root.thread_id or "", self.ns)
        self.serde = PLAIN
        if self.saver is not None:
            self.serde = self.saver.serde
            self.growth, self.lineage = Growth(self.serde.plain), Lineage()
        if self.show is None:
            self.show = self.spec.stream

    def reset(self) -> None:
        """Forget what was read and prepared: the run is to be opened anew."""
        root = self.root
        root.id, root.broken, root.pending, root.answers = self.token, None, None, {}
        self.step, self.checkpoint_id, self.before, self.last = -2, None, None, None
        self.parent_checkpoint, self.lineage, self.changed = None, Lineage(), set()
        self.records, self.unused, self.unsaved, self.forget = {}, set(), [], []

    def mark_edited(self) -> None:
        """Take over that somebody has changed the state: calls that differ because of it are made anew."""
        self.edited = True
        if self.mismatch == "error":
            self.mismatch = "rerun"

    @property
    def id(self) -> str:
        """The id of the run, shared by all runs nested in it."""
        return self.root.id

    @property
    def view(self) -> View:
        """The values that the result of the run is made from."""
        return self.state.view if self.latest is None else self.latest

    def note_output(self, writes: Iterable[Sequence[Write]]) -> None:
        """Keep the values for the result, when one of its keys was written."""
        keys = self.spec.output_keys
        if any(name == keys if isinstance(keys, str) else name in keys for task in writes for name, _ in task):
            self.latest = self.state.view.copy()

    @property
    def keeps(self) -> bool:
        """Whether the outcomes of calls are put on record."""
        return self.saver is not None or self.memory

    def recall(self, id: str) -> Record | None:
        """Return what is on record for a task."""
        row = self.records.get(id)
        if row is None or isinstance(row, Record):
            return row
        return self.shelf(row.checkpoint, row.run).decode(row)

    def shelf(self, checkpoint: str, run: str) -> Shelf:
        """Return what turns the records of a run at a checkpoint into rows and back; mostly that of the last time."""
        shelf = self.last_shelf
        if shelf is None or shelf.checkpoint != checkpoint or shelf.run != run:
            shelf = self.last_shelf = Shelf(self.serde, self.place, checkpoint, run)
        return shelf

    def with_managed(self, node: NodeSpec, view: View) -> View:
        """Return a view with the keys that the engine fills in for a node."""
        if not node.managed:
            return view
        remaining = self.stop_step - self.step + 1
        view = Preview(view)
        for key, value in node.managed:
            view[key] = value.read(remaining)
        return view

    def check_present(self, *, resumed: bool) -> None:
        """Check that the program has what the thread needs to go on, or to begin anew.

        Raises:
            ProgramChangedError: it has not.
        """
        due = self.due if resumed else ()
        packets = self.state.channels[TASKS].value if TASKS in due else ()
        self.spec.check_present(self.foreign, due, packets, self.place)

    def previous(self) -> Any:
        """Return what an entrypoint saved in its last run on the thread."""
        channel = self.state.channels.get(PREVIOUS)
        return own(channel.get()) if channel is not None and channel.is_available() else None

    def emitter(self, kind: type) -> Callable[[Any], None] | None:
        """Return the function that emits events of a kind, or None when nobody listens to them."""
        return self.log.emit if kind in self.log.wants else None
