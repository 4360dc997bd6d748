"""A task as data: what crosses to another process, how it is performed there, and what comes back.

A job is bytes: the name of the function (`module:qualname`), the encoded arguments, and what its scope knows. The
outcome is bytes too: a result or an error, and what was told on the way where it could not be told at once.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn

from twinstep.errors import EncodingError, OutsideRunError
from twinstep.pregel.action import Action
from twinstep.pregel.task import Task
from twinstep.runtime import ExecutionInfo, Runtime
from twinstep.scope import SCOPE
from twinstep.serde import Serializer, register_schema_types, register_type
from twinstep.serde.registry import registered_name

Told = tuple[str, Any]
"""What code in another process tells: `custom` or `message` with a value, or `alive`."""
Tell = Callable[[Told], None]

SERDE = Serializer()


def describe(reference: str, task: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return a call as bytes.

    Raises:
        EncodingError: an argument cannot be encoded; the message names its place.
    """
    call = SERDE.dumps((list(args), kwargs), at=f"the arguments of '{task.name}'")
    main = sys.modules["__main__"].__file__ if reference.startswith("__main__:") else None
    return SERDE.dumps({"function": reference, "main": main, "call": call, "scope": SERDE.dumps(_scope(task))})


def _scope(task: Task) -> dict[str, Any]:
    """Return what code elsewhere may ask for; what cannot be encoded stays here."""
    config: dict[str, Any] = dict(task.config())
    config.pop("callbacks", None)
    config["configurable"] = _encodable(config["configurable"])
    config["metadata"] = _encodable(config["metadata"])
    info = task.runtime().execution_info
    assert info is not None
    fields = {name: getattr(info, name) for name in ExecutionInfo.__slots__}
    return {"name": task.name, "path": task.path, "config": config, "info": fields, "context": _context(task)}


def _encodable(values: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        with suppress(EncodingError):
            SERDE.dumps(value)
            found[key] = value
    return found


def _context(task: Task) -> list[bytes]:
    with suppress(EncodingError):
        return [SERDE.dumps(task.run.context)]
    return []


def perform(job: bytes, tell: Tell | None = None) -> bytes:
    """Do a job and return its outcome.

    Args:
        tell: is called with what the code tells; without it that comes back with the outcome.
    """
    told: list[Told] = []
    try:
        return SERDE.dumps(("result", _run(SERDE.loads(job), tell or told.append), told), at="the result")
    except Exception as error:
        return SERDE.dumps(("error", error, []))


def _run(job: dict[str, Any], tell: Tell) -> Any:
    if job["main"] is not None:
        load_main(job["main"])
    function = resolve(job["function"])
    register_schema_types(function)  # so that the arguments can be decoded
    args, kwargs = SERDE.loads(job["call"])
    scope = RemoteScope(SERDE.loads(job["scope"]), tell)
    token = SCOPE.set(scope)
    try:
        action = Action(function, taken=len(args))
        result = action.fn(*args, **action.fill(scope, tuple(args), kwargs))
        return finished(result)
    finally:
        SCOPE.reset(token)


def finished(result: Any) -> Any:
    """Return a result; a coroutine is run to its end in this thread."""
    if not inspect.iscoroutine(result):
        return result
    import asyncio

    return asyncio.run(result)


def outcome_of(data: bytes, tell: Tell) -> Any:
    """Return the result of a job that came back, or raise its error; pass on what it has told."""
    kind, value, told = SERDE.loads(data)
    for each in told:
        tell(each)
    if kind == "error":
        raise value
    return value


def load_main(path: str) -> None:
    """Load the program's script as this process's, without what it does below `if __name__ == "__main__":`."""
    import runpy

    global _loading
    if getattr(sys.modules["__main__"], "__file__", None) == path:
        return
    _loading = True
    try:
        names = runpy.run_path(path, run_name="__mp_main__")
    finally:
        _loading = False
    main = ModuleType("__mp_main__")
    main.__dict__.update(names)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    for value in names.values():
        if isinstance(value, type) and value.__module__ == "__mp_main__":
            value.__module__ = "__main__"
            if registered_name(value) is not None:
                register_type(value, name=f"__main__:{value.__qualname__}")


_loading = False


def check_loaded() -> None:
    """Refuse to start anything while the script is being loaded.

    Raises:
        OutsideRunError: it is.
    """
    if _loading:
        raise OutsideRunError(
            "The script starts a graph while a worker process loads it to find a function: put the start below "
            "`if __name__ == '__main__':`, or the function into a module of its own."
        )


def resolve(reference: str) -> Any:
    """Return the function of a name.

    Raises:
        OutsideRunError: it does not exist in this process.
    """
    module, _, qualname = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise OutsideRunError(
            f"'{reference}' does not exist in the other process ({error}). Put the function into a module that can be "
            "imported there, at its top level."
        ) from error
    return getattr(found, "func", found)  # a task function holds its code so


class RemoteScope:
    """The scope of code that runs in another process than the engine: what it can know, and what it can tell."""

    started = 0  # what is started here is not counted

    def __init__(self, known: dict[str, Any], tell: Tell) -> None:
        self._known, self._tell = known, tell
        self._counted: dict[Any, int] = {}

    @property
    def name(self) -> str:
        """Name of the node or task."""
        name: str = self._known["name"]
        return name

    @property
    def path(self) -> tuple[Any, ...]:
        """The place in the run."""
        return tuple(self._known["path"])

    @property
    def run(self) -> Any:
        """Refuse: the run is in another process."""
        self._refuse("The run with its store, its tasks and nested runs")

    def _refuse(self, what: str) -> NoReturn:
        raise OutsideRunError(
            f"{what} cannot be reached from '{self.name}', which runs in another process (executor=): do that in the "
            "code that calls it, and pass the values."
        )

    def occurrence(self, key: Any) -> int:
        """Return how often `key` was counted before."""
        self._counted[key] = self._counted.get(key, -1) + 1
        return self._counted[key]

    def ask(self, value: Any, schema: Any, key: str | None, site: str) -> Any:
        """Refuse: a question stops code that runs beside the engine."""
        self._refuse("interrupt()")

    def write(self, value: Any) -> None:
        """Send one value to the `custom` stream."""
        self._tell(("custom", value))

    def message(self, message: Any, about: dict[str, Any] | None = None) -> None:
        """Send one message to the `messages` stream."""
        self._tell(("message", (message, about)))

    def push(self, key: str, value: Any) -> None:
        """Add to the update of the node that this code belongs to."""
        self._tell(("push", (key, value)))

    def tool(self, data: dict[str, Any]) -> None:
        """Send what happens to a call of a tool to the `tools` stream."""
        self._tell(("tool", data))

    def heartbeat(self) -> None:
        """Note an explicit sign of life."""
        self._tell(("alive", None))

    def config(self) -> Any:
        """Return the config, without what could not cross."""
        return self._known["config"]

    def runtime(self) -> Runtime[Any]:
        """Return what the run offers here: no store, no control."""
        if not self._known["context"]:
            self._refuse("The context, which holds what cannot be encoded,")
        return Runtime(
            context=SERDE.loads(self._known["context"][0]),
            stream_writer=self.write,
            heartbeat=self.heartbeat,
            execution_info=ExecutionInfo(**self._known["info"]),
        )
