"""Threads that an earlier version of the program has stored: what they are called now, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from twinstep.arguments import expect
from twinstep.constants import PREVIOUS, TASKS
from twinstep.errors import ProgramChangedError

BRANCH, JOIN = "branch:to:", "join:"
"""How the channels of edges and of joins begin."""
_EXAMPLES = {"renamed": "{'old': 'new'}", "migrations": "{0: function}"}
Stored = dict[str, Any]
"""What a checkpoint holds of every channel."""


class PastOptions(TypedDict, total=False):
    """The arguments of `Past`, as options of a program."""

    version: int
    renamed: Mapping[str, str | None]
    migrations: Mapping[int, Callable[[Any], Any]]


@dataclass(frozen=True, slots=True)
class Past:
    """How a program reads what earlier versions of it have stored.

    Args:
        version: number of the state's schema, kept with every checkpoint; threads stored without one have version 0.
        renamed: nodes, tasks and state keys by the name they had; None for what is no longer wanted.
        migrations: by version, what turns the values of the state keys into those of the next version.
    """

    version: int = 0
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    migrations: Mapping[int, Callable[[Any], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect("version=", self.version, int, "a whole number", optional=False)
        for name in ("renamed", "migrations"):
            given = expect(f"{name}=", getattr(self, name), Mapping, f"a mapping such as {_EXAMPLES[name]}")
            object.__setattr__(self, name, {} if given is None else given)
        for old, new in self.renamed.items():
            expect(f"renamed={{{old!r}: ...}}", new, str, "the name it has now, or None")
        for version, migrate in self.migrations.items():
            expect("migrations=", version, int, f"a mapping such as {_EXAMPLES['migrations']}", optional=False)
            expect(
                f"migrations={{{version}: ...}}", migrate, Callable, "a function of the state's values", optional=False
            )

    def channel(self, name: str) -> str | None:
        """Return what a channel is called now."""
        if name in self.renamed:
            return self.renamed[name]
        if name.startswith(BRANCH):
            node = self.node(name.removeprefix(BRANCH))
            return None if node is None else BRANCH + node
        if name.startswith(JOIN):
            starts, _, end = name.removeprefix(JOIN).rpartition(":")
            names = [self.node(start.replace("\0", "+")) for start in starts.replace("++", "\0").split("+")]
            kept = "+".join(start.replace("+", "++") for start in names if start is not None)
            return f"{JOIN}{kept}:{self.node(end)}"
        return name

    def node(self, name: str) -> str | None:
        """Return what a node or task is called now."""
        return self.renamed.get(name, name)

    def value(self, channel: str, value: Any) -> Any:
        """Return the value of a channel with the names of nodes in it as they are now."""
        if channel == TASKS:
            return [replace(packet, node=node) for packet in value if (node := self.node(packet.node)) is not None]
        if not channel.startswith(JOIN):
            return value
        seen, *rest = value if value and isinstance(value[0], list) else [value]
        now = [node for name in seen if (node := self.node(name)) is not None]
        return [now, *rest] if rest else now

    def writes(self, writes: Iterable[Sequence[Any]]) -> list[tuple[str, Any]]:
        """Return writes on record as they are to be made now."""
        pairs = [(self.channel(channel) if self.renamed else channel, value) for channel, value in writes]
        return [(channel, value) for channel, value in pairs if channel is not None]

    def old_names(self, name: str) -> list[str]:
        """Return the names that a node or task had before."""
        return [] if not self.renamed else [old for old, new in self.renamed.items() if new == name]

    def stored(self, stored: Stored, version: int, name: str) -> Stored:
        """Return stored channel values under their names of now, in the form that they have now.

        Raises:
            ProgramChangedError: the values are of a newer version, or there is no migration from theirs.
        """
        if self.renamed:
            names = {old: new for old in stored if (new := self.channel(old)) is not None}
            stored = {
                new: self.value(old, stored[old]) for old, new in names.items() if new == old or new not in stored
            }
        return stored if version == self.version else self._migrated(stored, version, name)

    def _migrated(self, stored: Stored, version: int, name: str) -> Stored:
        engine = {key: value for key, value in stored.items() if key.startswith((BRANCH, JOIN, "__"))}
        values: Any = {key: value for key, value in stored.items() if key not in engine}
        if not values and PREVIOUS in engine:
            values = engine.pop(PREVIOUS)  # of an entrypoint, what it has saved
        functional = PREVIOUS in stored
        for step in range(version, max(self.version, version + 1)):
            migration = self.migrations.get(step)
            if migration is None or version > self.version:
                raise ProgramChangedError(
                    f"The thread's state has version {version} and '{name}' has version {self.version}, but there is "
                    f"no migration from version {step}: pass migrations={{{step}: function}}, which gets the values of "
                    "the state keys and returns them as the next version has them.",
                    missing=(f"version {step}",),
                )
            values = migration(values) if values else values
        return {**engine, PREVIOUS: values} if functional else {**engine, **values}


NO_PAST = Past()
