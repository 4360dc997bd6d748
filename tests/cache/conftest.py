"""The caches under test; Redis is a real server when there is one to start."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from twinstep.cache.base import BaseCache
from twinstep.cache.memory import InMemoryCache
from twinstep.cache.sqlite import SqliteCache


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[str]:
    """The socket of a Redis server, started for the session."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on the PATH")
    with TemporaryDirectory(prefix="twinstep-redis") as folder:
        socket = Path(folder) / "redis.sock"
        options = {"port": "0", "unixsocket": str(socket), "save": "", "appendonly": "no", "dir": folder}
        command = [program, *(part for name, value in options.items() for part in (f"--{name}", value))]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert server.poll() is None, server.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield str(socket)
        server.terminate()
        server.communicate(timeout=20)


@pytest.fixture
def redis_client(redis_socket: str) -> Iterator[Any]:
    """A client of that server, which holds nothing."""
    redis = pytest.importorskip("redis")
    with redis.Redis(unix_socket_path=redis_socket) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["memory", "sqlite", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache[Any]]:
    """An empty cache of each kind."""
    if request.param == "memory":
        yield InMemoryCache()
    elif request.param == "sqlite":
        with SqliteCache[Any](path=tmp_path / "cache.sqlite") as cache:
            yield cache
    else:
        client = request.getfixturevalue("redis_client")
        from twinstep.cache.redis import RedisCache

        yield RedisCache(client)
