"""The state of the latest heads, kept in memory, so that a long thread is not read anew for every run.

What is kept of a checkpoint comes from its rows alone, never from the values of a run: nothing that the code of a user
does to those can reach it. It is used only when the database says that the head is that checkpoint, or follows it, and
then only the rows of these are read and replayed upon it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from twinstep.checkpoint.format import Checkpoint
from twinstep.checkpoint.rows import CheckpointRow, Known
from twinstep.pregel.encoded import Encoded, encode
from twinstep.pregel.isolation import Contents
from twinstep.pregel.lineage import ALL, Lineage
from twinstep.serde import Serializer

MANY_ROWS: Final = 16
MANY_BYTES: Final = 8192
"""From how many rows, or bytes in them, reading costs more than keeping."""


def is_long(rows: Sequence[CheckpointRow]) -> bool:
    """Tell whether reading these rows again would be work."""
    return len(rows) >= MANY_ROWS or sum(len(row.blob) for row in rows) >= MANY_BYTES


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

    @property
    def contents(self) -> dict[str, Contents]:
        """What is known of what is in the lists."""
        return {name: value.plain.contents for name, value in self.values.items() if value.plain is not None}

    def decoded(self, serde: Serializer, shared: Collection[str]) -> dict[str, Any]:
        """Return the values of the channels, made anew but for plain lists of the shared ones: these nobody changes."""
        made: dict[int, Any] = {}
        values: dict[str, Any] = {}
        for name, each in self.values.items():
            if name in shared and each.plain is not None:
                values[name] = each.plain.items
                continue
            if id(each) not in made:
                made[id(each)] = each.decoded(serde)
            values[name] = made[id(each)]
        return values


def kept_state(
    serde: Serializer,
    before: KeptState | None,
    values: Mapping[str, Any],
    chain: Sequence[Checkpoint],
    lineage: Lineage,
) -> KeptState:
    """Return what to keep of the last checkpoint of a chain.

    Args:
        serde: encodes the values.
        before: what is kept of the first one.
        values: the state of the last one, as it was read just now.
        chain: the checkpoints.
        lineage: how the last one is read back.
    """
    if before is not None and before.id == chain[-1].id:
        return before
    old, changed = (before.values, _changed(chain)) if before is not None else ({}, values)
    return KeptState(chain[-1].id, _encoded(serde, values, old, changed), lineage.copy())


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
            kept = changed[name] if before is not None else ALL
            if before is not None and kept and before.items == kept:
                whole = before.followed(serde, value[kept:], at)
            else:
                whole = encode(serde, value, at).with_objects(serde, value)
            made[id(value)] = whole.with_plain(value, before, kept)
        encoded[name] = made[id(value)]
    return encoded
