"""What the annotations of nodes and path functions say."""

from __future__ import annotations

import inspect
from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from twinstep.arguments import expect_several
from twinstep.graph.schema import hints_of
from twinstep.pregel.action import is_as_written
from twinstep.types import Command


def hints_of_code(fn: Any) -> dict[str, Any]:
    """Return the annotations of a callable; none when one of them cannot be resolved, for they are optional."""
    try:
        if is_as_written(fn) and not fn.__annotations__:
            return {}
        return get_type_hints(fn if inspect.isroutine(fn) else type(fn).__call__, include_extras=True)
    except Exception:
        return {}


def first_parameter_type(fn: Any, hints: Mapping[str, Any], known: Container[Any]) -> Any:
    """Return the state class that a node's first parameter is annotated with, if it is one; some are known to be."""
    if not hints:
        return None
    try:
        annotation = hints.get(_first_parameter(fn))
        return annotation if inspect.isclass(annotation) and (annotation in known or hints_of(annotation)) else None
    except Exception:
        return None


def _first_parameter(fn: Any) -> str:
    if is_as_written(fn) and fn.__code__.co_argcount:
        return str(fn.__code__.co_varnames[0])
    return next(iter(inspect.signature(fn).parameters))


def literals(fn: Any) -> list[str] | None:
    """Return the destinations that the return annotation of a path function lists."""
    annotation = hints_of_code(fn).get("return")
    return list(get_args(annotation)) if get_origin(annotation) is Literal else None


def destinations_of(
    node: str, given: Mapping[str, str] | Sequence[str] | None, hints: Mapping[str, Any]
) -> dict[str, str] | None:
    """Return where a node's commands may go: as given, or as annotated by `-> Command[Literal[...]]`."""
    if given is not None:
        expect_several(f"add_node('{node}', destinations=...)", given, "a list of node names, or a mapping of them")
        return dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, "")
    annotation = hints.get("return")
    if annotation is None:
        return None
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Command:
            inner = get_args(part)[0]
            if get_origin(inner) is Literal:
                return dict.fromkeys(get_args(inner), "")
    return None
