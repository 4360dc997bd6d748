"""Looking into threads and changing them from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from twinstep.checkpoint import validate
from twinstep.checkpoint.base import Journal
from twinstep.checkpoint.validate import address
from twinstep.constants import DEFAULT_RECURSION_LIMIT, NS_END, NS_SEP
from twinstep.errors import NoCheckpointerError, ProgramChangedError
from twinstep.pregel import drive_sync
from twinstep.pregel.compiled import Compiled, merged
from twinstep.pregel.effects import Program
from twinstep.pregel.journal import read_state
from twinstep.pregel.run import Run
from twinstep.pregel.snapshot import Follower, due_tasks, get_older, get_state
from twinstep.pregel.spec import ProgramSpec
from twinstep.pregel.update import update_state
from twinstep.types import RunnableConfig, StateSnapshot, StateUpdate
from twinstep.typing import ContextT, InputT, OutputT, StateT

AnyCompiled = Compiled[Any, Any, Any, Any]


class ThreadAccess(Compiled[StateT, ContextT, InputT, OutputT]):
    """The threads of a compiled program: their states, their history, updates from outside."""

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return a thread's state: the latest, or that of the `checkpoint_id` in the config.

        Raises:
            NoCheckpointerError: there is no checkpointer.
            CheckpointNotFoundError: the checkpoint does not exist.
        """
        return drive_sync.settle(self._state_program(config, subgraphs))  # type: ignore[no-any-return]

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Do what `get_state` does, on the running event loop."""
        return await _asettle(self._state_program(config, subgraphs))  # type: ignore[no-any-return]

    def _state_program(self, config: RunnableConfig, subgraphs: bool) -> Program[StateSnapshot]:
        run, checkpoint_id, graph = self._reader(config)
        nested = _Nested(self, graph, run.place.thread_id, config)
        return get_state(run, checkpoint_id, config, nested, subgraphs=subgraphs)

    def get_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Yield a thread's states, newest first; each is read when it is asked for.

        Args:
            filter: metadata that the states must have.
            before: config of a checkpoint; only older ones are shown.
            limit: how many at most.
        """
        pages = _History(self, config, filter, before, limit)
        while pages.wants_more():
            yield from pages.take(drive_sync.settle(pages.program()))

    async def aget_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """Do what `get_state_history` does, on the running event loop."""
        pages = _History(self, config, filter, before, limit)
        while pages.wants_more():
            for snapshot in pages.take(await _asettle(pages.program())):
                yield snapshot

    def update_state(
        self, config: RunnableConfig, values: Any, as_node: str | None = None, task_id: str | None = None
    ) -> RunnableConfig:
        """Write to a thread as if a node had returned `values`, and return the new checkpoint's config.

        Args:
            as_node: the node; its edges decide what is due next. None: the last one that ran, if it is clear which.
        """
        return self.bulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    async def aupdate_state(
        self, config: RunnableConfig, values: Any, as_node: str | None = None, task_id: str | None = None
    ) -> RunnableConfig:
        """Do what `update_state` does, on the running event loop."""
        return await self.abulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        """Write several supersteps of updates, one checkpoint each, and return the last one's config."""
        run, checkpoint_id, _ = self._reader(config)
        return drive_sync.settle(update_state(run, checkpoint_id, supersteps))  # type: ignore[no-any-return]

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """Do what `bulk_update_state` does, on the running event loop."""
        run, checkpoint_id, _ = self._reader(config)
        return await _asettle(update_state(run, checkpoint_id, supersteps))  # type: ignore[no-any-return]

    def check_threads(self) -> Iterator[tuple[RunnableConfig, ProgramChangedError]]:
        """Yield the threads that this program cannot go on with, each with what it lacks for that.

        Run it before a new version of a program meets the threads of the old one. Calls of tasks are not looked at:
        which of them the code makes again shows only when it runs.
        """
        saver = self._saver()
        for thread_id, spaces in saver.threads():
            due: set[str] = set()
            for ns in sorted(spaces):
                first = ns.partition(NS_SEP)[0].partition(NS_END)
                if first[1] and first[2] not in due:
                    continue  # of a task that has ended
                config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns}}
                try:
                    run, _, _ = self._reader(config)
                    loaded = saver.load(thread_id, ns)
                    read_state(run, loaded)
                    head = loaded.head
                    if head is not None and not ns:
                        due = {id for id, _, _ in due_tasks(run, run.step + 1, head.run)}
                    run.check_present(resumed=head is not None and head.status != "done")
                except ProgramChangedError as error:
                    yield config, error

    def _saver(self) -> Journal:
        saver = self.journal()
        if saver is None:
            raise NoCheckpointerError(
                f"No checkpointer set: '{self.name}' keeps no state to look into. Pass one to "
                "compile(checkpointer=...) or entrypoint(checkpointer=...)."
            )
        return saver

    def _reader(self, config: RunnableConfig) -> tuple[Run, str | None, Compiled[Any, Any, Any, Any]]:
        """Make a run that reads what a config addresses, with the (possibly nested) graph that wrote it."""
        self._saver()
        config = merged(self.config, config)
        thread_id, ns, checkpoint_id = address(config)
        graph: Compiled[Any, Any, Any, Any] = self
        for level in ns.split("|") if ns else ():
            if not level.isdigit():  # a digit counts the calls of one task
                graph = graph.child(level.partition(":")[0])
        return _reader(self, graph.spec, thread_id, ns, config), checkpoint_id, graph


