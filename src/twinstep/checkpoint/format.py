"""The checkpoint format, version 1: what the bytes of a row mean.

The written specification is docs/architecture/checkpoint-format.md. In short: a sealed blob is one version byte, a
16-byte BLAKE2b checksum and a MessagePack body (see `twinstep.serde`); the checksum also covers where the row belongs
(thread, namespace, id, parent), so that a row moved to another place is refused like a damaged one.

A checkpoint holds the writes of the tasks that led to it and, channel by channel, how the state follows from its
parent's. A channel that simply takes over what was written refers to the writes, so that no value is stored twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from twinstep.checkpoint.rows import CheckpointRow, RecordRow
from twinstep.constants import START
from twinstep.errors import CheckpointCorruptError, EncodingError, TwinstepError
from twinstep.ids import id_time
from twinstep.serde import Serializer, register_constant, register_type
from twinstep.types import NOTHING, Command, Interrupt, Overwrite, Send

VERSION = 1
_VERSION = bytes([VERSION])
Source = Literal["input", "loop", "update", "fork"]

# How a channel's value follows from the one before it: the first item of a change.
SET = 0  # [SET, value]: this value
SPLICE = 1  # [SPLICE, keep, items]: the first `keep` items of the list, then `items`
LAST = 2  # [LAST]: the last value written to it by the tasks
EXTEND = 3  # [EXTEND, keep]: the first `keep` items of the list, then what the tasks wrote to it (see `written_items`)
UNSET = 4  # [UNSET]: no value
SAME = 5  # [SAME, channel]: the value that the named channel has after this checkpoint
Change = list[Any]


class _Same:
    """The type of what stands for a value that is stored elsewhere."""

    __slots__ = ()


SAME_AS_STATE: Any = _Same()
"""Stands, among the writes of a task, for a value that is the channel's own after the checkpoint."""
SAME_AS_INPUT: Any = _Same()
"""Stands, among the writes of a task, for what the input of the run has under this key; the parent holds the input."""
register_constant(NOTHING, name="twinstep:NOTHING")
register_constant(SAME_AS_STATE, name="twinstep:SAME_AS_STATE")
for _cls in (Send, Command, Interrupt, Overwrite):
    register_type(_cls, name=f"twinstep:{_cls.__name__}")


class TaskWrites(NamedTuple):
    """What one finished task of a superstep wrote, in order, to the channels it shares with others.

    `id` is None when it is that of a node that was due: the `path_id` of `(run, namespace, step, "pull", name)`.
    """

    id: str | None
    name: str
    writes: list[tuple[str, Any]]


@dataclass(slots=True)
class Checkpoint:
    """A decoded checkpoint: one link of a lineage.

    Attributes:
        id: time-ordered id.
        parent: id of the checkpoint before it in its lineage, None for the first of a thread.
        base: id of the checkpoint that `changes` build on: the parent, or an earlier one; its own id when it holds the
            whole state.
        step: number of the superstep that led to it; -1 for the first input of a thread.
        source: what made it.
        run: id of the run that made it.
        updated: the channels whose update may start a node in the next superstep.
        changes: how the channels changed since `base` (all channels, when that is the checkpoint itself).
        writes: what the tasks of the superstep wrote.
        metadata: what the caller asked to keep with it.
        version: of the state's schema, as the program numbers it.
    """

    id: str
    parent: str | None
    base: str
    step: int
    source: Source
    run: str
    updated: tuple[str, ...] = ()
    changes: dict[str, Change] = field(default_factory=dict)
    writes: list[TaskWrites] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    version: int = 0

    @property
    def ts(self) -> float:
        """Time of the commit, in seconds since the epoch."""
        return id_time(self.id)


Position = tuple[Any, ...]
"""Where a question is asked: the same at every resume, and in a fork. Steps are texts, numbers and tuples of these."""
RecordKind = Literal["result", "error", "writes", "questions", "answer", "command", "memories"]


class Record(NamedTuple):
    """A decoded record of an outcome inside an open superstep.

    `kind` tells what `value` is: a task call's result; its error; a node's writes; the questions a node or task waits
    for; the answer to a question; the writes of a `Command` given as input; where nested graphs that remember stand.
    `digest` is the hash of the arguments, in digits: what holds bytes takes longer to store.
    Of a call, `caller` begins the id of the task that made it, and `shown` is its arguments as text; of an answer,
    `shown` is the question.
    """

    kind: RecordKind
    name: str
    digest: str
    value: Any
    caller: str = ""
    shown: str = ""


class Place(NamedTuple):
    """Where a row belongs; named in errors and covered by the checksum."""

    thread_id: str
    ns: str

    def __str__(self) -> str:
        return f"thread '{self.thread_id}', namespace '{self.ns}'"


def _where(place: Place, rest: str) -> bytes:
    """Return what tells where a blob belongs: the `repr` of a tuple of thread, namespace and the rest."""
    return f"({place.thread_id!r}, {place.ns!r}, {rest})".encode()


