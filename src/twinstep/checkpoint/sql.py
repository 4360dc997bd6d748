"""The journal in SQL, written once for every database.

Each method of `SqlProgram` is a generator: it yields statements, is sent the rows they return, and returns its result.
A driver per kind of connection runs it inside one transaction (see `twinstep.checkpoint.grouped`). Whatever can refuse
a transaction is decided by a program's first read, so that a refused program has changed nothing and others can share
its transaction; a driver may send writes late, together with the read or the end that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twinstep.checkpoint.columns import name_of, of, pack, seal_of_head, seal_of_record, unpack
from twinstep.checkpoint.journal import NEAR, conflict, edit_conflict
from twinstep.checkpoint.rows import CheckpointRow, Commit, Edit, Head, Known, Loaded, RecordRow
from twinstep.checkpoint.stand import NEWEST, Stand
from twinstep.errors import CheckpointCorruptError, CheckpointStorageError
from twinstep.sql import schema
from twinstep.sql.schema import Program, Schema


@dataclass(frozen=True)
class Dialect(schema.Dialect):
    """How one database spells the journal.

    Attributes:
        head_key: a key of heads, besides their name.
        by_name: find a head by its name, because its namespace may be longer than a key can be.
        verifies: others may write while it is known how a namespace stands, so that the database has to compare.
    """

    head_key: str = ""
    by_name: bool = False
    verifies: bool = False


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE twinstep_threads (
            n {serial}, thread_id TEXT NOT NULL UNIQUE, epoch BIGINT NOT NULL, holder TEXT)""",
        """CREATE TABLE twinstep_heads (
            n {serial}, thread BIGINT NOT NULL, ns TEXT NOT NULL, checkpoint {blob} NOT NULL, run TEXT NOT NULL,
            status TEXT NOT NULL, info {blob} NOT NULL, seal BIGINT NOT NULL, name BIGINT NOT NULL UNIQUE{head_key})""",
        """CREATE TABLE twinstep_checkpoints (
            head BIGINT NOT NULL, id {blob} NOT NULL, parent {blob}, base {blob} NOT NULL, blob {blob} NOT NULL,
            PRIMARY KEY (head, id)){clustered}""",
        """CREATE TABLE twinstep_records (
            head BIGINT NOT NULL, checkpoint {blob} NOT NULL, run TEXT NOT NULL, id TEXT NOT NULL,
            epoch BIGINT NOT NULL, seal BIGINT NOT NULL, blob {blob} NOT NULL,
            PRIMARY KEY (head, checkpoint, run, id)){clustered}""",
    ),
)
SCHEMA = Schema(
    "checkpoint",
    MIGRATIONS,
    failed=CheckpointStorageError,
    damaged=CheckpointCorruptError,
    table="twinstep_schema",
    user="saver",
)

