"""Commits of coroutines: one thread of their event loop stores all that wait, and each learns how its own one ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from twinstep.checkpoint.grouped import SqlSaver
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.rows import CheckpointRow, Commit
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointStorageError, ThreadConflictError
from twinstep.ids import new_id
from twinstep.testing.conformance.writer import Run
from twinstep.threads import THREADS


@pytest.fixture(params=["sqlite", "postgres"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlSaver[Any]]:
    if request.param == "sqlite":
        found: SqlSaver[Any] = SqliteSaver(tmp_path / "threads.sqlite", synchronous="FULL")
    else:
        found = PostgresSaver(request.getfixturevalue("postgres_database"))
    with found:
        for thread_id, _ in found.threads():
            found.delete_thread(thread_id)
        yield found


def commits(saver: SqlSaver[Any], many: int) -> list[Commit]:
    """Return the next commit of runs on threads of their own."""
    runs, ids = [Run(saver, f"t{n}") for n in range(many)], [new_id() for _ in range(many)]
    return [
        Commit(f"t{n}", "", run.id, run.epoch, checkpoint=CheckpointRow(ids[n], None, ids[n], b"x"))
        for n, run in enumerate(runs)
    ]


async def begun(saver: SqlSaver[Any], wanted: list[Commit]) -> list[asyncio.Task[None]]:
    """Begin to store commits, which wait as long as somebody holds the saver's lock."""
    tasks = [asyncio.ensure_future(saver.acommit(commit)) for commit in wanted]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in tasks)
    return tasks


def stored(saver: SqlSaver[Any], many: int) -> list[int]:
    return [n for n in range(many) if saver.load(f"t{n}", "").rows]


def test_coroutines_that_wait_share_one_thread_and_a_refused_one_harms_no_other(
    saver: SqlSaver[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = commits(saver, 20)
    wanted[3].epoch = 7
    called: list[Callable[[], object]] = []
    start = THREADS.start

    def counted(job: Callable[[], object]) -> None:
        called.append(job)
        start(job)

    monkeypatch.setattr(THREADS, "start", counted)

    async def main() -> list[Any]:
        with saver._db.lock:
            tasks = await begun(saver, wanted)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(called) == 1
        return ended

    ended = asyncio.run(main())
    assert isinstance(ended.pop(3), ThreadConflictError)
    assert ended == [None] * 19
    assert stored(saver, 20) == [n for n in range(20) if n != 3]


def test_when_nothing_can_be_stored_all_that_wait_learn_it(
    saver: SqlSaver[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(wait: bool = True) -> bool:
        raise CheckpointStorageError("the server is away")

    wanted = commits(saver, 5)

    async def main() -> list[Any]:
        with saver._db.lock, monkeypatch.context() as patch:
            patch.setattr(saver._db, "begin", broken)
            tasks = await begun(saver, wanted)
            saver._db.lock.release()
            try:
                return await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                saver._db.lock.acquire()

    assert [str(error) for error in asyncio.run(main())] == ["the server is away"] * 5
    assert stored(saver, 5) == []
    asyncio.run(saver.acommit(wanted[0]))
    assert stored(saver, 5) == [0]


def test_what_is_cancelled_before_it_has_begun_is_not_stored(saver: SqlSaver[Any]) -> None:
    wanted = commits(saver, 4)

    async def main() -> None:
        with saver._db.lock:
            tasks = await begun(saver, wanted)
            tasks[0].cancel()  # for it the thread was called
            tasks[2].cancel()
            await asyncio.sleep(0.01)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError, type(None)] * 2

    asyncio.run(main())
    assert stored(saver, 4) == [1, 3]


def test_functions_that_hold_all_threads_of_an_event_loop_are_not_in_the_way(saver: SqlSaver[Any]) -> None:
    wanted = commits(saver, 1)[0]

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))

        def wait(coroutine: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

        await asyncio.to_thread(lambda: wait(saver.acommit(wanted)))
        return await asyncio.to_thread(lambda: wait(saver.aload("t0", "")))

    assert asyncio.run(main()).rows == (wanted.checkpoint,)


def test_threads_and_loops_share_transactions(saver: SqlSaver[Any]) -> None:
    wanted = commits(saver, 40)

    def of_thread(first: int) -> None:
        for commit in wanted[first : first + 10]:
            saver.commit(commit)

    def of_loop(first: int) -> None:
        async def main() -> None:
            await asyncio.gather(*[saver.acommit(commit) for commit in wanted[first : first + 10]])

        asyncio.run(main())

    threads = [
        threading.Thread(target=target, args=(first,))
        for target, first in ((of_thread, 0), (of_loop, 10), (of_loop, 20), (of_thread, 30))
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert stored(saver, 40) == list(range(40))
