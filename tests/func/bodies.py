"""Function bodies that are written once and painted in either colour, and a guard against hangs."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

Body = Callable[..., Generator[Any, Any, Any]]
Paint = Callable[[Body], Callable[..., Any]]


class Child(NamedTuple):
    """Yielded by a body to call a graph or entrypoint, in the way that suits the body's colour."""

    graph: Any
    input: Any


def plain(body: Body) -> Callable[..., Any]:
    """Make a plain function of a body: what it yields is waited for with `result()` or called with `invoke`."""

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        steps = body(*args, **kwargs)
        send, value = steps.send, None
        while True:
            try:
                wanted = send(value)
            except StopIteration as stop:
                return stop.value
            try:
                send = steps.send
                value = wanted.graph.invoke(wanted.input) if isinstance(wanted, Child) else wanted.result()
            except BaseException as error:
                send, value = steps.throw, error

    return run


def coroutine(body: Body) -> Callable[..., Any]:
    """Make a coroutine function of a body: what it yields is awaited, or called with `ainvoke`."""

    @functools.wraps(body)
    async def run(*args: Any, **kwargs: Any) -> Any:
        steps = body(*args, **kwargs)
        send, value = steps.send, None
        while True:
            try:
                wanted = send(value)
            except StopIteration as stop:
                return stop.value
            try:
                send = steps.send
                value = await (wanted.graph.ainvoke(wanted.input) if isinstance(wanted, Child) else wanted)
            except BaseException as error:
                send, value = steps.throw, error

    return run


PAINTS = [plain, coroutine]


def within(seconds: float, fn: Callable[[], Any]) -> Any:
    """Return what `fn` returns, or fail when it takes longer than that: a hang must not stop the whole suite."""
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(fn())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    assert outcome, f"still running after {seconds} s"
    return outcome[0]
