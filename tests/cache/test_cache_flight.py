"""One execution for concurrent equal calls, from threads and coroutines."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from twinstep.cache.flight import SingleFlight
from twinstep.cache.memory import InMemoryCache

KEY = (("ns",), "k")


class Work:
    """Something slow that counts how often it ran."""

    def __init__(self) -> None:
        self.flights, self.cache, self.runs = SingleFlight(), InMemoryCache[int](), 0

    def compute(self) -> None:
        self.runs += 1
        self.cache.set({KEY: (self.runs, None)})

    def threaded(self) -> int:
        while True:
            with self.flights.claim(KEY) as claim:
                if found := self.cache.get([KEY]):
                    return found[KEY]
                if claim.leads:
                    time.sleep(0.03)
                    self.compute()
                else:
                    claim.done.result(timeout=5)

    async def awaited(self) -> int:
        while True:
            with self.flights.claim(KEY) as claim:
                if found := self.cache.get([KEY]):
                    return found[KEY]
                if claim.leads:
                    await asyncio.sleep(0.03)
                    self.compute()
                else:
                    await asyncio.wait_for(asyncio.wrap_future(claim.done), timeout=5)


def test_w59_threads_and_coroutines_run_the_same_work_once() -> None:
    work = Work()

    async def coroutines() -> list[int]:
        return await asyncio.gather(*(work.awaited() for _ in range(4)))

    with ThreadPoolExecutor(6) as pool:
        threads = [pool.submit(work.threaded) for _ in range(4)]
        loops = [pool.submit(asyncio.run, coroutines()) for _ in range(2)]
        assert [future.result(timeout=5) for future in threads] == [1] * 4
        assert [future.result(timeout=5) for future in loops] == [[1] * 4] * 2
    assert work.runs == 1


def test_after_a_failed_leader_a_waiter_leads() -> None:
    flights = SingleFlight()
    leader, waiter = flights.claim("k"), flights.claim("k")
    with pytest.raises(RuntimeError, match="lost"), leader:
        raise RuntimeError("lost")
    assert (leader.leads, waiter.leads, waiter.done.result(timeout=1)) == (True, False, None)
    waiter.release()
    leader.release()
    assert flights.claim("k").leads


def test_keys_do_not_wait_for_each_other() -> None:
    flights = SingleFlight()
    assert flights.claim("a").leads
    assert flights.claim("b").leads


def test_a_cancelled_waiter_disturbs_nobody() -> None:
    async def main() -> None:
        flights = SingleFlight()
        leader, first, second = (flights.claim("k") for _ in range(3))
        waiter = asyncio.ensure_future(asyncio.wrap_future(first.done))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.sleep(0)
        assert not second.done.done()
        threading.Timer(0.01, leader.release).start()
        await asyncio.wait_for(asyncio.wrap_future(second.done), timeout=5)

    asyncio.run(main())
