"""The axes of the behaviour tests: every test that asks for them runs in both lanes and on every saver."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""


def pytest_configure() -> None:
    """Keep the files of the tests in memory where there is room: what survives a power loss is not asked here."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**31:
        tempfile.tempdir = os.environ.get("TMPDIR", str(MEMORY))
    # A client of HTTP reads all certificates of the machine when it is made, and none is needed on the loopback.
    os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("certificate.pem"))


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of collected tests: nothing of them is garbage before the end."""
    gc.collect()
    gc.freeze()


class Lane:
    """Calls a compiled object's methods, synchronously or on an event loop; streams come back as lists.

    In the lane "notebook" they are called synchronously while a loop runs in the same thread, as in a cell of Jupyter.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_async = name == "async"

    def __repr__(self) -> str:
        return self.name

    def run(self, call: Callable[[], Any], acall: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something in this lane, which is given in both ways to do it."""
        if self.name == "sync":
            return call()

        async def cell() -> Any:
            return call()

        return asyncio.run(acall() if self.is_async else cell())

    def call(self, graph: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            result = getattr(graph, method)(*args, **kwargs)
            return list(result) if inspect.isgenerator(result) else result

        async def acall() -> Any:
            result = getattr(graph, f"a{method}")(*args, **kwargs)
            return [chunk async for chunk in result] if hasattr(result, "__aiter__") else await result

        return self.run(call, acall)

    def consume(self, take: Callable[[Any], object], graph: Any, *args: Any, **kwargs: Any) -> None:
        """Read a stream and hand every chunk over as it comes."""

        def call() -> None:
            for chunk in graph.stream(*args, **kwargs):
                take(chunk)

        async def acall() -> None:
            async for chunk in graph.astream(*args, **kwargs):
                take(chunk)

        self.run(call, acall)

    def invoke(self, graph: Any, *args: Any, **kwargs: Any) -> Any:
        return self.call(graph, "invoke", *args, **kwargs)

    def stream(self, graph: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.call(graph, "stream", *args, **kwargs))

    def state(self, graph: Any, *args: Any, **kwargs: Any) -> Any:
        return self.call(graph, "get_state", *args, **kwargs)

    def history(self, graph: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.call(graph, "get_state_history", *args, **kwargs))

    def update(self, graph: Any, *args: Any, **kwargs: Any) -> Any:
        return self.call(graph, "update_state", *args, **kwargs)


@pytest.fixture(params=["sync", "async"])
def lane(request: pytest.FixtureRequest) -> Lane:
    """Both ways to run."""
    return Lane(request.param)


in_notebooks_too = pytest.mark.parametrize("lane", ["sync", "async", "notebook"], indirect=True)
"""For a test of each kind of program: run it in the third lane as well."""


@pytest.fixture(params=["plain", "coroutine"])
def colour(request: pytest.FixtureRequest) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Both colours of user code: a decorator that leaves a function as it is, or makes it a coroutine function."""
    if request.param == "plain":
        return lambda fn: fn

    def asynchronous(fn: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return fn(*args, **kwargs)

        wrapper.__name__ = wrapper.__qualname__ = fn.__name__
        wrapper.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]  # parameters are injected by name
        return wrapper

    return asynchronous


@pytest.fixture(params=["memory", "sqlite"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointSaver]:
    """The backends that need no server, empty."""
    with opened(request, tmp_path) as saver:
        yield saver


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def every_saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointSaver]:
    """The same with PostgreSQL; a module whose tests are to run there too overrides `saver` with it."""
    with opened(request, tmp_path) as saver:
        yield saver


@contextmanager
def opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[BaseCheckpointSaver]:
    """Open an empty saver of the kind that a fixture's parameter names."""
    if request.param == "memory":
        yield InMemorySaver()
    elif request.param == "sqlite":
        with SqliteSaver.from_conn_string(str(folder / "threads.sqlite")) as saver:
            yield saver
    else:
        from twinstep.checkpoint.postgres import PostgresSaver

        with PostgresSaver.from_conn_string(request.getfixturevalue("postgres_database")) as postgres:
            for thread_id, _ in postgres.threads():
                postgres.delete_thread(thread_id)
            yield postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server, started by the first test that asks for it."""
    from tests.postgres import running_server  # imported here: most tests need no database driver

    with running_server() as server:
        yield server.get_uri()


@pytest.fixture(scope="module")
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database for one test module."""
    from tests.postgres import fresh_database

    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def thread() -> dict[str, Any]:
    """A config with a thread id."""
    return {"configurable": {"thread_id": "1"}}