_blank = blake2b(digest_size=16)
"""Copied instead of made anew, which takes a third of the time."""


def _seal(where: bytes, body: bytes) -> bytes:
    h = _blank.copy()
    h.update(where)
    h.update(body)
    return _VERSION + h.digest()


def _sealed(serde: Serializer, where: bytes, value: Any, at: str = "") -> bytes:
    """Return the blob of a value that belongs to one place."""
    body = serde.dumps(value, at=at, place=where)
    return _seal(where, body) + body


def _opened(serde: Serializer, place: Place, where: bytes, blob: bytes, what: str, *names: str) -> Any:
    """Return the value of a blob, provided that it is whole and belongs here; errors call it `what`, with its names."""
    body = blob[17:]
    if blob[:17] != _seal(where, body) or not body:
        raise _damaged(place, blob, what.format(*names))
    try:
        return serde.loads(body, place=where)
    except TwinstepError as error:
        error.add_note(f"While reading {what.format(*names)} of {place}.")
        raise


def _damaged(place: Place, blob: bytes, what: str) -> CheckpointCorruptError:
    if len(blob) > 17 and blob[:1] != _VERSION:
        return CheckpointCorruptError(f"{what} of {place} has format {blob[0]}, this program reads {VERSION}.")
    return CheckpointCorruptError(
        f"{what} of {place} is damaged or does not belong there: its checksum does not fit. Earlier checkpoints "
        "of the thread can still be loaded by their id."
    )


def encode_checkpoint(serde: Serializer, place: Place, c: Checkpoint) -> CheckpointRow:
    """Turn a checkpoint into its row.

    Raises:
        EncodingError: a value cannot be stored; the message names its place.
    """
    tasks = [
        [id, name, [[key] if value is SAME_AS_INPUT else [key, value] for key, value in writes]]
        for id, name, writes in c.writes
    ]
    fields = [c.step, c.source, c.run, list(c.updated), c.changes, tasks, c.metadata]
    if c.version:
        fields.append(c.version)
    try:
        blob = _sealed(serde, _where(place, f"{c.id!r}, {c.parent!r}, {c.base!r}"), fields)
    except EncodingError:
        _name_culprit(serde, c)
        raise
    return CheckpointRow(c.id, c.parent, c.base, blob)


def _name_culprit(serde: Serializer, c: Checkpoint) -> None:
    """Encode the parts one by one, so that the error speaks of nodes and keys."""
    for task in c.writes:
        for key, value in task.writes:
            serde.dumps(value, at=f"what '{task.name}' wrote to state.{key}")
    for channel, change in c.changes.items():
        for part in change[1:]:
            serde.dumps(part, at=f"state.{channel}")
    serde.dumps(c.metadata, at="config.metadata")


def decode_checkpoint(serde: Serializer, place: Place, row: CheckpointRow) -> Checkpoint:
    """Turn a row back into a checkpoint.

    Raises:
        CheckpointCorruptError: the row is not what was written here.
        UnknownTypeError: a value has a type that this program has not registered.
    """
    where = _where(place, f"{row.id!r}, {row.parent!r}, {row.base!r}")
    fields = _opened(serde, place, where, row.blob, "checkpoint '{}'", row.id)
    step, source, run, updated, changes, writes, metadata, *version = fields
    tasks = [
        TaskWrites(id, name, [(key, *value) if value else (key, SAME_AS_INPUT) for key, *value in pairs])
        for id, name, pairs in writes
    ]
    return Checkpoint(
        row.id, row.parent, row.base, step, source, run, tuple(updated), changes, tasks, metadata, *version
    )


class Shelf:
    """The records of one run at one checkpoint, from values to rows and back; what names their place is made once."""

    __slots__ = ("_place", "_serde", "_where", "checkpoint", "run")
    checkpoint: str
    run: str

    def __init__(self, serde: Serializer, place: Place, checkpoint: str, run: str) -> None:
        self._serde, self._place, self.checkpoint, self.run = serde, place, checkpoint, run
        self._where = _where(place, f"{checkpoint!r}, {run!r}")[:-1]

    def encode(self, id: str, record: Record) -> RecordRow:
        """Turn a record into its row; errors as in `encode_checkpoint`."""
        fields: list[Any] = list(record) if record.shown or record.caller else list(record[:4])
        if record.kind in _PLAIN:
            fields[3] = _PLAIN[record.kind][0](record.value)
        try:
            blob = _sealed(self._serde, self._where + f", {id!r})".encode(), fields)
        except EncodingError:
            for channel, value in record.value if record.kind == "writes" else ():
                self._serde.dumps(value, at=f"what '{record.name}' wrote to state.{channel}")
            self._serde.dumps(record.value, at=f"{record.kind} of '{record.name}'")
            raise
        return RecordRow(self.checkpoint, self.run, id, blob)

    def decode(self, row: RecordRow) -> Record:
        """Turn a row back into a record; errors as in `decode_checkpoint`."""
        id, what = row.id, "record '{}' of checkpoint '{}'"
        where = self._where + f", {id!r})".encode()
        fields = _opened(self._serde, self._place, where, row.blob, what, id, self.checkpoint)
        if fields[0] in _PLAIN:
            fields[3] = _PLAIN[fields[0]][1](fields[3])
        return Record(*fields)


