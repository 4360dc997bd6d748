"""A stand-in for the OpenAI chat API: a real HTTP server on this machine that answers from a script."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the model.

    Args:
        text: what it says.
        delay: seconds before every streamed piece (or before the whole answer, when it is not streamed).
        cut_after: number of pieces after which the connection breaks; None = never.
    """

    text: str
    delay: float = 0.0
    cut_after: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the API, given `times` times in a row."""

    status: int = 500
    message: str = "The stub was told to fail."
    times: int = 1


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Step = str | Reply | Failure
Script = Iterable[Step] | Callable[[dict[str, Any]], Step]


class OpenAIStub:
    """Serve `POST /v1/chat/completions` on a free port of 127.0.0.1, streaming when asked to.

    Safe to call from many threads and processes; requests are answered in the order of arrival.

    Args:
        script: the answers in turn, or a function from the request's body to an answer. A script that is used up
            answers with status 400, which clients do not retry.

    Attributes:
        requests: every request so far.

    Example:
        >>> import json, urllib.request
        >>> with OpenAIStub(["Hello!"]) as stub:
        ...     question = json.dumps({"model": "m", "messages": []}).encode()
        ...     answer = json.load(urllib.request.urlopen(stub.base_url + "/chat/completions", question))
        >>> answer["choices"][0]["message"]["content"]
        'Hello!'
    """

    def __init__(self, script: Script = ()) -> None:
        self.requests: list[Received] = []
        self._lock = Lock()
        self._next = script if callable(script) else _in_turn(script)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def base_url(self) -> str:
        """The value for `OPENAI_BASE_URL` or a client's `base_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: Received) -> Step:
        """Record a request and return the answer that is due."""
        with self._lock:
            self.requests.append(request)
            return self._next(request.body)


def _in_turn(script: Iterable[Step]) -> Callable[[dict[str, Any]], Step]:
    """Return a function that hands out the steps, a failure as often as it says."""
    steps = deque(step for step in script for _ in range(step.times if isinstance(step, Failure) else 1))
    return lambda _: steps.popleft() if steps else Failure(400, "The script of the stub is used up.")


def _handler(stub: OpenAIStub) -> type[BaseHTTPRequestHandler]:
    """Return a request handler class that answers for the stub."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
            request = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            known = self.path == "/v1/chat/completions"
            step = stub.answer(request) if known else Failure(404, f"The stub does not serve {self.path}.")
            reply = Reply(step) if isinstance(step, str) else step
            if isinstance(reply, Failure):
                self.send(reply.status, {"error": {"message": reply.message, "type": "stub_error", "code": None}})
            elif body.get("stream"):
                self.stream(reply, body)
            else:
                time.sleep(reply.delay)
                self.send(200, _completion(reply, body))

        def send(self, status: int, payload: dict[str, Any]) -> None:
            data = json.dumps(payload).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stream(self, reply: Reply, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with suppress(ConnectionError):  # the client may be gone, or killed by a test
                for count, chunk in enumerate(_chunks(reply, body)):
                    if count == reply.cut_after:
                        return
                    time.sleep(reply.delay)
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet: `stub.requests` is the log."""

    return Handler


def _completion(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer in the API's shape."""
    message = {"role": "assistant", "content": reply.text}
    return _envelope("chat.completion", {"index": 0, "message": message, "finish_reason": "stop"}, body)


def _chunks(reply: Reply, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an answer word by word in the API's shape, and why it ends."""
    for piece in re.findall(r"\s*\S+\s*$|\s*\S+", reply.text):
        delta = {"role": "assistant", "content": piece}
        yield _envelope("chat.completion.chunk", {"index": 0, "delta": delta, "finish_reason": None}, body)
    yield _envelope("chat.completion.chunk", {"index": 0, "delta": {}, "finish_reason": "stop"}, body)


def _envelope(kind: str, choice: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Wrap one choice as the API does."""
    model = body.get("model", "stub")
    return {"id": "chatcmpl-stub", "object": kind, "created": int(time.time()), "model": model, "choices": [choice]}
