"""What tidying a thread changes: the edits behind `copy_thread`, `prune` and `delete_for_runs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from twinstep.checkpoint.format import (
    SET,
    Checkpoint,
    Place,
    decode_checkpoint,
    decode_info,
    decode_record,
    encode_checkpoint,
    encode_info,
    encode_record,
    replay,
)
from twinstep.checkpoint.journal import Journal
from twinstep.checkpoint.rows import CheckpointRow, Edit, Head, Loaded

PAGE = 32
"""Rows read at a time."""


def newest_first(journal: Journal, place: Place, before: str | None = None) -> Iterator[CheckpointRow]:
    """Iterate over the rows of a namespace, reading them as they are asked for."""
    while page := journal.checkpoints(*place, before=before, limit=PAGE):
        yield from page
        before = page[-1].id


def copied(journal: Journal, old: Place, new: Place) -> Edit:
    """Return what makes a copy of a namespace; checksums cover the thread, so every row is encoded again."""
    serde, head = journal.serde, journal.load(*old).head
    put, records = [], []
    for row in newest_first(journal, old):
        put.append(encode_checkpoint(serde, new, decode_checkpoint(serde, old, row)))
        kept = journal.load(*old, row.id).records
        records += [encode_record(serde, new, record[:3], decode_record(serde, old, record)) for record in kept]
    if head is not None and head.info:
        head = head._replace(info=encode_info(serde, new, decode_info(serde, old, head.info)))
    return Edit(new.ns, None, head, tuple(put), records=tuple(records))


def latest_only(journal: Journal, place: Place, loaded: Loaded) -> Edit:
    """Return what leaves of a namespace only its latest checkpoint."""
    assert loaded.head is not None
    row = whole(journal, place, loaded.rows, None)
    return Edit(place.ns, loaded.head.checkpoint, loaded.head, (row,), "*")


def without_runs(journal: Journal, place: Place, loaded: Loaded, runs: frozenset[str]) -> Edit | None:
    """Return what removes the checkpoints and records of some runs, or None when they left nothing here."""
    head, links = loaded.head, {}
    for row in newest_first(journal, place):
        link = decode_checkpoint(journal.serde, place, row)
        links[row.id] = (link.parent, link.run, link.base)
    gone = {id for id, (_, run, _) in links.items() if run in runs}
    if head is None or not (gone or head.run in runs):
        return None
    put = [
        whole(journal, place, journal.load(*place, id).rows, _survivor(parent, links, gone))
        for id, (parent, _, base) in links.items()
        if id not in gone and (parent in gone or base in gone)
    ]
    after: Head | None = head
    if head.checkpoint in gone:
        newest = max(links.keys() - gone, default=None)
        after = Head(newest, links[newest][1], "done", encode_info(journal.serde, place, {})) if newest else None
    return Edit(place.ns, head.checkpoint, after, tuple(put), tuple(gone), runs=tuple(runs))


def whole(journal: Journal, place: Place, rows: Sequence[CheckpointRow], parent: str | None) -> CheckpointRow:
    """Return the last of some rows, changed so that it needs none before it, with another parent."""
    chain = [decode_checkpoint(journal.serde, place, row) for row in rows]
    state = replay(place, chain)
    changes = {channel: [SET, value] for channel, value in state.items()}
    last: Checkpoint = replace(chain[-1], parent=parent, base=chain[-1].id, changes=changes)
    return encode_checkpoint(journal.serde, place, last)


def _survivor(id: str | None, links: Mapping[str, tuple[str | None, str, str]], gone: set[str]) -> str | None:
    """Return the nearest ancestor that stays."""
    while id in gone:
        id = links[id][0]
    return id
