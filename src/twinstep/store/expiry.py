"""Times to live: what a store is told about them, and the thread that removes what has expired."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from logging import Logger, getLogger
from typing import Any, Final, TypedDict

from twinstep.arguments import expect
from twinstep.errors import InvalidConfigError, did_you_mean
from twinstep.store.validate import NOT_PROVIDED, check_ttl

log: Logger = getLogger("twinstep")
MINUTE: Final = 60_000_000
"""In microseconds, in which stores count."""


class TTLConfig(TypedDict, total=False):
    """How long items live.

    Keys:
        default_ttl: minutes for items that are put without a time to live; None (the default) keeps them for ever.
        refresh_on_read: whether reading an item starts its time to live anew; True when left out.
        omit_expired: whether expired items are hidden before they are swept; True when left out.
        sweep_interval_minutes: minutes between two sweeps of the sweeper; 5 when left out.
    """

    default_ttl: float | None
    refresh_on_read: bool
    omit_expired: bool
    sweep_interval_minutes: float | None


class Expiry:
    """The rules of one store.

    Raises:
        InvalidConfigError: the config has an unknown key or a value that cannot be used.
    """

    def __init__(self, config: TTLConfig | None) -> None:
        config = expect("The store's ttl=", config, Mapping, "a mapping such as {'default_ttl': 60}") or {}
        for name in config:
            if name not in TTLConfig.__annotations__:
                known = TTLConfig.__annotations__
                raise InvalidConfigError(f"Unknown key '{name}' in the store's ttl.{did_you_mean(name, known)}")
        self.default: float | None = config.get("default_ttl")
        self.refresh: bool = _flag("refresh_on_read", config.get("refresh_on_read", True))
        self.omit: bool = _flag("omit_expired", config.get("omit_expired", True))
        interval = config.get("sweep_interval_minutes")
        self.interval: float = 5.0 if interval is None else interval
        for ttl in (self.default, self.interval):
            check_ttl(ttl)

    def life(self, ttl: Any) -> int | None:
        """Return the microseconds that an item lives, or None for ever, given what its put says."""
        minutes = self.default if ttl is NOT_PROVIDED else ttl
        return None if minutes is None else max(1, round(minutes * MINUTE))

    def refreshes(self, asked: bool | None) -> bool:
        """Tell whether a read starts times to live anew, given what it says."""
        return self.refresh if asked is None else asked

    def hidden_until(self, now: int) -> int:
        """Return the moment up to which items that have expired are not to be seen."""
        return now if self.omit else -1


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidConfigError(f"The store's ttl has {name}={value!r}; it must be True or False.")
    return value


def now() -> int:
    """Return the microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Sweeper:
    """A thread that calls a function at intervals, until it is stopped; a failure is logged and does not end it."""

    def __init__(self, sweep: Callable[[], object]) -> None:
        self._sweep = sweep
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._running: Future[None] | None = None

    def start(self, minutes: float) -> Future[None]:
        """Start the thread, if none runs, and return a future that is done when it has ended."""
        with self._lock:
            if self._running is None or self._running.done():
                self._stop, self._running = threading.Event(), Future()
                self._running.set_running_or_notify_cancel()
                arguments = (minutes * 60, self._stop, self._running)
                threading.Thread(target=self._run, args=arguments, name="twinstep-ttl-sweeper", daemon=True).start()
            return self._running

    def stop(self, timeout: float | None) -> bool:
        """Ask the thread to end and tell whether it has ended within so many seconds."""
        with self._lock:
            running = self._running
            self._stop.set()
        if running is None:
            return True
        try:
            running.result(timeout)
        except TimeoutError:
            return False
        return True

    def _run(self, seconds: float, stop: threading.Event, running: Future[None]) -> None:
        while not stop.wait(seconds):
            try:
                self._sweep()
            except Exception:
                log.exception("The store could not remove its expired items; it tries again in %s s.", seconds)
        running.set_result(None)
