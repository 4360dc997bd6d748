"""The state of the latest heads, kept in memory as bytes, so that a long thread is not read anew for every run.

What is kept of a checkpoint comes from its rows alone, never from the values of a run: nothing that the code of a user
does to those can reach it. It is used only when the database says that the head is that checkpoint, or follows it, and
then only the rows of these are read and replayed upon it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from twinstep.checkpoint.format import Checkpoint
from twinstep.checkpoint.rows import CheckpointRow, Known, Loaded
from twinstep.pregel.effects import Program, load
from twinstep.pregel.encoded import Encoded, encode
from twinstep.pregel.lineage import Lineage
from twinstep.serde import Serializer

if TYPE_CHECKING:
    from twinstep.pregel.run import Run

MANY_ROWS: Final = 16
MANY_BYTES: Final = 8192
"""From how many rows, or bytes in them, reading costs more than keeping."""


@dataclass(frozen=True, slots=True)
class KeptState:
    """The state that a checkpoint holds, encoded.

    Attributes:
        id: of the checkpoint.
        values: of the stored channels; those that are one object have one encoding.
        lineage: how the checkpoint is read back.
    """

    id: str
    values: Mapping[str, Encoded]
    lineage: Lineage

    @property
    def size(self) -> int:
        """The bytes that it takes, about."""
        return 1024 + sum(value.size for value in self.values.values())

    @property
    def known(self) -> Known:
        """What a saver has to be told, to leave out what is kept."""
        return Known(self.id, self.lineage.joint or self.id)

    def leads_to(self, rows: Sequence[CheckpointRow]) -> bool:
        """Tell whether rows are the checkpoint's own and then its descendants, each built on what comes before it."""
        joint = self.lineage.joint
        for before, row in pairwise(rows):
            if row.parent != before.id or row.base not in (before.id, joint, row.id):
                return False
            if row.base != before.id:
                joint = row.id
        return bool(rows) and rows[0].id == self.id

    def decoded(self, serde: Serializer) -> dict[str, Any]:
        """Return the values of the channels, made anew."""
        made = {id(each): each.decoded(serde) for each in self.values.values()}
        return {name: made[id(each)] for name, each in self.values.items()}


def load_state(run: Run, checkpoint_id: str | None = None) -> Program[Loaded]:
    """Load a checkpoint for `read_state`; of the head, only what is not kept in memory."""
    saver, place = run.saver, run.place
    assert saver is not None
    run.warm, run.keeps_head = None, checkpoint_id is None and run.parent is None
    if run.keeps_head:
        run.warm = saver.kept.get(*place)
    loaded = yield from load(saver, *place, checkpoint_id, run.warm.known if run.warm is not None else None)
    if run.warm is not None and not run.warm.leads_to(loaded.rows):
        run.warm = None
        if loaded.rows and loaded.rows[0].base != loaded.rows[0].id:
            loaded = yield from load(saver, *place)
    return loaded


def keep_state(run: Run, values: Mapping[str, Any], chain: Sequence[Checkpoint], rows: Sequence[CheckpointRow]) -> None:
    """Keep the state of a head, as it was read from these rows, if reading it again would be work."""
    assert run.saver is not None
    before, last = run.warm, chain[-1]
    if before is None and len(rows) < MANY_ROWS and sum(len(row.blob) for row in rows) < MANY_BYTES:
        return
    if before is None or before.id != last.id:
        old = before.values if before is not None else {}
        encoded = _encoded(run.saver.serde.plain, values, old, _changed(chain) if before is not None else values)
        run.warm = KeptState(last.id, encoded, run.lineage.copy())
        run.saver.kept.put(*run.place, run.warm)


def _changed(chain: Sequence[Checkpoint]) -> Mapping[str, int]:
    """Return the channels that changed after the first checkpoint, and how many items of their lists were kept."""
    changes, lineage = chain[1:], Lineage()
    for checkpoint in changes:
        lineage.note(checkpoint.changes)
    return lineage.changed


def _encoded(
    serde: Serializer, values: Mapping[str, Any], old: Mapping[str, Encoded], changed: Mapping[str, Any]
) -> dict[str, Encoded]:
    """Encode values, of which only the changed ones differ from the old."""
    made: dict[int, Encoded] = {}
    encoded: dict[str, Encoded] = {}
    for name, value in values.items():
        before, at = old.get(name), f"state.{name}"
        if before is not None and name not in changed:
            encoded[name] = before
            continue
        if id(value) not in made:
            if before is not None and before.items and before.items == changed[name]:
                made[id(value)] = before.followed(serde, value[before.items :], at)
            else:
                made[id(value)] = encode(serde, value, at)
        encoded[name] = made[id(value)]
    return encoded
