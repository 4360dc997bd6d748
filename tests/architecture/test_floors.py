"""The floors: imports of twinstep run downwards only, never in a circle, and no module or function grows too large."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

SOURCE = Path(__file__).parents[2] / "src" / "twinstep"

# From the bottom up; what stands here is a module or package of twinstep, "" is twinstep/__init__.py itself.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "constants", "types", "policies", "ids", "scope", "version", "warnings"})
    | {"neighbours", "forked", "arguments", "threads"},
    frozenset(
        {"channels", "serde", "runtime", "config", "managed", "callbacks", "typing", "adapter", "drawing", "sql"}
    ),
    frozenset({"checkpoint", "store", "cache", "stream", "messages"}),
    frozenset({"pregel"}),
    frozenset({"graph", "func", "utils"}),
    frozenset({""}),
    frozenset({"models"}),
    frozenset({"prebuilt", "integrations", "testing", "cli", "server"}),
)

# Packages that may import a neighbour on their own floor: (importer, imported).
NEIGHBOURS: frozenset[tuple[str, str]] = frozenset()

# Imports that may run upwards, with the reason: (importing module, imported module).
UPWARDS: dict[tuple[str, str], str] = {
    ("twinstep.types", "twinstep.checkpoint.journal"): "ensure_valid_checkpointer is asked for at twinstep.types",
}

FOREIGN = ("langgraph", "langchain")
# The module that is loaded only in programs that have loaded the library it is about.
INTEGRATED = frozenset({("twinstep.integrations.langchain", "langchain_core")})
MODULE_LINES = 500
FUNCTION_LINES = 50

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One import statement: who imports what, on which line, and whether only when a function runs."""

    importer: str
    imported: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@dataclass(frozen=True)
class Tree:
    """The parsed package: its modules by dotted name, and what they import."""

    modules: dict[str, ast.Module]
    packages: frozenset[str]
    imports: tuple[Import, ...]

    @property
    def own(self) -> list[Import]:
        """The imports of twinstep itself."""
        return [found for found in self.imports if found.imported in self.modules]


