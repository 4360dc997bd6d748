"""Ids that sort by time, and ids derived from a path."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from twinstep.forked import when_forked


class _Clock:
    """Makes ids in the layout of UUID version 7 (RFC 9562): 48 bits of milliseconds, a counter, random bits.

    Ids of one process strictly increase, also when the system clock steps back; the random tail is drawn once per
    process (and again after a fork), which costs nothing per id.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reseed()

    def reseed(self) -> None:
        self._tail = f"{0x8000 | int.from_bytes(os.urandom(2), 'big') & 0x3FFF:04x}-{os.urandom(6).hex()}"
        self._last = 0

    def next(self) -> str:
        # 12 bits of sub-millisecond time, so that neighbours differ; a busy process runs ahead of the clock
        tick = time.time_ns() * 4096 // 1_000_000
        with self._lock:
            if tick <= self._last:
                tick = self._last + 1
            self._last = tick
        stamp = f"{tick:015x}"
        return f"{stamp[:8]}-{stamp[8:12]}-7{stamp[12:]}-{self._tail}"


_clock = _Clock()
when_forked(_clock.reseed)
new_id: Callable[[], str] = _clock.next


def id_time(id: str) -> float:
    """Return the time at which an id was made, in seconds since the epoch."""
    return int(id[:8] + id[9:13], 16) / 1000


_blank = blake2b(digest_size=16)
"""Copied instead of made anew, which takes a third of the time."""


def path_id(path: tuple[Any, ...]) -> str:
    """Return the id of a place in a run, in the form of a UUID; equal paths have equal ids in every process."""
    return _id(_hashed(_blank, repr(path)))


def begin_ids(path: tuple[Any, ...]) -> blake2b:
    """Hash a path once for the ids of the places right below it (see `id_below`)."""
    return _hashed(_blank, repr(path)[:-1])


def id_below(begun: blake2b, name: str, place: Any) -> str:
    """Return what `path_id` does for `(*path, name, place)`, where `path` is what was begun with."""
    h = begun.copy()  # as `_hashed` does, which every call of a task is spared
    h.update(f", {name!r}, {place!r})".encode())
    return _id(h)


def question_id(path: tuple[Any, ...]) -> str:
    """Return the id of a question: 32 hexadecimal digits."""
    return _hashed(_blank, repr(path)).hexdigest()


def _id(h: blake2b) -> str:
    digits = h.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _hashed(begun: blake2b, rest: str) -> blake2b:
    h = begun.copy()
    h.update(rest.encode())  # of a `repr`, which writes out what UTF-8 cannot hold
    return h
