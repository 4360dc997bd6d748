"""What users of a saver call: threads and checkpoints as they see them, on top of the rows of the journal."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

from twinstep.checkpoint import tidy, validate
from twinstep.checkpoint.format import (
    SET,
    UNSET,
    Place,
    Record,
    Source,
    decode_checkpoint,
    decode_record,
    encode_checkpoint,
    encode_info,
    encode_record,
    replay,
)
from twinstep.checkpoint.format import Checkpoint as Link
from twinstep.checkpoint.journal import Journal
from twinstep.checkpoint.rows import Commit, Edit, Loaded, Status
from twinstep.checkpoint.tuples import (
    RESUME,
    ChannelVersions,
    Checkpoint,
    CheckpointTuple,
    PendingWrite,
    config_of,
    timestamp,
)
from twinstep.constants import ERROR, INTERRUPT, RETURN
from twinstep.errors import CheckpointNotFoundError, InvalidConfigError, ThreadConflictError, did_you_mean
from twinstep.ids import new_id
from twinstep.types import RunnableConfig

S = TypeVar("S", bound=str)
Strategy = Literal["keep_latest", "delete"]

_SPECIAL = frozenset({ERROR, INTERRUPT, RESUME})
"""The channels whose pending write is replaced by a later one of the same task."""


class CheckpointAccess(Journal):
    """Reads, writes and tidies the checkpoints of threads.

    A config points to a thread by `config["configurable"]["thread_id"]`, to a namespace of it by `checkpoint_ns` (`""`,
    the root, if it is missing) and to a checkpoint by `checkpoint_id` (the latest, if it is missing). Every method has
    an asynchronous form whose name begins with `a`.
    """

    # ------------------------------------------------------------------ reading

    def get(self, config: RunnableConfig) -> Checkpoint | None:
        """Return the checkpoint a config points to, or None; errors as in `get_tuple`."""
        found = self.get_tuple(config)
        return found.checkpoint if found else None

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint a config points to with all that belongs to it, or None if there is none.

        Raises:
            InvalidConfigError: the config points to no thread.
            CheckpointCorruptError: what is stored is damaged.
        """
        thread_id, ns, id = validate.address(config)
        return self._tuple(Place(thread_id, ns), self.load(thread_id, ns, id))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: Mapping[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Iterate over checkpoints, newest first, reading them as they are asked for.

        Args:
            config: the thread; all its namespaces, unless it names one. None stands for all threads.
            filter: metadata that must be equal; a key that is missing equals nothing.
            before: only checkpoints older than the one this config points to.
            limit: at most so many.

        Raises:
            InvalidConfigError: an argument cannot be used; raised at once.
        """
        wanted, most = validate.metadata_filter(filter), validate.limit(limit)
        until, only = validate.before(before), None if config is None else validate.address(config).checkpoint_id
        places = self._places(config)
        ids: Iterator[tuple[str, Place]]
        if only is not None:
            ids = iter([(only, place) for place in places if until is None or only < until])
        else:
            ids = heapq.merge(*(self._ids(place, until) for place in places), key=lambda each: each[0], reverse=True)
        tuples = (self._tuple(place, self.load(*place, id)) for id, place in ids)
        return islice((each for each in tuples if each is not None and _matches(each.metadata, wanted)), most)

    def _places(self, config: RunnableConfig | None) -> Sequence[Place]:
        """Return the namespaces a config stands for in listings."""
        at = None if config is None else validate.address(config)
        if at is not None and config is not None and config.get("configurable", {}).get("checkpoint_ns") is not None:
            return [Place(at.thread_id, at.ns)]
        places = [Place(id, ns) for id, names in self.threads() if at is None or id == at.thread_id for ns in names]
        # a thread that seems to be empty is looked at: damage may hide it
        return places or ([] if at is None else [Place(at.thread_id, "")])

    def _ids(self, place: Place, before: str | None) -> Iterator[tuple[str, Place]]:
        return ((row.id, place) for row in tidy.newest_first(self, place, before))

    def _tuple(self, place: Place, loaded: Loaded) -> CheckpointTuple | None:
        """Put together what users see of a checkpoint."""
        if not loaded.rows:
            return None
        chain = [decode_checkpoint(self.serde, place, row) for row in loaded.rows]
        last, head = chain[-1], loaded.head
        metadata = {**last.metadata, "source": last.source, "step": last.step, "run_id": last.run}
        if head is not None and head.checkpoint == last.id:
            metadata["status"] = head.status
        records = [(row.id, decode_record(self.serde, place, row)) for row in loaded.records]
        checkpoint = Checkpoint(
            v=1,
            id=last.id,
            ts=timestamp(last.id),
            channel_values=replay(place, chain),
            channel_versions=_versions(chain),
            updated_channels=[*last.updated],
        )
        parent = config_of(*place, last.parent) if last.parent else None
        return CheckpointTuple(config_of(*place, last.id), checkpoint, metadata, parent, _pending(records))

    # ------------------------------------------------------------------ writing

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: Mapping[str, Any], new_versions: ChannelVersions
    ) -> RunnableConfig:
        """Store a checkpoint as the latest of its thread, and return the config that points to it.

        A run that works on the thread loses it (`ThreadConflictError`), as it does to any other writer.

        Args:
            config: the thread and namespace; its `checkpoint_id` becomes the parent.
            checkpoint: all channel values, under an id made by `twinstep.ids.new_id()`.
            metadata: `source`, `step`, `run_id`, `status`, and what else is to be kept.
            new_versions: not needed, as every value is stored; accepted so that callers need not change.

        Raises:
            InvalidConfigError: the config, the id or the metadata cannot be used.
            ThreadConflictError: another writer came in between.
        """
        thread_id, ns, parent = validate.address(config)
        place, extra = Place(thread_id, ns), dict(metadata)
        id = validate.checkpoint_id(checkpoint["id"], "checkpoint['id']")
        run = validate.identifier(extra.pop("run_id", None) or new_id(), "run_id")
        status = _one_of(get_args(Status), extra.pop("status", "done"), "metadata['status']")
        source = _one_of(get_args(Source), extra.pop("source", "update"), "metadata['source']")
        changes = {channel: [SET, value] for channel, value in checkpoint["channel_values"].items()}
        updated = tuple(checkpoint.get("updated_channels") or ())
        link = Link(id, parent, id, extra.pop("step", -1), source, run, updated, changes, [], extra)
        row, info = encode_checkpoint(self.serde, place, link), encode_info(self.serde, place, {})
        loaded = self.load(thread_id, ns)
        head = loaded.head.checkpoint if loaded.head else None
        self.commit(Commit(thread_id, ns, run, loaded.epoch, True, head, row, status=status, info=info))
        return config_of(thread_id, ns, id)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote beside the checkpoint it started from.

        The first ordinary write at a position stays; an error, question or answer replaces the one before.

        Args:
            config: the checkpoint.
            writes: pairs of channel and value.
            task_id: the task.
            task_path: sorts the tasks in `pending_writes`.

        Raises:
            CheckpointNotFoundError: the checkpoint does not exist.
        """
        thread_id, ns, id = validate.address(config)
        place, task = Place(thread_id, ns), validate.identifier(task_id, "task_id")
        while True:
            loaded = self.load(thread_id, ns, id)
            if not loaded.rows:
                raise CheckpointNotFoundError(f"Checkpoint '{id or 'latest'}' of {place} does not exist.")
            at, run = loaded.rows[-1].id, _run_of(loaded)
            kept = [decode_record(self.serde, place, row) for row in loaded.records if row.id == task]
            record = Record("writes", task_path, "", _merge(_writes(kept[0]) if kept else [], writes))
            row = encode_record(self.serde, place, (at, run, task), record)
            try:
                self.commit(Commit(thread_id, ns, run, loaded.epoch, claim=True, records=(row,)))
            except ThreadConflictError:  # another task's writes came in between: add to what there is now
                continue
            return

    # ------------------------------------------------------------------ tidying

    def delete_thread(self, thread_id: str) -> None:
        """Remove a thread with everything stored for it; one that does not exist is no error."""
        self.delete(validate.identifier(thread_id))
        self.erase()

    def copy_thread(self, source: str, target: str) -> None:
        """Copy a thread with all namespaces, checkpoints and records: all of it, or nothing if it fails.

        Raises:
            CheckpointNotFoundError: the source has no checkpoints.
            InvalidConfigError: the target exists.
        """
        origin, copy = validate.identifier(source, "source"), validate.identifier(target, "target")
        spaces = dict(self.threads())
        if not spaces.get(origin):
            raise CheckpointNotFoundError(f"Thread '{origin}' cannot be copied: it has no checkpoints.")
        if copy in spaces:
            raise InvalidConfigError(f"Thread '{copy}' exists already; copy to another thread_id, or delete it first.")
        self.edit(copy, 0, [tidy.copied(self, Place(origin, ns), Place(copy, ns)) for ns in spaces[origin]])

    def prune(self, thread_ids: Sequence[str], *, strategy: Strategy = "keep_latest") -> None:
        """Remove the history of threads: all but the latest checkpoint of each namespace, or everything.

        Raises:
            InvalidConfigError: the strategy or an id cannot be used.
            ThreadConflictError: a run wrote to a thread meanwhile; that thread is as it was.
        """
        _one_of(get_args(Strategy), strategy, "strategy")
        spaces = dict(self.threads())
        for thread_id in validate.identifiers(thread_ids, "thread_id"):
            if strategy == "delete":
                self.delete(thread_id)
                continue
            loads = {Place(thread_id, ns): self.load(thread_id, ns) for ns in spaces.get(thread_id, ())}
            edits = [tidy.latest_only(self, place, loaded) for place, loaded in loads.items() if loaded.head]
            self._edit(thread_id, loads, edits)
        self.erase()

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints and records that runs have made, on all threads.

        Checkpoints of other runs keep their values; a thread's latest is then the newest that is left.

        Raises:
            ThreadConflictError: a run wrote to a thread meanwhile; that thread is as it was.
        """
        runs = frozenset(validate.identifiers(run_ids, "run_id"))
        for thread_id, names in self.threads():
            loads = {Place(thread_id, ns): self.load(thread_id, ns) for ns in names}
            found = [tidy.without_runs(self, place, loaded, runs) for place, loaded in loads.items()]
            self._edit(thread_id, loads, [edit for edit in found if edit])
        self.erase()

    def _edit(self, thread_id: str, loads: Mapping[Place, Loaded], edits: Sequence[Edit]) -> None:
        """Edit a thread, provided that it stands as it was loaded."""
        if edits:
            self.edit(thread_id, min(loaded.epoch for loaded in loads.values()), edits)

    # ------------------------------------------------------------------ asynchronous forms

    async def aget(self, config: RunnableConfig) -> Checkpoint | None:
        """Do what `get` does without blocking the event loop."""
        return await self._away(self.get, config)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what `get_tuple` does without blocking the event loop."""
        return await self._away(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: Mapping[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Do what `list` does without blocking the event loop."""
        found = await self._away(lambda: self.list(config, filter=filter, before=before, limit=limit))
        while page := await self._away(lambda: [*islice(found, tidy.PAGE)]):
            for each in page:
                yield each

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: Mapping[str, Any], new_versions: ChannelVersions
    ) -> RunnableConfig:
        """Do what `put` does without blocking the event loop."""
        return await self._away(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what `put_writes` does without blocking the event loop."""
        await self._away(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Do what `delete_thread` does without blocking the event loop."""
        await self._away(self.delete_thread, thread_id)

    async def acopy_thread(self, source: str, target: str) -> None:
        """Do what `copy_thread` does without blocking the event loop."""
        await self._away(self.copy_thread, source, target)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: Strategy = "keep_latest") -> None:
        """Do what `prune` does without blocking the event loop."""
        await self._away(lambda: self.prune(thread_ids, strategy=strategy))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Do what `delete_for_runs` does without blocking the event loop."""
        await self._away(self.delete_for_runs, run_ids)


def _versions(chain: Sequence[Link]) -> ChannelVersions:
    """Return for each channel the checkpoint of the chain that stored its value."""
    versions: ChannelVersions = {}
    for link in chain:
        for channel, change in link.changes.items():
            versions[channel] = link.id
            if change[0] == UNSET:
                del versions[channel]
    return versions


def _pending(records: list[tuple[str, Record]]) -> list[PendingWrite]:
    """Return what tasks have on record, ordered by task."""
    found = [(record.name, id.removeprefix(f"{record.kind}:"), record) for id, record in records]
    found.sort(key=lambda each: each[:2])
    return [(id, channel, value) for _, id, record in found for channel, value in _writes(record)]


def _writes(record: Record) -> list[tuple[str, Any]]:
    """Return a record in the form of writes to channels."""
    value = record.value
    match record.kind:
        case "result":
            return [(RETURN, value)]
        case "error":
            return [(ERROR, value)]
        case "questions":
            return [(INTERRUPT, tuple(question for question, _ in value))]
        case "answer":
            return [(RESUME, value[1])]
        case "memories":
            return []
        case _:
            return [(channel, each) for channel, each in value]


def _merge(known: Sequence[tuple[str, Any]], writes: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return a task's writes after more of them came in."""
    ordinary = [write for write in known if write[0] not in _SPECIAL]
    added = [(channel, value) for channel, value in writes if channel not in _SPECIAL]
    special = {channel: value for channel, value in (*known, *writes) if channel in _SPECIAL}
    return [*ordinary, *added[len(ordinary) :], *special.items()]


def _run_of(loaded: Loaded) -> str:
    """Return the run whose records belong to a loaded checkpoint."""
    if loaded.records:
        return loaded.records[0].run
    head = loaded.head
    return head.run if head is not None and head.checkpoint == loaded.rows[-1].id else new_id()


def _matches(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in metadata and metadata[key] == value for key, value in wanted.items())


def _one_of(known: tuple[S, ...], value: Any, name: str) -> S:
    for each in known:
        if each == value:
            return each
    raise InvalidConfigError(f"{name} must be one of {', '.join(known)}; got {value!r}.{did_you_mean(value, known)}")