_THREAD = "SELECT n FROM twinstep_threads WHERE thread_id = ?"
_HEADS = f"SELECT n FROM twinstep_heads WHERE thread = ({_THREAD})"
_STATEMENTS = {
    "stand": """
        SELECT t.n, t.epoch, t.holder, h.n, h.checkpoint, h.run, h.status, h.info, h.seal,
            (SELECT c.id FROM twinstep_checkpoints c WHERE c.head = h.n ORDER BY c.id DESC LIMIT 1)
        FROM twinstep_threads t LEFT JOIN twinstep_heads h ON h.thread = t.n AND h.ns = ? WHERE t.thread_id = ?""",
    # divides by zero where a namespace does not stand so; three short looks, as planning one join takes longer
    "verify": """
        SELECT 1 / (EXISTS (SELECT 1 FROM twinstep_threads WHERE n = ? AND epoch = ? AND holder = ?)
            AND EXISTS (SELECT 1 FROM twinstep_heads WHERE n = ? AND checkpoint = ? AND seal = ?)
            AND (SELECT id FROM twinstep_checkpoints WHERE head = ? ORDER BY id DESC LIMIT 1) = ?)::int""",
    "find_thread": _THREAD,
    "add_thread": "INSERT INTO twinstep_threads (thread_id, epoch, holder) VALUES (?, ?, ?)",
    "claim": "UPDATE twinstep_threads SET epoch = ?, holder = ? WHERE n = ?",
    "find_name": "SELECT n FROM twinstep_heads WHERE name = ?",
    "find_root": "SELECT n FROM twinstep_heads WHERE thread = ? AND ns = ''",
    "add_head": """
        INSERT INTO twinstep_heads (thread, ns, name, checkpoint, run, status, info, seal)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
    "set_head": "UPDATE twinstep_heads SET checkpoint = ?, run = ?, status = ?, info = ?, seal = ? WHERE n = ?",
    "drop_head": "DELETE FROM twinstep_heads WHERE n = ?",
    "find_checkpoint": "SELECT 1 FROM twinstep_checkpoints WHERE head = ? AND id = ?",
    "put_checkpoint": """
        INSERT INTO twinstep_checkpoints (head, id, parent, base, blob) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (head, id) DO UPDATE SET parent = excluded.parent, base = excluded.base, blob = excluded.blob""",
    "drop_checkpoint": "DELETE FROM twinstep_checkpoints WHERE head = ? AND id = ?",
    "drop_checkpoints": "DELETE FROM twinstep_checkpoints WHERE head = ?",
    "put_record": """
        INSERT INTO twinstep_records (head, checkpoint, run, id, epoch, seal, blob) VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (head, checkpoint, run, id) DO UPDATE
        SET epoch = excluded.epoch, seal = excluded.seal, blob = excluded.blob""",
    "forget": "DELETE FROM twinstep_records WHERE head = ? AND checkpoint = ? AND run = ? AND id = ?",
    "forget_all": "DELETE FROM twinstep_records WHERE head = ? AND checkpoint = ? AND run = ?",
    "forget_run": "DELETE FROM twinstep_records WHERE head = ? AND run = ?",
    "forget_lost": """
        DELETE FROM twinstep_records WHERE head = ? AND NOT EXISTS (SELECT 1 FROM twinstep_checkpoints c
            WHERE c.head = twinstep_records.head AND c.id = twinstep_records.checkpoint)""",
    # UNION drops repeated rows, so that bases that point in a circle (a damaged file) end the walk
    "lineage": """
        WITH RECURSIVE up(id, base) AS (
            SELECT id, base FROM twinstep_checkpoints WHERE head = ? AND id = ?
            UNION SELECT c.id, c.base FROM up
                JOIN twinstep_checkpoints c ON c.head = ? AND c.id = up.base WHERE up.base <> up.id)
        SELECT c.id, c.parent, c.base, c.blob FROM up JOIN twinstep_checkpoints c ON c.head = ? AND c.id = up.id""",
    # the same by parents, to a checkpoint that is known; nothing when the joint that it builds on is gone
    "since": f"""
        WITH RECURSIVE up(id, parent, far) AS (
            SELECT id, parent, 1 FROM twinstep_checkpoints WHERE head = ? AND id = ?
                AND EXISTS (SELECT 1 FROM twinstep_checkpoints j WHERE j.head = ? AND j.id = ?)
            UNION ALL SELECT c.id, c.parent, up.far + 1 FROM up
                JOIN twinstep_checkpoints c ON c.head = ? AND c.id = up.parent WHERE up.id <> ? AND up.far < {NEAR})
        SELECT c.id, c.parent, c.base, c.blob FROM up JOIN twinstep_checkpoints c ON c.head = ? AND c.id = up.id""",
    "keys": "SELECT checkpoint, run, id, seal FROM twinstep_records WHERE head = ?",
    "records": "SELECT run, id, blob FROM twinstep_records WHERE head = ? AND checkpoint = ? AND run = ?",
    "last_run": "SELECT run FROM twinstep_records WHERE head = ? AND checkpoint = ? ORDER BY epoch DESC LIMIT 1",
    "page": """
        SELECT id, parent, base, blob FROM twinstep_checkpoints
        WHERE head = (SELECT h.n FROM twinstep_heads h JOIN twinstep_threads t ON t.n = h.thread
            WHERE t.thread_id = ? AND h.ns = ?) AND id < ? ORDER BY id DESC LIMIT ?""",
    "threads": """
        SELECT t.thread_id, h.ns FROM twinstep_threads t LEFT JOIN twinstep_heads h ON h.thread = t.n
        ORDER BY t.n, h.n""",
    "drop_thread_records": f"DELETE FROM twinstep_records WHERE head IN ({_HEADS})",
    "drop_thread_checkpoints": f"DELETE FROM twinstep_checkpoints WHERE head IN ({_HEADS})",
    "drop_thread_heads": f"DELETE FROM twinstep_heads WHERE thread = ({_THREAD})",
    "drop_thread": "DELETE FROM twinstep_threads WHERE thread_id = ?",
    "drop_empty_thread": """
        DELETE FROM twinstep_threads WHERE thread_id = ?
        AND NOT EXISTS (SELECT 1 FROM twinstep_heads h WHERE h.thread = twinstep_threads.n)""",
}


class SqlProgram:
    """The methods of `Journal` as programs of statements in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._sql = dict(_STATEMENTS)
        if dialect.by_name:
            for name in ("stand", "page"):
                self._sql[name] = self._sql[name].replace("h.ns = ?", "h.ns = ? AND h.name = ?")

    def _wait_for(self, thread_id: str) -> Program[None]:
        """Let other writers of a thread end, and keep new ones out."""
        if self._dialect.lock:
            yield self._dialect.lock, [(name_of(thread_id, "*"),)]

    # ------------------------------------------------------------------ reading

    def load(self, thread_id: str, ns: str, checkpoint_id: str | None, known: Known | None = None) -> Program[Loaded]:
        """Read a checkpoint; see `Journal.load`."""
        stand = yield from self.stand(thread_id, ns)
        return (yield from self.read(thread_id, ns, stand, checkpoint_id, known))

    def read(
        self, thread_id: str, ns: str, stand: Stand, checkpoint_id: str | None = None, known: Known | None = None
    ) -> Program[Loaded]:
        """Read a checkpoint of a namespace that stands so; see `Journal.load`."""
        epoch, holder, n, head = stand.epoch, stand.holder, stand.n, stand.head
        if head is None and n is not None and checkpoint_id is None:
            raise _damaged(thread_id, ns)
        latest = head.checkpoint if head else None
        id = checkpoint_id or latest
        if n is None or id is None:
            return Loaded(epoch, holder, None, (), ())
        at, current = pack(id), head is not None and id == latest
        run = head.run if head is not None and current else (yield from self._last_run(n, at))
        lineage = self._sql["lineage"], (n, at, n, n)
        joint = known and (self._sql["since"], (n, at, n, pack(known.joint), n, pack(known.id), n))
        records = self._sql["records"], (n, at, run)
        found, recorded, *keys = yield [joint or lineage, records, *[(self._sql["keys"], (n,))][:current]]
        rows = _lineage(found, id, _parent if known else _base)
        since = known is not None and bool(rows) and rows[0].id == known.id
        if known is not None and not since:
            rows = _lineage((yield lineage), id)
        if not rows and id == latest:
            raise _damaged(thread_id, ns)
        for each in keys:
            _check_keys(each, thread_id, ns)
        return Loaded(epoch, holder, head, rows, tuple(sorted(_record_row(id, row) for row in recorded)), since)

    def _last_run(self, n: int, at: bytes) -> Program[str]:
        rows = yield self._sql["last_run"], (n, at)
        return rows[0][0] if rows else ""

    def checkpoints(
        self, thread_id: str, ns: str, before: str | None, limit: int | None
    ) -> Program[Sequence[CheckpointRow]]:
        """Read rows of a namespace; see `Journal.checkpoints`."""
        until = b"\xff" * 4 if before is None else pack(before)
        most = 2**62 if limit is None else limit
        rows = yield self._sql["page"], (thread_id, *self._key(thread_id, ns), until, most)
        if not rows and before is None and limit != 0 and (yield from self.stand(thread_id, ns)).n is not None:
            raise _damaged(thread_id, ns)
        return [_checkpoint_row(row) for row in rows]

    def threads(self) -> Program[Sequence[tuple[str, Sequence[str]]]]:
        """Read the names of threads; see `Journal.threads`."""
        names: dict[str, list[str]] = {}
        for thread_id, ns in (yield self._sql["threads"], ()):
            names.setdefault(thread_id, []).extend(() if ns is None else (ns,))
        return list(names.items())

    def stand(self, thread_id: str, ns: str) -> Program[Stand]:
        """Read how a namespace stands."""
        rows = yield self._sql["stand"], (*self._key(thread_id, ns), thread_id)
        if not rows or rows[0][3] is None:  # not there, unless a damaged index hides it: another one must agree
            named = yield self._sql["find_name"], (name_of(thread_id, ns),)
            if named or (rows and not ns and (yield self._sql["find_root"], (rows[0][0],))):
                raise _damaged(thread_id, ns)
            return Stand(rows[0][1], rows[0][2], rows[0][0]) if rows else Stand()
        thread, epoch, holder, n, checkpoint, run, status, info, seal, newest = rows[0]
        head = Head(unpack(checkpoint), of(str, run), of(str, status), of(bytes, info))  # type: ignore[arg-type]
        if seal != seal_of_head(thread_id, ns, head) or (head.checkpoint == NEWEST and newest is None):
            return Stand(epoch, holder, thread, n)
        return Stand(epoch, holder, thread, n, head, newest or b"")

    def _key(self, thread_id: str, ns: str) -> tuple[Any, ...]:
        """Return by what a head is found among those of its thread."""
        return (ns, name_of(thread_id, ns)) if self._dialect.by_name else (ns,)

    # ------------------------------------------------------------------ writing

    def commit(self, commit: Commit, stand: Stand | None = None) -> Program[Stand]:
        """Store a transaction, and return how its namespace stands then; see `Journal.commit`.

        Args:
            commit: the transaction.
            stand: how the namespace stands, if that is known, and the commit fits; where a dialect `verifies` and it no
                longer stands so, the database divides by zero, before anything is written.
        """
        thread_id, ns = commit.thread_id, commit.ns
        if self._dialect.lock:
            yield from self._wait_for(thread_id)
        if stand is None:
            stand = yield from self.stand(thread_id, ns)
            _check(commit, stand)
        elif self._dialect.verifies:
            yield self._sql["verify"], [stand.signature(thread_id, ns)]
        thread, n = stand.thread, stand.n
        for base in commit.joints:
            if not (yield self._sql["find_checkpoint"], (n, pack(base))):
                raise conflict(commit, stand.holder)
        if commit.claim:
            thread = yield from self._claim(commit, thread)
        head = stand.head_after(commit)
        if head is not None and head != stand.stored:
            n = yield from self._set_head(thread, n, thread_id, ns, head)
        for row in (commit.earlier, commit.checkpoint):
            if row is not None:
                values = _values(n, row)
                stand.newest = max(stand.newest, values[1])
                yield self._sql["put_checkpoint"], [values]
        if commit.forget and n is not None:
            yield from self._forget(n, commit)
        if commit.records:
            yield from self._put_records(n, commit.epoch + commit.claim, commit.records)
        stand.epoch, stand.holder = commit.epoch + commit.claim, commit.run
        stand.thread, stand.n, stand.stored = thread, n, head
        return stand

    def _claim(self, commit: Commit, thread: int | None) -> Program[int]:
        """Take a thread over, creating it if need be."""
        if thread is not None:
            yield self._sql["claim"], [(commit.epoch + 1, commit.run, thread)]
            return thread
        return (yield from self._add_thread(commit.thread_id, commit.epoch + 1, commit.run))

    def _add_thread(self, thread_id: str, epoch: int, holder: str | None) -> Program[int]:
        yield self._sql["add_thread"], [(thread_id, epoch, holder)]
        rows = yield self._sql["find_thread"], (thread_id,)
        return int(rows[0][0])

    def _set_head(self, thread: int | None, n: int | None, thread_id: str, ns: str, head: Head) -> Program[int]:
        """Store a head, creating its row if need be, and return the number of that row."""
        values = (pack(head.checkpoint), head.run, head.status, head.info, seal_of_head(thread_id, ns, head))
        if n is not None:
            yield self._sql["set_head"], [(*values, n)]
            return n
        name = name_of(thread_id, ns)
        yield self._sql["add_head"], [(thread, ns, name, *values)]
        rows = yield self._sql["find_name"], (name,)
        return int(rows[0][0])

    def _forget(self, n: int, commit: Commit) -> Program[None]:
        at = pack(commit.forget_at or "")
        if commit.forget == "*":
            yield self._sql["forget_all"], [(n, at, commit.run)]
        else:
            yield self._sql["forget"], [(n, at, commit.run, id) for id in commit.forget]

    def _put_records(self, n: int | None, epoch: int, records: Sequence[RecordRow]) -> Program[None]:
        rows = [
            (n, (at := pack(row.checkpoint)), row.run, row.id, epoch, seal_of_record(at, row.run, row.id), row.blob)
            for row in records
        ]
        yield self._sql["put_record"], rows

    # ------------------------------------------------------------------ housekeeping

    def edit(self, thread_id: str, epoch: int, edits: Sequence[Edit]) -> Program[None]:
        """Rewrite namespaces of a thread; see `Journal.edit`."""
        stands = []
        yield from self._wait_for(thread_id)
        for edit in edits:
            stand = yield from self.stand(thread_id, edit.ns)
            if stand.n is not None and stand.head is None:
                raise _damaged(thread_id, edit.ns)
            if stand.epoch != epoch or stand.at != (b"" if edit.expect is None else pack(edit.expect)):
                raise edit_conflict(thread_id, stand.holder)
            stands.append(stand)
        thread = stands[0].thread if stands else None
        if thread is None:
            thread = yield from self._add_thread(thread_id, 1, None)
        for edit, stand in zip(edits, stands, strict=True):
            yield from self._edit(thread_id, thread, stand, edit)
        yield self._sql["drop_empty_thread"], [(thread_id,)]

    def _edit(self, thread_id: str, thread: int, stand: Stand, edit: Edit) -> Program[None]:
        n, sql = stand.n, self._sql
        if edit.head is not None:
            n = yield from self._set_head(thread, n, thread_id, edit.ns, edit.head)
        if edit.drop == "*" or edit.head is None:
            yield sql["drop_checkpoints"], [(n,)]
        elif edit.drop:
            yield sql["drop_checkpoint"], [(n, pack(id)) for id in edit.drop]
        if edit.put:
            yield sql["put_checkpoint"], [_values(n, row) for row in edit.put]
        yield sql["forget_lost"], [(n,)]
        if edit.runs:
            yield sql["forget_run"], [(n, run) for run in edit.runs]
        if edit.records:
            yield from self._put_records(n, max(stand.epoch, 1), edit.records)
        if edit.head is None:
            yield sql["drop_head"], [(n,)]

    def delete(self, thread_id: str) -> Program[None]:
        """Remove a thread; see `Journal.delete`."""
        yield from self._wait_for(thread_id)
        for name in ("drop_thread_records", "drop_thread_checkpoints", "drop_thread_heads", "drop_thread"):
            yield self._sql[name], [(thread_id,)]


def _check(commit: Commit, stand: Stand) -> None:
    """Refuse a commit that does not follow from how its thread stands.

    Raises:
        ThreadConflictError: another run wrote since the commit's run read.
        CheckpointCorruptError: what is stored about the namespace is damaged.
    """
    if stand.n is not None and stand.stored is None:
        raise _damaged(commit.thread_id, commit.ns)
    if not stand.fits(commit):
        raise conflict(commit, stand.holder)


def _values(n: int | None, row: CheckpointRow) -> tuple[Any, ...]:
    """Return what the statement "put_checkpoint" is given."""
    return n, pack(row.id), row.parent and pack(row.parent), pack(row.base), row.blob


def _checkpoint_row(row: Sequence[Any]) -> CheckpointRow:
    id, parent, base, blob = row
    return CheckpointRow(unpack(id), None if parent is None else unpack(parent), unpack(base), of(bytes, blob))


def _record_row(checkpoint: str, row: Sequence[Any]) -> RecordRow:
    run, id, blob = row
    return RecordRow(checkpoint, of(str, run), of(str, id), of(bytes, blob))


def _check_keys(rows: Sequence[Any], thread_id: str, ns: str) -> None:
    """See that no record stays unread, and its task is repeated, because its key was damaged."""
    for checkpoint, run, id, seal in rows:
        if seal != seal_of_record(checkpoint, run, id):
            raise CheckpointCorruptError(
                f"A record of thread '{thread_id}', namespace '{ns}' is damaged: what a task of the latest run did "
                "may be missing. Earlier checkpoints of the thread can still be loaded by their id."
            )


def _base(row: CheckpointRow) -> str:
    return row.base


def _parent(row: CheckpointRow) -> str:
    return row.parent or ""


def _lineage(
    found: Sequence[Any], id: str, before: Callable[[CheckpointRow], str] = _base
) -> tuple[CheckpointRow, ...]:
    """Order rows by descent, from a whole state to the checkpoint asked for; a gap or a circle ends them early."""
    by_id, ordered = {row.id: row for row in map(_checkpoint_row, found)}, []
    row = by_id.pop(id, None)
    while row is not None:
        ordered.append(row)
        row = by_id.pop(before(row), None)
    return tuple(reversed(ordered))


def _damaged(thread_id: str, ns: str) -> CheckpointCorruptError:
    return CheckpointCorruptError(
        f"What is stored about the latest checkpoint of thread '{thread_id}', namespace '{ns}' is damaged. Its "
        "checkpoints can still be listed and loaded by their id; delete_thread removes the thread."
    )
