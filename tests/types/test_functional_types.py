"""What the type checkers know of entrypoints and tasks. mypy (strict) and pyright read this file; it runs as well."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

import asyncio
from typing import Any, assert_type

from twinstep.checkpoint.memory import InMemorySaver
from twinstep.func import entrypoint, task
from twinstep.func.entrypoint import Entrypoint
from twinstep.func.task import TaskFunction
from twinstep.runtime import Runtime
from twinstep.types import Command, GraphOutput, RetryPolicy, RunnableConfig, StreamWriter, TaskFuture


@task
def double(x: int, *, times: int = 1) -> str:
    return str(2 * x * times)


@task
async def adouble(x: int) -> list[int]:
    return [2 * x]


@task(name="named", retry_policy=RetryPolicy())
def named(a: str, b: bytes = b"") -> dict[str, bytes]:
    return {a: b}


@task()
async def anamed(a: str) -> None:
    """Return nothing."""


def test_tasks_keep_parameters_and_result() -> None:
    assert_type(double.func(3), str)

    @entrypoint()
    async def work(n: int) -> tuple[str, list[int], dict[str, bytes]]:
        first, second, third = double(n, times=2), adouble(n), named("a", b"b")
        assert_type(first, TaskFuture[str])
        assert_type(second, TaskFuture[list[int]])
        assert_type(third, TaskFuture[dict[str, bytes]])
        assert_type(await anamed("x"), None)
        return await first, await second, await third

    assert_type(work, Entrypoint[int, tuple[str, list[int], dict[str, bytes]]])
    assert asyncio.run(work.ainvoke(3)) == ("12", [6], {"a": b"b"})


def test_results_of_tasks_in_plain_code() -> None:
    @entrypoint()
    def work(n: int) -> str:
        future = double(n)
        assert_type(future.result(), str)
        assert_type(future.exception(), BaseException | None)
        return future.result()

    assert_type(work.invoke(1), str)
    assert work.invoke(1) == "2"


def wrong_calls() -> None:
    double("3")  # type: ignore[arg-type]
    double(3, 4)  # type: ignore[call-arg]
    named(a="a", c=1)  # type: ignore[call-arg]
    adouble(x=None)  # type: ignore[arg-type]


def test_entrypoints_keep_input_and_result() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def plain(words: list[str]) -> int:
        return len(words)

    @entrypoint()
    async def coroutine(words: list[str]) -> int:
        return len(words)

    @entrypoint()
    def final(step: int, *, previous: int | None = None) -> entrypoint.final[str, int]:
        return entrypoint.final(value=str(step), save=step)

    @entrypoint()
    async def afinal(step: int, previous: int | None = None) -> entrypoint.final[str, int]:
        return entrypoint.final(value=str(step), save=step)

    @entrypoint(context_schema=dict)
    def injected(x: bool, config: RunnableConfig, writer: StreamWriter, runtime: Runtime[dict[str, int]]) -> bytes:
        return bytes([x])

    assert_type(plain, Entrypoint[list[str], int])
    assert_type(coroutine, Entrypoint[list[str], int])
    assert_type(final, Entrypoint[int, str])
    assert_type(afinal, Entrypoint[int, str])
    assert_type(injected, Entrypoint[bool, bytes])
    assert plain.invoke(["a"], {"configurable": {"thread_id": "1"}}) == 1
    assert coroutine.invoke(["a"]) == 1
    assert final.invoke(2) == "2"
    assert injected.invoke(True, context={}) == b"\1"


def test_results_by_version() -> None:
    @entrypoint()
    def work(n: int) -> str:
        return str(n)

    assert_type(work.invoke(1), str)
    assert_type(work.invoke(1, version="v2"), GraphOutput[str])
    assert_type(work.invoke(1, version="v2").value, str)
    assert_type(work.invoke(1, stream_mode="updates"), Any)
    assert work.invoke(1, version="v2").value == "1"
    assert work.invoke(1, stream_mode="updates") == [{"work": "1"}]

    async def main() -> None:
        assert_type(await work.ainvoke(1, on_conflict="error"), str)
        assert_type(await work.ainvoke(1, version="v2"), GraphOutput[str])

    asyncio.run(main())


def wrong_inputs() -> None:
    @entrypoint()
    def work(n: int) -> str:
        return str(n)

    work.invoke(None)
    work.invoke(Command(resume="x"))
    work.invoke("1")  # type: ignore[call-overload]
    work.invoke(1, colour="red")  # type: ignore[call-overload]


def keeps(function: TaskFunction[..., str]) -> TaskFuture[str]:
    return function(1)
