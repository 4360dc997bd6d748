"""From what a node or a path function returns to writes: updates, jumps and packets."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from twinstep.constants import END, PARENT, ROOT, START, TASKS
from twinstep.errors import InvalidUpdateError, ParentCommand, did_you_mean
from twinstep.graph.nodes import nearest
from twinstep.graph.schema import AnyChannel, writes_of
from twinstep.graph.validation import Check
from twinstep.stream.events import Write
from twinstep.types import NOTHING, Command, Overwrite, Send

SEVERAL = (list, tuple)


def trigger_of(node: str) -> str:
    """Return the channel that starts a node."""
    return f"branch:to:{node}"


class Router:
    """Turns results into writes for the nodes and keys of one graph.

    Args:
        graph: its name, for errors.
        nodes: the names that can be gone to.
        keys: the state keys.
        checks: for keys whose values are validated: what turns a written value into a valid one.
    """

    graph: str
    keys: Mapping[str, AnyChannel]
    checks: Mapping[str, Callable[[Any], Any]]

    def __init__(
        self,
        graph: str,
        nodes: Iterable[str],
        keys: Mapping[str, AnyChannel],
        checks: Mapping[str, Check],
    ) -> None:
        self.graph, self.keys, self.checks = graph, keys, checks
        self.targets: dict[str, Write] = {name: (trigger_of(name), None) for name in nodes}
        self.internal: frozenset[str] = frozenset((TASKS, *[trigger for trigger, _ in self.targets.values()]))

    def results(self, node: str | None = None) -> Callable[[Any], list[Write]]:
        """Return the function that turns a node's result, or a command, into writes.

        Raises (when called):
            InvalidUpdateError: a key or a destination does not exist, or the result is no update.
        """
        plain = self.keys.keys() if not self.checks and ROOT not in self.keys else None

        def writes(result: Any) -> list[Write]:
            if plain is not None and type(result) is dict and result.keys() <= plain:
                return list(result.items())
            keys = self.keys
            if type(result) is dict and ROOT not in keys:
                found = list(result.items())
            else:
                parts = result if _is_mixed(result) else (result,)
                if commands := [part for part in parts if isinstance(part, Command) and part.graph == PARENT]:
                    raise ParentCommand(*commands)
                found = [w for part in parts for w in self._part(part)]
            for key, _ in found:
                if key not in keys and key not in self.internal:
                    raise self._unknown_key(key, node)
            return valid(found, self.checks, self.graph) if self.checks else found

        return writes

    def _part(self, part: Any) -> list[Write]:
        if isinstance(part, Command):
            if part.resume is not NOTHING:
                raise InvalidUpdateError(
                    "Command(resume=...) was returned by a node: answers are given to invoke or stream, by the caller."
                )
            if part.graph is not None:
                raise InvalidUpdateError(
                    f"Command(graph={part.graph!r}): graph is None (this graph) or Command.PARENT (the one around it)."
                )
            return [*writes_of(part.update, self.keys), *self.goto(part.goto)]
        if isinstance(part, Send):
            return self.goto(part)
        return writes_of(part, self.keys)

    def goto(self, destinations: Any) -> list[Write]:
        """Return the writes that start the destinations: names, packets, or a sequence of them.

        Raises:
            InvalidUpdateError: a destination does not exist.
        """
        several: Iterable[Any] = destinations if isinstance(destinations, SEVERAL) else (destinations,)
        return [write for destination in several for write in self._start(destination)]

    def _start(self, destination: Any) -> list[Write]:
        write = self.targets.get(destination) if type(destination) is str else None
        if write is not None:
            return [write]
        if isinstance(destination, Send):
            if destination.node not in self.targets:
                raise self._unknown(destination.node, "Send to")
            return [(TASKS, destination)]
        if not isinstance(destination, str):
            raise InvalidUpdateError(
                f"goto {destination!r} in '{self.graph}': a destination is a node's name, END or a Send packet, and "
                "several are a list of these."
            )
        if destination == END:
            return []
        write = self.targets.get(destination)
        if write is None:
            raise self._unknown(destination, "goto")
        return [write]

    def choice(self, source: str, path: str, ends: Mapping[Any, str] | None) -> Callable[[Any], list[Write]]:
        """Return the function that turns what a path function chose into writes.

        Raises (when called):
            InvalidUpdateError: it chose nothing, or what does not exist.
        """
        before: dict[str, list[Write]] = {}  # where names lead to that were chosen already

        def writes(chosen: Any) -> list[Write]:
            if type(chosen) is str and chosen in before:
                return before[chosen]
            several = chosen if isinstance(chosen, SEVERAL) else [chosen]
            found = []
            for one in several:
                if ends is not None and not isinstance(one, Send):
                    if (type(one) is not str and not isinstance(one, Hashable)) or one not in ends:
                        known = ", ".join(map(repr, ends))
                        raise InvalidUpdateError(
                            f"Path function '{path}' of '{source}' returned {one!r}, which is not in its path map "
                            f"({known})." + did_you_mean(one, map(str, ends))
                        )
                    one = ends[one]
                if one is None or one == START:
                    raise InvalidUpdateError(
                        f"Path function '{path}' of '{source}' did not return a valid destination: {one!r}. Return "
                        "node names, END, Send packets, or a list of them."
                    )
                found += self._start(one)
            if type(chosen) is str:
                before[chosen] = found
            return found

        return writes

    def _unknown_key(self, key: Any, node: str | None) -> InvalidUpdateError:
        who = "A command" if node is None else f"Node '{node}'"
        return InvalidUpdateError(
            f"{who} of '{self.graph}' wrote '{key}', which is not a key of its state "
            f"({', '.join(self.keys)})." + did_you_mean(key, self.keys)
        )

    def _unknown(self, name: Any, what: str) -> InvalidUpdateError:
        if name == END:
            return InvalidUpdateError(f"{what} END: a packet needs a node to run.")
        return InvalidUpdateError(
            f"{what} unknown node {name!r} in '{self.graph}' (nodes: {', '.join(self.targets)})."
            + nearest(name, self.targets)
        )


def valid(writes: list[Write], checks: Mapping[str, Check], graph: str) -> list[Write]:
    """Return writes with every value as the type of its key.

    Raises:
        ValidationError: of pydantic, with the key in a note.
    """
    return [(key, _checked(key, value, checks[key], graph) if key in checks else value) for key, value in writes]


def _checked(key: str, value: Any, check: Check, graph: str) -> Any:
    try:
        return Overwrite(check(value.value)) if type(value) is Overwrite else check(value)
    except Exception as error:
        error.add_note(f"At key '{key}' of '{graph}'")
        raise


def _is_mixed(result: Any) -> bool:
    """Tell whether a result is a list of several parts, at least one of them a command or packet."""
    return isinstance(result, SEVERAL) and any(isinstance(part, Command | Send) for part in result)
