"""What the stores in databases share: when their programs run."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Self

from twinstep.sql.schema import Database, Ready
from twinstep.store.backend import BackendStore, Batch, decoded
from twinstep.store.base import Result, Value
from twinstep.store.expiry import TTLConfig, now
from twinstep.store.spelling import Spelling
from twinstep.store.sql import StoreProgram
from twinstep.store.terms import is_json_like, terms_of
from twinstep.store.vectors import IndexConfig
from twinstep.threads import in_thread


class DatabaseStore(BackendStore):
    """A store in a database; a subclass sets `_db`, which calls `_opened` when it has opened."""

    _db: Database
    _plain: ClassVar[Spelling]

    def __init__(self, *, index: IndexConfig | None, ttl: TTLConfig | None) -> None:
        super().__init__(index=index, ttl=ttl)
        self._sql = StoreProgram(self._plain, self._expiry, indexed=False)

    def setup(self) -> Ready:
        """Open the database and make the tables; every other call does so when it is needed. May be awaited.

        Raises:
            StorageError: it cannot be opened, or a newer version of the library made the tables.
            CheckpointCorruptError: a file is no database.
            InvalidConfigError: the vectors that are there have another length than `index` says.
        """
        self._db.open()
        return Ready()

    def _apply(self, batch: Batch) -> list[Result]:
        self._db.open()
        at, db = now(), self._db
        applied = None
        if batch.count == 1 and not batch.writes and not batch.queries:
            applied = db.autocommit(self._sql.at_once(batch, at))
        if applied is None:
            applied = db.transact(self._sql.apply(batch, at), write=bool(batch.writes))
        if applied.refresh:
            db.transact(self._sql.refresh(applied.refresh, at))
        return applied.results

    def _terms(self, value: Value, data: bytes) -> list[int]:
        """Return the terms of what a value will be when it is read."""
        return terms_of(value if is_json_like(value) else decoded((), "", data))

    def sweep_ttl(self) -> int:
        """Remove the items that have expired and return how many they were."""
        self._db.open()
        return self._db.transact(self._sql.sweep(now()))

    def close(self) -> None:
        """Stop the sweeper and close what the store has opened; the store cannot be used afterwards."""
        self.stop_ttl_sweeper()
        self._db.close()

    def __enter__(self) -> Self:
        self.setup()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await in_thread(self.setup)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await in_thread(self.close)
