"""What the annotations of nodes and path functions say."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from twinstep.arguments import expect_several
from twinstep.graph.schema import hints_of
from twinstep.types import Command


def _annotation(fn: Any, name: str | None) -> Any:
    """Return the annotation of a function's result (`"return"`) or of its first parameter (None)."""
    code = fn if inspect.isroutine(fn) else type(fn).__call__
    try:
        hints = get_type_hints(code, include_extras=True)
        if name is None:
            first = next(iter(inspect.signature(fn).parameters.values()), None)
            return hints.get(first.name) if first is not None else None
        return hints.get(name)
    except Exception:  # annotations are optional; one that cannot be resolved says nothing
        return None


def first_parameter_type(fn: Any) -> Any:
    """Return the state class that a node's first parameter is annotated with, if it is one."""
    annotation = _annotation(fn, None)
    try:
        return annotation if inspect.isclass(annotation) and hints_of(annotation) else None
    except Exception:
        return None


def literals(fn: Any, name: str) -> list[str] | None:
    annotation = _annotation(fn, name)
    return list(get_args(annotation)) if get_origin(annotation) is Literal else None


def destinations_of(node: str, given: Mapping[str, str] | Sequence[str] | None, action: Any) -> dict[str, str] | None:
    """Return where a node's commands may go: as given, or as annotated by `-> Command[Literal[...]]`."""
    if given is not None:
        expect_several(f"add_node('{node}', destinations=...)", given, "a list of node names, or a mapping of them")
        return dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, "")
    annotation = _annotation(action, "return")
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Command:
            inner = get_args(part)[0]
            if get_origin(inner) is Literal:
                return dict.fromkeys(get_args(inner), "")
    return None
