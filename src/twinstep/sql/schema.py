"""Programs of statements, and the tables they need with their versions.

A program is a generator: it yields statements, is sent the rows they return, and returns its result. It knows nothing
of connections, so that it is written once for every database; the drivers in this package run it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from twinstep.errors import StorageError, TwinstepError

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...] | list[tuple[Any, ...]]]
"""SQL with `?` for its parameters; a list of parameters runs it once for each and returns no rows."""
Program = Generator[Statement, list[Any], T]


@dataclass(frozen=True)
class Dialect:
    """How one database spells the types that others spell differently.

    Attributes:
        serial: a key that numbers new rows by itself.
        blob: bytes.
        text: text that sorts by code point.
        clustered: appended to tables that are stored in the order of their key.
    """

    serial: str
    blob: str
    text: str
    clustered: str


@dataclass(frozen=True)
class Schema:
    """The tables of one part of the library.

    Attributes:
        name: what they are for, such as `store`; the table `twinstep_<name>_schema` holds their version.
        migrations: what brings them from one version to the next, the first from none to 1; fields of `Dialect` stand
            in braces.
        failed: raised when the database fails.
        damaged: raised when it is no database or does not hold what was written.
    """

    name: str
    migrations: tuple[tuple[str, ...], ...]
    failed: type[TwinstepError]
    damaged: type[TwinstepError]

    @property
    def table(self) -> str:
        """The name of the table that holds the version."""
        return f"twinstep_{self.name}_schema"

    def upgrade(self, dialect: Dialect, made: bool) -> Program[None]:
        """Bring the tables to the newest version, given whether the table with their version is `made`.

        Raises:
            StorageError: a newer version of the library made them.
        """
        version = 0
        if made:
            version = (yield f"SELECT version FROM {self.table}", ())[0][0]
        else:
            yield f"CREATE TABLE {self.table} (version INTEGER NOT NULL)", ()
            yield f"INSERT INTO {self.table} (version) VALUES (0)", ()
        if version > len(self.migrations):
            raise StorageError(
                f"The database has version {version} of the {self.name} tables; this twinstep knows versions up to "
                f"{len(self.migrations)}. Install the newer twinstep that made them."
            )
        for statements in self.migrations[version:]:
            for sql in statements:
                yield sql.format(**vars(dialect)), ()
        if version < len(self.migrations):
            yield f"UPDATE {self.table} SET version = ?", (len(self.migrations),)


class Database(Protocol):
    """What runs programs."""

    def open(self) -> None:
        """Connect and make the tables, if that has not been done."""
        ...

    def run(self, program: Program[T]) -> T:
        """Run a program of one statement, which is a transaction in itself."""
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
