"""The state of the latest heads, kept in memory, so that a long thread is not read anew for every run.

What is kept of a checkpoint comes from its rows, or from the state of the run that has ended with it, if nobody but the
engine has any part of that which can be changed: nothing that the code of a user does can reach it. It is used only
when the database says that the head is that checkpoint, or follows it, and then only the rows of these are read and
replayed upon it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from twinstep.channels import MISSING
from twinstep.checkpoint.format import Checkpoint
from twinstep.checkpoint.rows import CheckpointRow, Known
from twinstep.pregel.encoded import Encoded, PlainList, encode, plain_list
from twinstep.pregel.isolation import Contents
from twinstep.pregel.lineage import ALL, Lineage
from twinstep.pregel.state import State
from twinstep.serde import Serializer
from twinstep.serde.kinds import SCALARS

MANY_ROWS: Final = 16
MANY_BYTES: Final = 8192
"""From how many rows, or bytes in them, reading costs more than keeping."""
ITEM_SIZE: Final = 256
"""Bytes that a dict takes beside its content, about."""


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
        return 1024 + 2 * self.lineage.weight + ITEM_SIZE * sum(value.apart for value in self.values.values())

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
    shared: Collection[str],
) -> KeptState:
    """Return what to keep of the last checkpoint of a chain.

    Args:
        serde: encodes the values.
        before: what is kept of the first one.
        values: the state of the last one, as it was read just now.
        chain: the checkpoints.
        lineage: how the last one is read back.
        shared: channels whose plain lists are given to runs as they are.
    """
    if before is not None and before.id == chain[-1].id:
        return before
    old, changed = (before.values, _changed(chain)) if before is not None else ({}, values)
    made: dict[int, Encoded] = {}
    encoded: dict[str, Encoded] = {}
    for name, value in values.items():
        known = old.get(name)
        if known is not None and name not in changed:
            encoded[name] = known
            continue
        if id(value) not in made:
            kept = changed[name] if known is not None else ALL
            made[id(value)] = _encoded(serde, f"state.{name}", value, known, kept, name in shared)
        encoded[name] = made[id(value)]
    return KeptState(chain[-1].id, encoded, lineage.copy())


def kept_end(
    serde: Serializer, before: KeptState, state: State, changed: Collection[str], id: str, lineage: Lineage
) -> KeptState | None:
    """Return what to keep of the checkpoint that a run has ended with, from its state; None if that has to be read.

    A state is as its rows tell as long as nobody but the engine has any part of it that can be changed.

    Args:
        serde: encodes the values.
        before: what is kept of the checkpoint that the run began with.
        state: the state of the run.
        changed: channels that have changed since it began.
        id: of the checkpoint.
        lineage: how it is read back.
    """
    if before.values.keys() - state.channels.keys():  # what the program does not know is not in the state
        return None
    values: dict[str, Encoded] = {}
    for name, channel in state.channels.items():
        value = channel.checkpoint() if channel.saved else MISSING
        if value is MISSING:
            continue
        if name not in changed and name in before.values:
            values[name] = before.values[name]
        elif state.has_plain(name):
            values[name] = Encoded((), len(value), plain=PlainList(value, state.view.contents[name]))
        elif type(value) in SCALARS:
            values[name] = encode(serde, value, f"state.{name}")
        else:
            return None
    return KeptState(id, values, lineage.copy())


def _changed(chain: Sequence[Checkpoint]) -> Mapping[str, int]:
    """Return the channels that changed after the first checkpoint, and how many items of their lists were kept."""
    changes, lineage = chain[1:], Lineage()
    for checkpoint in changes:
        lineage.note(checkpoint.changes)
    return lineage.changed


def _encoded(serde: Serializer, at: str, value: Any, before: Encoded | None, kept: int, shared: bool) -> Encoded:
    """Encode a value, or a list that begins with so many items of the one before; `at` is what an error calls it."""
    whole_before = before if before is not None and before.items == kept > 0 else None
    plain = None
    if type(value) is list and value and not (whole_before is not None and whole_before.plain is None):
        plain = plain_list(value, before.plain if before is not None else None, kept)
    if plain is not None and shared:
        return Encoded((), len(value), plain=plain)
    if whole_before is not None and whole_before.pieces:
        whole = whole_before.followed(serde, value[kept:], at)
    else:
        whole = encode(serde, value, at).with_objects(serde, value)
    return whole._replace(plain=plain)
