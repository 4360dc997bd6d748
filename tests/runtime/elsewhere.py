"""Functions that run in other processes: they stand at the top level of a module, so that these can find them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from twinstep.config import get_config, get_store, get_stream_writer
from twinstep.func import task
from twinstep.runtime import Runtime, get_runtime
from twinstep.types import interrupt


@dataclass
class Order:
    """A value that crosses in both directions."""

    item: str
    count: int


class OutOfStock(Exception):
    """An error of the program's own."""


def where(state: dict[str, Any]) -> dict[str, Any]:
    """Return the id of the process, and an entry of the log."""
    return {"x": os.getpid(), "log": ["where"]}


def double(order: Order) -> Order:
    return Order(order.item, 2 * order.count)


async def later(order: Order) -> Order:
    await asyncio.sleep(0.001)
    return Order(order.item, order.count + 1)


def process_id(n: int) -> int:
    time.sleep(0.05)  # so that several calls overlap
    return os.getpid()


def fail(item: str) -> NoReturn:
    raise OutOfStock(item, 3)


def leave(code: int) -> NoReturn:
    raise SystemExit(code)


def die(item: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(path: str) -> None:
    """Write the id of the process into a file and do nothing for a long time, whatever comes."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)
    Path(path).write_text("survived")


def tell(path: str) -> str:
    """Send something to the stream, and go on only when a file exists: the stream is seen before the end."""
    get_stream_writer()("now")
    while not Path(path).exists():
        time.sleep(0.005)
    return "told"


def breathe(n: int, runtime: Runtime) -> str:
    for _ in range(n):
        time.sleep(0.1)
        runtime.heartbeat()
    return "alive"


def look(n: int, config: Any) -> dict[str, Any]:
    assert config == get_config()
    runtime: Runtime[Any] = get_runtime()
    assert runtime.execution_info is not None
    return {
        "user": config["configurable"]["user"],
        "keys": sorted(config["configurable"]),
        "node": config["metadata"]["langgraph_node"],
        "context": runtime.context,
        "key": runtime.execution_info.idempotency_key,
    }


def ask(n: int) -> Any:
    return interrupt("how many?")


def remember(n: int) -> Any:
    return get_store()


@task
def inner(n: int) -> int:
    return n


def call(n: int) -> int:
    return inner(n).result()


def unstorable(n: int) -> Any:
    return lambda: n


def shaky(path: str) -> str:
    """Fail the first time."""
    marker = Path(path)
    if not marker.exists():
        marker.touch()
        raise ConnectionError("first time")
    return "second time"
