"""Paths into stored values: which parts of a value are made searchable.

A path is field names joined by dots, each followed by any number of `[0]`, `[-1]` or `[*]` (every element):
`title`, `author.name`, `chapters[*].text`. The path `$` is the whole value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from twinstep.errors import InvalidConfigError

WHOLE: Final = "$"
_PART: Final = re.compile(r"[^.\[\]]+|\[(?:-?\d+|\*)\]")
_PATH: Final = re.compile(r"[^.\[\]]+(?:\[(?:-?\d+|\*)\])*(?:\.[^.\[\]]+(?:\[(?:-?\d+|\*)\])*)*")


@lru_cache(maxsize=512)
def parse_path(path: str) -> tuple[str, ...]:
    """Split a path into its steps: field names, and indexes with their brackets.

    Raises:
        InvalidConfigError: the path does not follow the grammar of this module.
    """
    if path == WHOLE:
        return ()
    if not _PATH.fullmatch(path):
        raise InvalidConfigError(
            f"Path {path[:80]!r} cannot be read. Write field names with dots and [n] or [*] for lists, "
            "such as 'chapters[*].text', or '$' for the whole value."
        )
    return tuple(_PART.findall(path))


def texts_at(value: Any, path: str) -> Iterator[str]:
    """Yield the text of everything in `value` that `path` leads to; what is missing or None yields nothing."""
    for found in _walk(value, parse_path(path)):
        if found is not None:
            yield found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)


def _walk(value: Any, steps: tuple[str, ...]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    for child in _children(value, steps[0]):
        yield from _walk(child, steps[1:])


def _children(value: Any, step: str) -> list[Any]:
    if not step.startswith("["):
        return [value[step]] if isinstance(value, Mapping) and step in value else []
    if not isinstance(value, (list, tuple)):
        return []
    if step == "[*]":
        return list(value)
    index = int(step[1:-1])
    return [value[index]] if -len(value) <= index < len(value) else []
