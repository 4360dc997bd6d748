"""A copy of the vectors in a virtual table of sqlite-vec, which searches many of them in half the time.

The table `twinstep_store_vectors` stays the truth, and processes without the extension read and write it as ever. Its
triggers note the numbers of vectors that come and go; who has the extension takes these changes into the copy with the
next write, a search before that computes the distances of those that are still noted by itself, and vectors that are
gone are no answer: the copy says how near a vector is, and never which vectors there are.
"""

from __future__ import annotations

from typing import Final

from twinstep.sql.schema import Program
from twinstep.store.rows import Condition, Place
from twinstep.store.spelling import Hits

_FEW: Final = 2048
"""Distances of fewer vectors are computed as fast one by one."""
_MOST: Final = 4096
"""More results than this sqlite-vec does not give."""
_AT_ONCE: Final = 16_384
_TAKE_IN: Final = """INSERT INTO twinstep_store_near (rowid, vector)
    SELECT v, vector FROM twinstep_store_vectors WHERE v = ?"""
_TAKEN_IN = "v NOT IN (SELECT v FROM twinstep_store_changes)"
_ON: Final = """CREATE TRIGGER twinstep_store_changes_{0} AFTER {0} ON twinstep_store_vectors BEGIN
    INSERT OR IGNORE INTO twinstep_store_changes (v) VALUES ({1}.v); END"""


class Vec0Table:
    """The copy of the vectors in one file."""

    def exists(self) -> Program[bool]:
        """Tell whether the copy was made."""
        return bool((yield "SELECT 1 FROM sqlite_master WHERE name = 'twinstep_store_near'", ()))

    def create(self, dims: int) -> Program[None]:
        """Make the copy, unless there is one, and take in what there is."""
        if not (yield from self.exists()):
            yield f"CREATE VIRTUAL TABLE twinstep_store_near USING vec0(vector float[{dims}])", ()
            yield "CREATE TABLE twinstep_store_changes (v INTEGER PRIMARY KEY)", ()
            yield "INSERT INTO twinstep_store_changes (v) SELECT v FROM twinstep_store_vectors", ()
            yield _ON.format("INSERT", "NEW"), ()
            yield _ON.format("DELETE", "OLD"), ()
        yield from self.catch_up()

    def catch_up(self) -> Program[None]:
        """Take in what has changed in the table of vectors, as much of it as a transaction should last for."""
        noted = yield f"SELECT v FROM twinstep_store_changes ORDER BY v LIMIT {_AT_ONCE}", ()
        if noted:  # one by one: for a list, the extension would walk through all
            yield "DELETE FROM twinstep_store_near WHERE rowid = ?", noted
            yield _TAKE_IN, noted
            yield "DELETE FROM twinstep_store_changes WHERE v = ?", noted

    def nearest(self, place: Place, vector: bytes, size: int) -> Program[Hits | None]:
        """Return the nearest vectors in a place, or None where computing each distance is faster or the only way."""
        if size > _MOST or not (yield from self._holds_many(place.vectors)):
            return None
        where, parameters = place.vectors
        changed = yield "SELECT 1 FROM twinstep_store_changes LIMIT 1", ()
        only = f"AND rowid IN (SELECT v FROM twinstep_store_vectors WHERE {where} AND {_TAKEN_IN})"
        if not changed and (yield from self._holds_all(place.vectors)):
            only, parameters = "", ()
        sql = f"""SELECT item, distance FROM (
            SELECT rowid AS m, distance FROM twinstep_store_near WHERE vector MATCH ? AND k = ? {only})
            CROSS JOIN twinstep_store_vectors ON v = m"""
        found = yield sql, (vector, size, *parameters)
        if changed:
            sql = f"""SELECT item, vec_distance_l2(vector, ?) AS distance FROM twinstep_store_vectors
                WHERE v IN (SELECT v FROM twinstep_store_changes) AND {where} ORDER BY distance LIMIT ?"""
            found = sorted([*found, *(yield sql, (vector, *place.vectors.parameters, size))], key=_by_distance)[:size]
        return [(item, 1 - distance * distance / 2) for item, distance in found]

    def _holds_many(self, where: Condition) -> Program[bool]:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM twinstep_store_vectors WHERE {where.sql} LIMIT {_FEW})"
        return bool((yield sql, where.parameters)[0][0] == _FEW)

    def _holds_all(self, where: Condition) -> Program[bool]:
        sql = f"SELECT 1 FROM twinstep_store_vectors WHERE NOT ({where.sql}) LIMIT 1"
        return not (yield sql, where.parameters)


def _by_distance(hit: tuple[int, float]) -> float:
    return hit[1]
