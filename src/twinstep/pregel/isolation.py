"""Copies of containers, so that what user code does to them in place stays with it.

What is written is copied once, when it comes; who reads is given copies. So nobody but the engine has the containers
that are in the state. Objects of other classes are shared, and with them what they hold.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from twinstep.serde.kinds import SCALARS
from twinstep.types import Overwrite

CONTAINERS: Final = frozenset({list, dict, set, deque, defaultdict, OrderedDict, Counter, bytearray})
"""The types whose values are copied; not their subclasses."""
COPIED: Final = CONTAINERS | {Overwrite}
_FLAT: Final = frozenset({set, bytearray})
_DICT: Final = frozenset({dict})
_Seen = tuple[int, bool, tuple[Any, ...]]


class Contents:
    """What is known of what is in a container, so that it is looked at once and not at each copy.

    Of a list that has only grown, what was added to it is looked at alone.

    Args:
        objects: how many items of a list, its first, are known to be no containers.
    """

    __slots__ = ("_plain", "_seen")

    def __init__(self, objects: int = 0) -> None:
        self._seen: _Seen = (objects, False, ())
        self._plain = 0

    def grown(self) -> Contents:
        """Return what is known of a list that begins with the items of this one."""
        new = Contents()
        new._seen, new._plain = self._seen, self._plain
        return new

    def first(self, many: int) -> Contents:
        """Return what is known of a list that begins with so many items of this one."""
        new, (count, rows, deep) = self.grown(), self._seen
        if many < count:
            new._seen = (many, rows and many > 0, tuple(place for place in deep if place < many))
        new._plain = min(many, self._plain)
        return new

    def copy(self, value: Any) -> Any:
        """Return a copy that shares no container with the value."""
        _, rows, deep = self.look(value)
        new = list(map(dict.copy, value)) if rows else value.copy()
        if deep:
            memo = {id(value): new}
            for place in deep:
                new[place] = _copy(value[place], memo)
        return new

    def look(self, value: Any) -> _Seen:
        """Look at what was not looked at yet; return the number of items, whether all are dicts, and the deep places.

        Deep is a place of what has to be copied with what is in it; any dict is, if not all items are dicts.
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
    return Contents().copy(value) if type(value) in CONTAINERS else value


def isolate(writes: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Put copies into writes in place of what user code has; what is written twice is one object still."""
    made: dict[int, Any] = {}
    for n, (key, value) in enumerate(writes):
        if type(value) in COPIED:
            if id(value) not in made:
                made[id(value)] = Overwrite(own(value.value)) if type(value) is Overwrite else own(value)
            writes[n] = (key, made[id(value)])
    return writes


def _look(value: Any, count: int, rows: bool, deep: tuple[Any, ...]) -> _Seen:
    """Look at a value, of which that is known if it is a list that begins with items looked at before."""
    if type(value) is not list:
        return len(value), False, tuple(_places(_items(value)))
    if count > len(value):
        count, rows, deep = 0, False, ()
    kinds = set(map(type, value[count:]))
    if kinds == _DICT and (rows or not count):
        added = enumerate(value[count:], count)
        holding = tuple(n for n, item in added if not CONTAINERS.isdisjoint(map(type, item.values())))
        return len(value), True, deep + holding
    if rows:  # no longer
        count, deep = 0, ()
    elif kinds.isdisjoint(CONTAINERS):
        return len(value), False, deep
    return len(value), False, (*deep, *_places(enumerate(value[count:], count)))


def _places(items: Iterable[tuple[Any, Any]]) -> Iterator[Any]:
    return (place for place, item in items if type(item) in CONTAINERS)


def _items(container: Any) -> Iterable[tuple[Any, Any]]:
    """Return what may be a container in a container, each with its place."""
    if isinstance(container, dict):
        return container.items()
    return () if type(container) in _FLAT else enumerate(container)


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
