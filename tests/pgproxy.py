"""A connection to PostgreSQL that can break at the worst moment: when a transaction is being ended."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PORT = ".s.PGSQL.5432"
ANSWER = b"COMMIT\0"
"""What the server says when a transaction is stored."""


class Proxy:
    """Stands between clients and a server, and breaks one connection while a transaction is being ended.

    Attributes:
        url: where clients connect.
        at: which transaction that is, counted from now on: those that write only. 0: none.
        stored: whether the server gets to hear of its end.
        cuts: how many connections were broken.
    """

    def __init__(self, server: str, folder: str, url: str) -> None:
        self.url, self.at, self.stored, self.cuts = url, 0, False, 0
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/{PORT}")
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                link = Link(self, client, server)
                for pump in (link.ask, link.answer):
                    threading.Thread(target=pump, daemon=True).start()

    def cuts_at(self, message: bytes) -> bool:
        """Tell whether the connection is to break at a message."""
        writes = any(word in message for word in (b"INSERT", b"UPDATE", b"DELETE"))
        if not (writes and message.endswith(b"COMMIT\0")):
            return False
        self.at -= 1
        self.cuts += self.at == 0
        return self.at == 0


class Link:
    """One connection."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._silent = False

    def ask(self) -> None:
        """Pass on what the client says, message by message."""
        with suppress(OSError):
            kind = 0  # the first message has no byte for its kind
            while (head := self._client.recv(kind + 4, socket.MSG_WAITALL)) and len(head) == kind + 4:
                size = struct.unpack("!i", head[kind:])[0] - 4
                message = head + (self._client.recv(size, socket.MSG_WAITALL) if size else b"")
                kind = 1
                if self._proxy.cuts_at(message):
                    if not self._proxy.stored:
                        break
                    self._silent = True
                self._server.sendall(message)
        if not self._silent:
            self._end()

    def answer(self) -> None:
        """Pass on what the server says; nothing of its answer to the end of the transaction."""
        said = b""
        with suppress(OSError):
            while data := self._server.recv(65536):
                if not self._silent:
                    self._client.sendall(data)
                    continue
                said += data
                if ANSWER in said:
                    break
        self._end()

    def _end(self) -> None:
        """Wake and end both threads; the sockets are closed when neither uses them any more."""
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def breaking_connection(url: str) -> Iterator[Proxy]:
    """Yield a proxy before the server at `url`, which listens on a socket in a directory."""
    with TemporaryDirectory(prefix="pg-") as folder:
        there = conninfo_to_dict(url)
        Path(folder).chmod(0o755)
        proxy = Proxy(f"{there['host']}/{PORT}", folder, make_conninfo(url, host=folder))
        try:
            yield proxy
        finally:
            proxy.close()
