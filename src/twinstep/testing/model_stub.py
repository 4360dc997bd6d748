"""A stand-in for the APIs of model providers: a real HTTP server on this machine that answers from a script."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from typing import Any, Self

from twinstep.testing import anthropic_shape, openai_shape, responses_shape
from twinstep.testing.script import Failure, Received, Reply, Script, Step, stepper

SHAPES: dict[str, Any] = {shape.PATH: shape for shape in (openai_shape, responses_shape, anthropic_shape)}
"""The API of each path."""


class ModelStub:
    """Serve the APIs of OpenAI (chat completions and responses) and Anthropic on a free port of 127.0.0.1.

    Answers are streamed when the request asks for it. Safe to call from many threads and processes; requests are
    answered in the order of arrival.

    Args:
        script: the answers in turn (texts, `Reply`, `Failure`), or a function from the request's body to an answer. A
            script that is used up answers with status 400, which clients do not retry.

    Attributes:
        requests: every request so far.

    Example:
        >>> import json, urllib.request
        >>> with ModelStub(["Hello!"]) as stub:
        ...     question = json.dumps({"model": "m", "messages": []}).encode()
        ...     answer = json.load(urllib.request.urlopen(stub.openai_url + "/chat/completions", question))
        >>> answer["choices"][0]["message"]["content"]
        'Hello!'
    """

    def __init__(self, script: Script = ()) -> None:
        self.requests: list[Received] = []
        self._lock, self._numbers = Lock(), count(1)
        self._next = stepper(script)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def anthropic_url(self) -> str:
        """The value for `ANTHROPIC_BASE_URL` or a client's `base_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """The value for `OPENAI_BASE_URL` or a client's `base_url`."""
        return self.anthropic_url + "/v1"

    base_url = openai_url

    def start(self) -> Self:
        """Begin to serve; `with` does so too, and stops at its end."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and give the port back."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def answer(self, request: Received) -> tuple[Reply | Failure, str]:
        """Record a request; return the answer that is due, and a number for it."""
        with self._lock:
            if request.path not in SHAPES:
                return Failure(404, f"The stub does not serve {request.path}."), ""
            self.requests.append(request)
            step: Step = self._next(request.body)
            return Reply(step) if isinstance(step, str) else step, f"stub-{next(self._numbers)}"


OpenAIStub = ModelStub


def _handler(stub: ModelStub) -> type[BaseHTTPRequestHandler]:
    """Return a request handler class that answers for the stub."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
            path = self.path.partition("?")[0]
            request = Received(path, {name.lower(): value for name, value in self.headers.items()}, body)
            reply, id = stub.answer(request)
            shape = SHAPES.get(path, openai_shape)
            with suppress(ConnectionError):  # the client may be gone, or killed by a test
                if isinstance(reply, Reply) and body.get("stream"):
                    self.stream(reply, shape.events(reply, body, id))
                    return
                time.sleep(reply.delay)
                if isinstance(reply, Failure):
                    self.send(reply.status, shape.error(reply), reply.headers)
                else:
                    self.send(200, shape.whole(reply, body, id))

        def send(self, status: int, payload: dict[str, Any], headers: Any = ()) -> None:
            data = json.dumps(payload).encode()
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stream(self, reply: Reply, events: Iterator[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for number, event in enumerate(events):
                if number == reply.cut_after:
                    return
                time.sleep(reply.delay)
                self.wfile.write(event.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet: `stub.requests` is the log."""

    return Handler
