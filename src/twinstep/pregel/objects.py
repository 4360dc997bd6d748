"""Long lists of objects, such as messages, taken apart: compared and made anew faster than by way of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from twinstep.errors import EncodingError
from twinstep.serde import Serializer
from twinstep.serde.registry import registered_shape
from twinstep.serde.shapes import Bulk, Row, Shape

MANY: Final = 32
"""Items from which on taking them apart is worth it."""


class Objects(NamedTuple):
    """What the items of a list are, objects that can be made in bulk.

    Attributes:
        bulk: how.
        kinds: their classes, each once.
        classes: the class of each.
        rows: what they consist of, as far as that can be told in a row.
        others: the parts of the others, encoded, by their places.
    """

    bulk: Bulk
    kinds: frozenset[type]
    classes: list[type]
    rows: list[Row]
    others: dict[int, bytes]

    def grown(self, serde: Serializer, added: Sequence[Any]) -> Objects | None:
        """Return those of the list with more items; None if some are of another kind."""
        classes, rows, others = list(map(type, added)), [], self.others.copy()
        kinds = self.kinds.union(classes)
        shapes = self._shapes(kinds)
        if shapes is None:
            return None
        for place, (cls, item) in enumerate(zip(classes, added, strict=True), len(self.rows)):
            row = self.bulk.row(item)
            rows.append(self.bulk.blank if row is None else row)
            if row is None:
                others[place] = serde.dumps(list(shapes[cls].parts(item)))
        return Objects(self.bulk, kinds, [*self.classes, *classes], [*self.rows, *rows], others)

    def begin(self, serde: Serializer, items: Sequence[Any]) -> bool:
        """Tell whether a list still begins with them: objects of the same classes, with the same parts."""
        items = items[: len(self.rows)]
        shapes = self._shapes(self.kinds)
        if shapes is None or list(map(type, items)) != self.classes:
            return False
        try:
            return all(
                self.bulk.row(items[place]) == self.rows[place]
                if place not in self.others
                else serde.dumps(list(shapes[self.classes[place]].parts(items[place]))) == self.others[place]
                for place in self.bulk.differing(items, self.rows)
            )
        except EncodingError:  # who encodes the list will say where
            return False

    def made(self, serde: Serializer) -> list[Any] | None:
        """Return the items, made anew; None if one of the classes is no longer what reading the bytes would make."""
        shapes = self._shapes(self.kinds)
        if shapes is None:
            return None
        items = self.bulk.make(self.classes, self.rows)
        for place, data in self.others.items():
            items[place] = shapes[self.classes[place]].build(*serde.loads(data))
        return items

    def _shapes(self, kinds: frozenset[type]) -> dict[type, Shape] | None:
        """Return the shapes of classes, if their instances can be made in this way."""
        shapes = {cls: shape for cls in kinds if (shape := registered_shape(cls)) and shape.bulk is self.bulk}
        return shapes if len(shapes) == len(kinds) else None


def objects_in(serde: Serializer, value: Any) -> Objects | None:
    """Return the items of a list taken apart, if they are many, and objects that can be made in bulk."""
    if type(value) is not list or len(value) < MANY:
        return None
    shape = registered_shape(type(value[0]))
    if shape is None or shape.bulk is None:
        return None
    return Objects(shape.bulk, frozenset(), [], [], {}).grown(serde, value)
