"""Nodes that can run in one superstep, and the plain keys that both of them write."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import combinations, islice, product
from types import CodeType
from typing import TYPE_CHECKING, Any

from twinstep.channels import LastValue
from twinstep.constants import END
from twinstep.graph.shape import Shape
from twinstep.pregel.action import unwrap

if TYPE_CHECKING:
    from twinstep.graph.state import StateGraph

    Builder = StateGraph[Any, Any, Any, Any]

Pair = tuple[str, str]
MOST_PAIRS = 500
"""Larger graphs are looked at only so far."""


def disputed_keys(builder: Builder, shape: Shape) -> Iterator[tuple[str, str, str]]:
    """Yield two nodes and a key that takes one value per superstep, where both can write it in one."""
    plain = {key for key, channel in builder.channels.items() if type(channel) is LastValue}
    for first, second in meetings(builder, shape):
        codes = (getattr(unwrap(builder.nodes[name].action.fn), "__code__", None) for name in (first, second))
        shared = plain.intersection(*(written_keys(code) if code is not None else () for code in codes))
        for key in sorted(shared):
            yield first, second, key


def meetings(builder: Builder, shape: Shape) -> list[Pair]:
    """Return the pairs of nodes that run in one superstep when all branches lead there.

    They start where one node leads to several, and go on in step from there. Of one branch only one choice counts.
    """
    forks = [*_forks(builder, shape)]
    if not forks:
        return []

    @cache
    def ways(name: str) -> list[list[str]]:
        return _ways(builder, name, shape.edges.get(name, ()))

    found: dict[Pair, None] = {}
    waiting = [pair for name in forks for pair in islice(_together(ways(name)), MOST_PAIRS)]
    while waiting and len(found) < MOST_PAIRS:
        pair = waiting.pop()
        if pair in found or _one_waits(builder, shape, *pair) or _one_waits(builder, shape, *reversed(pair)):
            continue
        found[pair] = None
        ahead = ({name for way in ways(side) for name in way} for side in pair)
        waiting += [_pair(a, b) for a, b in product(*ahead) if a != b]
    return sorted(found)


def _forks(builder: Builder, shape: Shape) -> Iterator[str]:
    """Yield the nodes that lead to several at once, by their edges, joins and branches."""
    for name, ends in shape.ways.items():
        if len(ends) > 1:
            joins = len(ends) - len(shape.direct[name])
            if len(shape.edges.get(name, ())) + len(builder.branches.get(name, ())) + joins > 1:
                yield name


def _ways(builder: Builder, name: str, edges: Sequence[str]) -> list[list[str]]:
    """Return what a node leads to, all at once; of each inner list, one."""
    ways = [[end] for end in edges if end != END]
    ways += [[end] for starts, end in sorted(builder.waiting_edges) if name in starts and end != END]
    branches = builder.branches.get(name, {}).values()
    return ways + [sorted({end for end in branch.ends.values() if end != END}) for branch in branches if branch.ends]


def _together(ways: list[list[str]]) -> Iterator[Pair]:
    for first, second in combinations(ways, 2):
        yield from (_pair(a, b) for a, b in product(first, second) if a != b)


def _pair(a: str, b: str) -> Pair:
    return (a, b) if a < b else (b, a)


def _one_waits(builder: Builder, shape: Shape, node: str, other: str) -> bool:
    """Tell whether a node waits for another: it is deferred, or a join needs what the other one has led to."""
    if builder.nodes[node].defer:
        return not builder.nodes[other].defer
    return any(
        end == node and not shape.after(other)[0].keys().isdisjoint(starts) for starts, end in builder.waiting_edges
    )


@lru_cache(maxsize=4096)
def written_keys(code: CodeType) -> frozenset[str]:
    """Return the keys of the dicts that a function returns as they stand in its code, or gives to a Command."""
    if code.co_name == "<lambda>":
        return frozenset()
    try:  # inspect.getsource would look through all modules for that of the code
        lines = inspect.getblock(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :])
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except SyntaxError:  # part of a longer expression
        return frozenset()
    if not tree.body or not isinstance(tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return frozenset()
    dicts = [_update(each.value) for each in _returns(tree.body[0])]
    keys = [key.value for found in dicts if found is not None for key in found.keys if isinstance(key, ast.Constant)]
    return frozenset(key for key in keys if isinstance(key, str))


def _returns(node: ast.AST) -> Iterator[ast.Return]:
    """Yield the return statements of a function, without those of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _returns(child)


def _update(value: ast.expr | None) -> ast.Dict | None:
    """Return the dict display that a returned expression is, or has as `update=`."""
    if isinstance(value, ast.Call):
        value = next((keyword.value for keyword in value.keywords if keyword.arg == "update"), None)
    return value if isinstance(value, ast.Dict) else None
