"""One execution for callers that want the same thing at the same time."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import Future
from threading import Lock
from types import TracebackType


class Claim:
    """A place in a flight: the leader does the work, the others wait until it is done.

    Use it as a context manager: leaving it ends the flight when this claim leads, also after an error.

    Attributes:
        leads: whether the holder of this claim has to do the work.
        done: finished when the leader has left. Threads wait with `claim.done.result()`, coroutines with
            `await asyncio.wrap_future(claim.done)`; a waiter that is cancelled disturbs nobody else. Its result says
            nothing about success: look for the outcome, and claim again when there is none.
    """

    __slots__ = ("_flights", "_key", "done", "leads")
    done: Future[None]
    leads: bool

    def __init__(self, flights: SingleFlight, key: Hashable, done: Future[None], leads: bool) -> None:
        self._flights, self._key, self.done, self.leads = flights, key, done, leads

    def release(self) -> None:
        """End the flight when this claim leads it and has not ended it yet."""
        if self.leads and not self.done.done():
            self._flights._land(self._key, self.done)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


class SingleFlight:
    """Lets one of several concurrent callers with the same key work while the others wait.

    Works across threads and event loops of one process. A caller must not wait for a key while it leads that key.

    Example:
        >>> flights = SingleFlight()
        >>> with flights.claim("report") as first, flights.claim("report") as second:
        ...     first.leads, second.leads
        (True, False)
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, Future[None]] = {}
        self._lock = Lock()

    def claim(self, key: Hashable) -> Claim:
        """Join the flight for a key, as its leader when there is none under way."""
        with self._lock:
            done = self._flights.get(key)
            if done is not None:
                return Claim(self, key, done, leads=False)
            done = self._flights[key] = Future()
            # A running future refuses to be cancelled, so one waiter that gives up cannot wake the others.
            done.set_running_or_notify_cancel()
        return Claim(self, key, done, leads=True)

    def _land(self, key: Hashable, done: Future[None]) -> None:
        with self._lock:
            del self._flights[key]
        done.set_result(None)
