"""Which threads the runs of a process work on, told to other processes by locks: they end when the process does."""

from __future__ import annotations

import os
import struct
import sys
from hashlib import blake2b
from importlib import import_module
from typing import Any, Final

fcntl: Any = import_module("fcntl") if sys.platform == "linux" else None
"""Elsewhere nobody can be told, and nothing is known."""
_LOCK: Final = "hhqqi"
"""`struct flock` of Linux: type, whence, start, length, process."""


class Presence:
    """Locks one byte of the file `<database>-runs` for each thread that a run works on, beside others that do.

    The byte is told by a digest of the thread's id. The file stays empty. Where it cannot be made, nothing is told.
    The locks belong to the open file, so savers of one process see each other too.

    Args:
        path: of the database; None for one that no other process can open.
    """

    def __init__(self, path: str | None) -> None:
        self._path = f"{os.path.realpath(path)}-runs" if path and fcntl else None
        self._fd: int | None = None

    def enter(self, thread_id: str) -> None:
        """Tell that a run works on a thread."""
        self._set(thread_id, fcntl.F_RDLCK)

    def leave(self, thread_id: str) -> None:
        """Tell that it has ended."""
        self._set(thread_id, fcntl.F_UNLCK)

    def elsewhere(self, thread_id: str) -> bool | None:
        """Tell whether a run of another process, or of another saver, works on a thread; None: that is not known."""
        fd = self._open()
        if fd is None:
            return None
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _lock(thread_id, fcntl.F_WRLCK))
        return bool(struct.unpack(_LOCK, found)[0] != fcntl.F_UNLCK)

    def _set(self, thread_id: str, kind: int) -> None:
        fd = self._open()
        if fd is not None:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock(thread_id, kind))

    def _open(self) -> int | None:
        if self._fd is None and self._path is not None:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError:
                self._path = None
        return self._fd

    def close(self) -> None:
        """Let all locks of this saver go; in a forked child, only its share in them."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _lock(thread_id: str, kind: int) -> bytes:
    at = int.from_bytes(blake2b(thread_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 2
    return struct.pack(_LOCK, kind, os.SEEK_SET, at, 1, 0)