def _plain_questions(value: Sequence[tuple[Interrupt, Position]]) -> list[Any]:
    return [[q.value, q.id, q.response_schema, _listed(position)] for q, position in value]


def _questions(stored: list[Any]) -> list[tuple[Interrupt, Position]]:
    return [
        (Interrupt(each[0], each[1], response_schema=each[2]), _position(each[3])) if type(each) is list else each
        for each in stored
    ]


def _plain_answer(value: tuple[Position, Any]) -> list[Any]:
    return [_listed(value[0]), value[1]]


def _answer(stored: Any) -> tuple[Position, Any]:
    return (_position(stored[0]), stored[1]) if type(stored) is list else stored


def _listed(position: Position) -> list[Any]:
    return [list(step) if type(step) is tuple else step for step in position]


def _position(stored: list[Any]) -> Position:
    return tuple([tuple(step) if type(step) is list else step for step in stored])


_PLAIN: dict[str, tuple[Callable[[Any], list[Any]], Callable[[Any], Any]]] = {
    "questions": (_plain_questions, _questions),
    "answer": (_plain_answer, _answer),
}
"""How the values of some kinds of records are stored, without objects and tuples, and read; also as they once were."""


def encode_record(serde: Serializer, place: Place, key: tuple[str, str, str], record: Record) -> RecordRow:
    """Turn a record into its row; `key` is `(checkpoint, run, id)`."""
    return Shelf(serde, place, *key[:2]).encode(key[2], record)


def decode_record(serde: Serializer, place: Place, row: RecordRow) -> Record:
    """Turn a row back into a record; errors as in `decode_checkpoint`."""
    return Shelf(serde, place, row.checkpoint, row.run).decode(row)


def encode_info(serde: Serializer, place: Place, info: dict[str, Any]) -> bytes:
    """Turn the facts about a run into bytes for the head."""
    return _sealed(serde, _where(place, "'info'"), info, at="run")


def decode_info(serde: Serializer, place: Place, blob: bytes) -> dict[str, Any]:
    """Turn the head's bytes back into the facts about a run."""
    info: dict[str, Any] = _opened(serde, place, _where(place, "'info'"), blob, "run info")
    return info


def replay(place: Place, chain: Sequence[Checkpoint], known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Rebuild the channel values of the last checkpoint of a chain that starts with a whole state.

    What the checkpoints' writes take from the input is filled in.

    Args:
        place: named in errors.
        chain: the checkpoints, from base to base.
        known: the values of the first one; then the others lead from parent to parent.

    Raises:
        CheckpointCorruptError: the chain has a gap, so that the state would be wrong.
    """
    state: dict[str, Any] = {} if known is None else dict(known)
    owned: set[str] = set()  # lists made here, which may grow in place
    before: Checkpoint | None = None
    for c in chain if known is None else chain[1:]:
        if known is None and c.base != (c.id if before is None else before.id):
            raise CheckpointCorruptError(f"Checkpoint '{c.id}' of {place} builds on '{c.base}', which is missing.")
        before = c
        if c.base == c.id:
            state, owned = {}, set()
        if START in state:
            c.writes = [_filled(task, state[START]) for task in c.writes]
        same: list[tuple[str, str]] = []
        for channel, change in c.changes.items():
            if change[0] == SAME:
                same.append((channel, change[1]))
            else:
                _apply_change(state, owned, channel, change, c.writes)
        for channel, other in same:
            owned -= {channel, other}
            state[channel] = state[other]
    return state


def _filled(task: TaskWrites, input: Any) -> TaskWrites:
    return TaskWrites(task.id, task.name, [(k, input[k] if v is SAME_AS_INPUT else v) for k, v in task.writes])


def _apply_change(
    state: dict[str, Any], owned: set[str], channel: str, change: Change, tasks: list[TaskWrites]
) -> None:
    op = change[0]
    if op in (EXTEND, SPLICE):
        old = state.get(channel, ())
        value = old if channel in owned else list(old)
        value[change[1] :] = change[2] if op == SPLICE else written_items(written_to(tasks, channel))
        state[channel] = value
        owned.add(channel)
        return
    owned.discard(channel)
    if op == UNSET:
        state.pop(channel, None)
    else:
        state[channel] = change[1] if op == SET else written_to(tasks, channel)[-1]


def written_to(tasks: Iterable[TaskWrites], channel: str) -> list[Any]:
    """Return the values that tasks wrote to a channel, in order."""
    return [value for task in tasks for name, value in task.writes if name == channel]


def written_items(values: Iterable[Any]) -> list[Any]:
    """Return the items that written values add to a list: those of lists, and what is no list as one item."""
    return [item for value in values for item in (value if type(value) is list else (value,))]