def parse(source: Path) -> Tree:
    """Parse every module under `source`, the directory of the package twinstep."""
    modules: dict[str, ast.Module] = {}
    packages: set[str] = set()
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
            packages.add(".".join(parts))
        modules[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    found = (each for name, module in modules.items() for each in imports_of(name, module, modules, packages))
    return Tree(modules, frozenset(packages), tuple(found))


def walk(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yield every node below `node`, and whether it is inside a function."""
    for child in ast.iter_child_nodes(node):
        yield child, lazy
        yield from walk(child, lazy or isinstance(child, Function | ast.Lambda))


def imports_of(name: str, module: ast.Module, known: dict[str, ast.Module], packages: set[str]) -> Iterator[Import]:
    """Yield the imports of one module: statements (under TYPE_CHECKING too) and `import_module("...")`."""
    package = name if name in packages else name.rpartition(".")[0]
    for node, lazy in walk(module):
        match node:
            case ast.Import(names):
                targets = [alias.name for alias in names]
            case ast.ImportFrom(base, names, level):
                full = absolute(base or "", level, package)
                targets = [f"{full}.{a.name}" if f"{full}.{a.name}" in known else full for a in names]
            case ast.Call(
                ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
                [ast.Constant(str(target)), *_],
            ):
                bare = target.lstrip(".")
                targets = [absolute(bare, len(target) - len(bare), package)]
            case _:
                continue
        for target in dict.fromkeys(targets):
            yield Import(name, target, node.lineno, lazy)


def absolute(name: str, level: int, package: str) -> str:
    """Resolve a relative import; level 0 means that `name` is absolute already."""
    if level == 0:
        return name
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, name]) if name else ".".join(base)


def unit(module: str) -> str:
    """Name the part of twinstep a module belongs to: its first component below the root."""
    return [*module.split("."), ""][1]


def floor(module: str) -> int | None:
    return next((level for level, units in enumerate(FLOORS) if unit(module) in units), None)


def homeless(tree: Tree) -> list[str]:
    """List the modules that stand on no floor."""
    return [module for module in tree.modules if floor(module) is None]


def upward(tree: Tree) -> list[str]:
    """List the imports that run upwards, or sideways between packages."""
    return [str(each) for each in tree.own if not (runs_down(each, tree) or (each.importer, each.imported) in UPWARDS)]


def runs_down(each: Import, tree: Tree) -> bool:
    above, below = unit(each.importer), unit(each.imported)
    high, low = floor(each.importer), floor(each.imported)
    if above == below or high is None or low is None:  # a module without a floor is `homeless`, and reported there
        return True
    plain = tree.packages.isdisjoint({f"twinstep.{above}", f"twinstep.{below}"})
    return low < high or (low == high and (plain or (above, below) in NEIGHBOURS))


def circles(tree: Tree) -> list[str]:
    """List the groups of modules that import each other outside of functions, for types only included."""
    graph = nx.DiGraph((each.importer, each.imported) for each in tree.own if not each.lazy)
    loops = [group for group in nx.strongly_connected_components(graph) if len(group) > 1]
    return [" <-> ".join(sorted(group)) for group in loops] + [
        f"{node} <-> itself" for node in nx.nodes_with_selfloops(graph)
    ]


def foreign(tree: Tree) -> list[str]:
    """List the imports of what twinstep replaces, and on the ground floor of all but the standard library."""
    return [
        str(each)
        for each in tree.imports
        if (each.imported.startswith(FOREIGN) and (each.importer, each.imported.split(".")[0]) not in INTEGRATED)
        or (floor(each.importer) == 0 and each.imported.split(".")[0] not in sys.stdlib_module_names | {"twinstep"})
    ]


def oversize(tree: Tree) -> list[str]:
    """List modules and functions with too many lines, docstrings and comments included."""
    found = []
    for name, module in tree.modules.items():
        lines = max((node.end_lineno or 0 for node in module.body), default=0)
        if lines > MODULE_LINES:
            found.append(f"{name}: {lines} lines, {MODULE_LINES} at most")
        for node in (node for node in ast.walk(module) if isinstance(node, Function)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{name}.{node.name}: {length} lines, {FUNCTION_LINES} at most")
    return found


RULES = (homeless, upward, circles, foreign, oversize)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return parse(SOURCE)


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule, tree):
    found = rule(tree)
    assert tree.modules
    assert not found, "\n".join(found)


def test_exceptions_are_still_needed(tree):
    used = {(each.importer, each.imported) for each in tree.own}
    assert UPWARDS.keys() <= used
    assert {(unit(importer), unit(imported)) for importer, imported in used} >= NEIGHBOURS


def written(files: dict[str, str], source: Path) -> Tree:
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return parse(source)


@pytest.mark.parametrize(
    ("rule", "files", "says"),
    [
        (homeless, {"novelty/part.py": ""}, ["twinstep.novelty.part"]),
        (
            upward,
            {"errors.py": "def f():\n    from twinstep.graph import x", "graph/__init__.py": ""},
            ["twinstep.errors:2"],
        ),
        (
            upward,
            {"types.py": "if TYPE_CHECKING:\n    from .serde import codec", "serde/codec.py": ""},
            ["twinstep.types:2"],
        ),
        (upward, {"pregel/a.py": "import_module('..func', __package__)", "func.py": ""}, ["twinstep.func"]),
        (upward, {"graph/__init__.py": "from ..func import task", "func/__init__.py": ""}, ["twinstep.func"]),
        (upward, {"graph/__init__.py": "import twinstep", "__init__.py": ""}, ["twinstep.graph:1 imports twinstep"]),
        (
            circles,
            {"serde/a.py": "from . import b", "serde/b.py": "from .a import x"},
            ["twinstep.serde.a <-> twinstep.serde.b"],
        ),
        (foreign, {"serde/a.py": "import langgraph.types"}, ["langgraph.types"]),
        (foreign, {"ids.py": "import msgpack"}, ["msgpack"]),
        (oversize, {"serde/a.py": "x = 1\n" * 501}, ["twinstep.serde.a: 501"]),
        (oversize, {"serde/a.py": "class A:\n    def f():\n" + "        pass\n" * 50}, ["twinstep.serde.a.f: 51"]),
    ],
)
def test_the_rule_finds_an_offender(rule, files, says, tmp_path):
    found = rule(written(files, tmp_path / "twinstep"))
    assert len(found) == len(says)
    assert all(part in line for part, line in zip(says, found, strict=True))


@pytest.mark.parametrize(
    "files",
    [
        {
            "errors.py": "import re\ndef f():\n    from twinstep.types import x",
            "types.py": "from twinstep.errors import y",
        },
        {
            "prebuilt/__init__.py": "from twinstep import task",
            "__init__.py": "from .func import task",
            "func/__init__.py": "",
        },
        {"serde/__init__.py": "from twinstep.serde import codec", "serde/codec.py": "import msgpack"},
    ],
)
def test_the_rules_let_good_code_pass(files, tmp_path):
    tree = written(files, tmp_path / "twinstep")
    assert [rule(tree) for rule in RULES] == [[]] * len(RULES)