class _Nested:
    """The runs nested in the nodes of a graph, for reading (see `snapshot.Children`)."""

    def __init__(self, root: AnyCompiled, graph: AnyCompiled, thread_id: str, config: RunnableConfig) -> None:
        self._root, self._graph, self._thread, self._config = root, graph, thread_id, config
        self._found: dict[str, Any] = dict(graph.get_subgraphs())

    def find(self, node: str) -> _Nested | None:
        """Return the graph nested in a node."""
        child = self._found.get(node)
        return None if child is None else _Nested(self._root, child, self._thread, self._config)

    def run(self, ns: str) -> Run:
        """Make a reader of a namespace that this graph wrote."""
        return _reader(self._root, self._graph.spec, self._thread, ns, self._config)


def _reader(
    graph: Compiled[Any, Any, Any, Any], spec: ProgramSpec, thread_id: str, ns: str, config: RunnableConfig
) -> Run:
    """Make a run that only reads or edits one namespace of a thread of a graph."""
    return Run(spec, config, thread_id=thread_id, ns=ns, saver=graph.journal(), limit=DEFAULT_RECURSION_LIMIT)


class _History:
    """A thread's states, read one by one."""

    def __init__(
        self,
        graph: ThreadAccess[Any, Any, Any, Any],
        config: RunnableConfig,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> None:
        self._graph, self._config = graph, config
        self._filter, self._before = validate.metadata_filter(filter), validate.before(before)
        self._left, self._ended = validate.limit(limit), False
        self._follower: Follower | None = None

    def wants_more(self) -> bool:
        return not self._ended and (self._left is None or self._left > 0)

    def program(self) -> Program[Any]:
        run, _, _ = self._graph._reader(self._config)
        return get_older(run, self._before, self._follower)

    def take(self, found: Any) -> Iterator[StateSnapshot]:
        if found is None:
            self._ended = True
            return
        snapshot, self._follower = found
        self._before = self._follower.checkpoint.id if self._follower else None
        metadata = snapshot.metadata or {}
        if all(key in metadata and metadata[key] == value for key, value in self._filter.items()):
            self._left = None if self._left is None else self._left - 1
            yield snapshot


async def _asettle(program: Program[Any]) -> Any:
    from twinstep.pregel import drive_async

    return await drive_async.settle(program)
