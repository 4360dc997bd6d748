"""Copies of containers, so that what user code does to them in place stays with it.

What is written is copied once, when it comes; who reads is given copies. So nobody but the engine has the containers
that are in the state. Objects of other classes are shared, and with them what they hold.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any, Final

from twinstep.serde.kinds import SCALARS
from twinstep.types import Overwrite

CONTAINERS: Final = frozenset({list, dict, set, deque, defaultdict, OrderedDict, Counter, bytearray})
"""The types whose values are copied; not their subclasses."""
COPIED: Final = CONTAINERS | {Overwrite}
_FLAT: Final = frozenset({set, bytearray})
_DICT: Final = frozenset({dict})
_SMALL: Final = 32
"""Containers in one, itself included, up to which it is copied as a tree: what is in it twice is two in the copy."""
_Seen = tuple[int, bool, tuple[Any, ...], bool]


_UNSEEN: Final[_Seen] = (0, False, (), True)


class Contents:
    """What is known of what is in a container, so that it is looked at once and not at each copy.

    Of a list that has only grown, what was added to it is looked at alone.

    Args:
        objects: how many items of a list, its first, are known to be no containers.
    """

    __slots__ = ("_plain", "_seen")

    def __init__(self, objects: int = 0) -> None:
        self._seen: _Seen = (objects, False, (), True) if objects else _UNSEEN
        self._plain = 0

    def grown(self) -> Contents:
        """Return what is known of a list that begins with the items of this one."""
        new = Contents()
        new._seen, new._plain = self._seen, self._plain
        return new

    def first(self, many: int) -> Contents:
        """Return what is known of a list that begins with so many items of this one."""
        new, (count, rows, deep, small) = self.grown(), self._seen
        if many < count:
            new._seen = (many, rows and many > 0, tuple(place for place in deep if place < many), small)
        new._plain = min(many, self._plain)
        return new

    def copy(self, value: Any) -> Any:
        """Return a copy that shares no container with the value."""
        seen = self._seen
        _, rows, deep, small = seen if seen[0] == len(value) else self.look(value)
        new = list(map(dict.copy, value)) if rows else value.copy()
        if small:
            for place in deep:
                new[place] = _tree(value[place])
        else:
            memo = {id(value): new}
            for place in deep:
                new[place] = _copy(value[place], memo)
        return new

    def look(self, value: Any) -> _Seen:
        """Look at what was not looked at yet.

        Returns:
            The number of items; whether all are dicts; the places of what is to be copied with what is in it (any dict,
            if not all items are dicts); whether all that is there is small.
        """
        if self._seen[0] != len(value):
            self._seen = _look(value, *self._seen)
        return self._seen

    def is_plain(self, items: list[Any]) -> bool:
        """Tell whether nothing is in a list, at any depth, but containers and scalars."""
        if 0 <= self._plain != len(items):
            self._plain = len(items) if _is_plain(items[self._plain :]) else -1
        return self._plain >= 0


def own(value: Any) -> Any:
    """Return a container as a copy that shares no container with it, and any other value as it is."""
    if type(value) not in CONTAINERS:
        return value
    if CONTAINERS.isdisjoint(map(type, value.values() if isinstance(value, dict) else value)):
        return value.copy()
    return Contents().copy(value)


def isolate(writes: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Put copies into writes in place of what user code has; what is written twice is one object still."""
    made: dict[int, Any] = {}
    for n, (key, value) in enumerate(writes):
        if type(value) in COPIED:
            if id(value) not in made:
                made[id(value)] = Overwrite(own(value.value)) if type(value) is Overwrite else own(value)
            writes[n] = (key, made[id(value)])
    return writes


def _look(value: Any, count: int, rows: bool, deep: tuple[Any, ...], small: bool) -> _Seen:
    """Look at a value, of which that is known if it is a list that begins with items looked at before."""
    if type(value) is not list or count > len(value):
        count, rows, deep, small = _UNSEEN
    added = value[count:] if count else value
    if type(value) is list and not rows and CONTAINERS.isdisjoint(map(type, added)):
        return len(value), False, deep, small
    if type(value) is list and (rows or not count) and _DICT.issuperset(map(type, added)):
        rows = True
        found = [n for n, item in enumerate(added, count) if not CONTAINERS.isdisjoint(map(type, item.values()))]
    else:
        if rows:  # no longer
            count, rows, deep, small = _UNSEEN
            added = value
        found = [place for place, item in _items(added, count) if type(item) in CONTAINERS]
    return len(value), rows, (*deep, *found), small and all(_is_small(value[place]) for place in found)


def _items(container: Any, start: int = 0) -> Iterable[tuple[Any, Any]]:
    """Return what may be a container in a container, each with its place."""
    if isinstance(container, dict):
        return container.items()
    return () if type(container) in _FLAT else enumerate(container, start)


def _is_small(value: Any) -> bool:
    """Tell whether few containers are in one; if it is in itself, they are without end."""
    waiting = [value]
    for container in waiting:
        waiting.extend(item for _, item in _items(container) if type(item) in CONTAINERS)
        if len(waiting) > _SMALL:
            return False
    return True


def _tree(value: Any) -> Any:
    """Return a copy of a small container with all that are in it."""
    if type(value) is list:
        return [_tree(item) if type(item) in CONTAINERS else item for item in value]
    if type(value) is dict:
        return {key: _tree(item) if type(item) in CONTAINERS else item for key, item in value.items()}
    new = value.copy()
    for place, item in _items(value):
        if type(item) in CONTAINERS:
            new[place] = _tree(item)
    return new


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of a container with all that are in it; what is in it twice, or in itself, is so in the copy."""
    waiting = [(value, _shallow(value, memo))] if id(value) not in memo else []
    for old, new in waiting:
        for place, item in _items(old):
            if type(item) in CONTAINERS:
                if id(item) not in memo:
                    waiting.append((item, _shallow(item, memo)))
                new[place] = memo[id(item)]
    return memo[id(value)]


def _shallow(value: Any, memo: dict[int, Any]) -> Any:
    memo[id(value)] = new = value.copy()
    return new


def _is_plain(items: list[Any]) -> bool:
    seen = {id(items)}
    waiting: list[Any] = [items]
    for container in waiting:
        values: Any = container.values() if isinstance(container, dict) else container
        if isinstance(container, dict) and not SCALARS.issuperset(map(type, container)):
            return False
        if SCALARS.issuperset(map(type, values)):
            continue
        for item in values:
            if type(item) not in CONTAINERS and type(item) not in SCALARS:
                return False
            if type(item) in CONTAINERS and id(item) not in seen:
                seen.add(id(item))
                waiting.append(item)
    return True
