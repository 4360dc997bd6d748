"""Programs of statements, and the tables they need with their versions.

A program is a generator: it yields statements, is sent the rows they return, and returns its result. It knows nothing
of connections, so that it is written once for every database; the drivers in this package run it.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar

from twinstep.errors import TwinstepError

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...] | list[tuple[Any, ...]]]
"""SQL with `?` for its parameters; a list of parameters runs it once for each and returns no rows."""


class Fresh(str):
    """SQL that is to be planned each time: the best way depends on its parameters."""

    __slots__ = ()


Program = Generator[Statement | list[Statement], list[Any], T]
"""A list of statements that read is answered by the list of their rows, in one go where there is a way to go."""


@dataclass(frozen=True)
class Dialect:
    """How one database spells what others spell differently.

    Attributes:
        serial: a key that numbers new rows by itself.
        blob: bytes.
        text: text that sorts by code point.
        clustered: appended to tables that are stored in the order of their key.
        found: finds the row of a table that exists, by its name.
        lock: makes transactions that name the same number wait for each other; empty where all writers do.
    """

    serial: str
    blob: str
    text: str
    clustered: str
    found: str
    lock: str = ""


@dataclass(frozen=True)
class Schema:
    """The tables of one part of the library.

    Attributes:
        name: what they are for, such as `store`.
        migrations: what brings them from one version to the next, the first from none to 1: statements, in which fields
            of the dialect stand in braces, and programs.
        failed: raised when the database fails.
        damaged: raised when it is no database or does not hold what was written.
        table: the name of the table that holds their version.
        user: what users call the object that keeps something in them.
    """

    name: str
    migrations: tuple[tuple[str | Callable[[], Program[None]], ...], ...]
    failed: type[TwinstepError]
    damaged: type[TwinstepError]
    table: str
    user: str

    def version(self, dialect: Dialect) -> Program[int]:
        """Return the version of the tables, 0 if there are none.

        Raises:
            TwinstepError: a newer version of the library made them (`failed`), or it is no number (`damaged`).
        """
        made = yield dialect.found, (self.table,)
        return (yield from self._noted()) if made else 0

    def _noted(self) -> Program[int]:
        rows = yield f"SELECT version FROM {self.table}", ()
        version = rows[0][0] if rows else 0
        if type(version) is not int:
            raise self.damaged(f"The {self.name} tables are damaged: their version is {version!r}.")
        if version > len(self.migrations):
            raise self.failed(
                f"The database has version {version} of the {self.name} tables; this twinstep knows versions up to "
                f"{len(self.migrations)}. Install the newer twinstep that made them."
            )
        return version

    def upgrade(self, dialect: Dialect) -> Program[None]:
        """Bring the tables to the newest version, unless another process was faster; errors as in `version`."""
        if dialect.lock:
            yield dialect.lock, [(crc32(self.table.encode()),)]
        yield f"CREATE TABLE IF NOT EXISTS {self.table} (version BIGINT NOT NULL)", ()
        version = yield from self._noted()
        if version == 0:
            yield f"INSERT INTO {self.table} (version) VALUES (0)", ()
        for step in chain.from_iterable(self.migrations[version:]):
            if isinstance(step, str):
                yield step.format(**vars(dialect)), ()
            else:
                yield from step()
        yield f"UPDATE {self.table} SET version = {len(self.migrations)}", ()


class Database(Protocol):
    """What runs programs."""

    def open(self) -> None:
        """Connect and make the tables, if that has not been done."""
        ...

    def autocommit(self, program: Program[T]) -> T:
        """Run a program each statement of which is a transaction in itself."""
        ...

    def transact(self, program: Program[T], *, write: bool = True) -> T:
        """Run a program in a transaction, which may only read without `write`."""
        ...

    def close(self) -> None:
        """Close what has been opened; nothing can be done with it afterwards."""
        ...


class Ready:
    """What `setup` returns: nothing, for synchronous callers and for those who write `await ....setup()`."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()
