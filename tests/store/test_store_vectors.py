"""Search by meaning, with a real embedding: letter counts. Every backend ranks alike, with and without extensions."""

import asyncio
import random
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from twinstep.errors import InvalidConfigError
from twinstep.store.backend import BackendStore
from twinstep.store.base import PutOp, SearchOp
from twinstep.store.memory import InMemoryStore
from twinstep.store.postgres import PostgresStore
from twinstep.store.sqlite import SqliteStore

LETTERS = "abcdefghijklmnopqrstuvwxyz"
Open = Callable[..., BackendStore]


class Letters:
    """Embeds a text as the counts of its letters and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(texts)
        return [[float(text.lower().count(letter)) for letter in LETTERS] for text in texts]


class LetterModel:
    """The same behind the two methods that embedding models have."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return Letters()(texts)

    def embed_query(self, text: str) -> list[float]:
        return Letters()([text])[0]


class AsyncLetterModel(LetterModel):
    """A model that also has asynchronous methods."""

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        await asyncio.sleep(0)
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        await asyncio.sleep(0)
        return self.embed_query(text)


async def embed_async(texts: list[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return Letters()(texts)


class Lookup:
    """Embeds a text as the vector that it is the number of."""

    def __init__(self, vectors: Sequence[list[float]]) -> None:
        self.vectors = vectors

    def __call__(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[int(text)] for text in texts]


@pytest.mark.parametrize(
    "embed",
    [Letters(), embed_async, LetterModel(), AsyncLetterModel()],
    ids=["function", "async function", "model", "async model"],
)
@pytest.mark.parametrize("lane", ["sync", "async", "sync in a loop"])
def test_the_nearest_come_first_and_unindexed_last(open_store: Open, embed: Any, lane: str) -> None:
    store = open_store(index={"dims": 26, "embed": embed, "fields": ["text"]})

    def search(**options: Any) -> list[Any]:
        async def in_a_loop() -> list[Any]:
            return store.search((), query="cat", **options)

        if lane == "async":
            return asyncio.run(store.asearch((), query="cat", **options))
        return asyncio.run(in_a_loop()) if lane == "sync in a loop" else store.search((), query="cat", **options)

    store.put(("n",), "unindexed", {"text": "cat"}, index=False)
    store.put(("n",), "other", {"text": "zoo"})
    store.put(("n",), "empty", {"other": "cat"})
    asyncio.run(store.aput(("n", "m"), "near", {"text": "cats"}))
    store.put(("n",), "same", {"text": "act"})
    store.put(("n",), "nothing", {"text": "..."})
    found = search()
    assert [item.key for item in found] == ["same", "near", "other", "unindexed", "empty", "nothing"]
    assert [item.score for item in found] == [pytest.approx(1.0), pytest.approx(3 / 12**0.5), 0.0, None, None, None]
    assert [item.key for item in search(filter={"text": {"$ne": "act"}}, limit=1)] == ["near"]
    assert [item.key for item in search(limit=2, offset=2)] == ["other", "unindexed"]
    assert [item.key for item in search(limit=5, offset=4)] == ["empty", "nothing"]
    assert store.search(())[0].score is None
    assert [item.key for item in store.search(("n", "m"), query="cat")] == ["near"]
    assert [item.score for item in store.search((), query="...")] == [None] * 6


def test_vectors_follow_their_items(open_store: Open) -> None:
    store = open_store(index={"dims": 26, "embed": Letters(), "fields": ["text", "also[*]"]}, ttl={"default_ttl": None})
    store.put(("n",), "k", {"text": "cat", "also": ["dog", "emu"]})
    store.put(("n",), "l", {"text": "cat"})
    assert [(i.key, i.score) for i in store.search((), query="emu")] == [("k", pytest.approx(1)), ("l", 0.0)]
    store.put(("n",), "k", {"text": "ant"})
    assert [i.key for i in store.search((), query="emu", limit=1)] == ["k"]
    assert store.search((), query="emu", limit=1)[0].score == 0.0
    store.put(("n",), "k", {"text": "emu"}, index=False)
    assert [i.key for i in store.search((), query="emu")] == ["l", "k"]
    store.delete(("n",), "l")
    store.put(("n",), "l", {"also": ["ant", "gnu"]}, ["also[1]"])
    assert [(i.key, i.score) for i in store.search((), query="gnu")] == [("l", pytest.approx(1)), ("k", None)]


@pytest.mark.parametrize(
    ("fields", "index", "texts"),
    [
        (None, None, ['{"title": "T", "parts": [{"t": "a"}, {"t": "b"}, {}], "n": 7, "none": null}']),
        (["title", "n"], None, ["T", "7"]),
        (["parts[*].t"], None, ["a", "b"]),
        (["parts[-2].t", "parts[9].t", "title.t", "title[0]", "none"], None, ["b"]),
        (["title"], ["parts[0]"], ['{"t": "a"}']),
    ],
)
def test_paths_lead_to_texts(fields: list[str] | None, index: list[str] | None, texts: list[str]) -> None:
    embed = Letters()
    config: Any = {"dims": 26, "embed": embed, **({"fields": fields} if fields else {})}
    value = {"title": "T", "parts": [{"t": "a"}, {"t": "b"}, {}], "n": 7, "none": None}
    InMemoryStore(index=config).put(("n",), "k", value, index)
    assert embed.calls == [texts]


def test_a_batch_embeds_the_texts_that_count_in_one_call(open_store: Open) -> None:
    embed = Letters()
    store = open_store(index={"dims": 26, "embed": embed})
    store.batch([PutOp(("n",), str(n), {"t": "x" * n}) for n in range(3)] + [PutOp(("n",), "0", None)])
    assert [len(texts) for texts in embed.calls] == [2]
    assert len(store.search((), query="x")) == 2
    store.batch([PutOp(("n",), "0", {}, [])])
    assert [len(texts) for texts in embed.calls] == [2, 1]


@pytest.mark.parametrize("computed_by", ["table", "extension", "numpy", "python"])
def test_every_way_to_rank_gives_the_same_order(
    open_store: Open, computed_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    vectors = [[chance.gauss(0, 1) for _ in range(24)] for _ in range(400)]
    for n in range(0, 400, 2):  # ties, and neighbours nearer to each other than 32 bits can tell
        vectors[n + 1] = [number * 3 if n % 4 else number + 1e-7 for number in vectors[n]]
    if computed_by == "table":
        monkeypatch.setattr("twinstep.store.sqlite.vector_table._FEW", 1)
    elif computed_by != "extension":
        monkeypatch.setattr("twinstep.store.sqlite.has_vectors", lambda db: False)
        monkeypatch.setattr(PostgresStore, "_use_pgvector", lambda store: None)
    if computed_by == "python":
        monkeypatch.setitem(sys.modules, "numpy", None)
    index: Any = {"dims": 24, "embed": Lookup(vectors), "fields": ["t[*]"]}
    store, exact = open_store(index=index), InMemoryStore(index=index)
    if computed_by in ("extension", "table") and isinstance(store, (SqliteStore, PostgresStore)):
        store.setup()
        assert store._sql._spelling.distance, "this machine has sqlite-vec and pgvector"
    for each in (store, exact):
        puts = [
            PutOp(("a", str(n % 3)), str(n), {"t": [str(n), str((n * 7) % 400)], "n": n}, None if n % 50 else False)
            for n in range(400)
        ]
        each.batch(puts)
    for op in [
        SearchOp((), query="3"),
        SearchOp(("a", "1"), query="10", limit=40, offset=5),
        SearchOp(("a",), {"n": {"$lt": 30}}, query="77", limit=25),
        SearchOp(("a",), {"n": {"$lt": 30}}, query="77", limit=25, offset=20),
        SearchOp(("a",), {"n": -1}, query="77"),
        SearchOp(("a",), {"n": 20}, query="77"),
        SearchOp(("a",), {"n": {"$in": list(range(50))}}, query="77", limit=60),
        SearchOp((), query="0", limit=1000),
        SearchOp(("b",), query="0"),
        SearchOp((), query="0", limit=0),
    ]:
        (found,), (expected,) = store.batch([op]), exact.batch([op])
        assert isinstance(found, list)
        assert isinstance(expected, list)
        assert [(i.key, i.score) for i in found] == [(i.key, i.score) for i in expected], op  # type: ignore[union-attr]


def test_who_has_no_extension_leaves_the_table_of_it_behind_and_no_answer_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinstep.store.sqlite.vector_table._FEW", 1)
    chance = random.Random(3)
    vectors = [[chance.gauss(0, 1) for _ in range(8)] for _ in range(120)]
    index: Any = {"dims": 8, "embed": Lookup(vectors), "fields": ["t"]}
    exact = InMemoryStore(index=index)

    def open_it(extension: bool) -> SqliteStore:
        with pytest.MonkeyPatch.context() as patch:
            if not extension:
                patch.setattr("twinstep.store.sqlite.connect", sqlite3.connect)
            store = SqliteStore(tmp_path / "store.sqlite", index=index)
            store.setup()
        assert bool(store._sql._spelling.table) is extension
        return store

    def write(store: SqliteStore, *ops: PutOp) -> None:
        for each in (store, exact):
            each.batch(ops)

    def check(*stores: SqliteStore) -> None:
        for prefix, limit in [((), 10), (("a",), 200), (("a", "1"), 7)]:
            op = SearchOp(prefix, query="5", limit=limit)
            (expected,) = exact.batch([op])
            for store in stores:
                (found,) = store.batch([op])
                assert [(i.key, i.score) for i in found] == [(i.key, i.score) for i in expected]  # type: ignore[union-attr]

    fast, plain = open_it(True), open_it(False)
    places = [(("a", str(n % 2)), str(n)) for n in range(120)]
    write(fast, *(PutOp(*places[n], {"t": str(n)}) for n in range(80)))
    check(fast, plain)
    write(plain, *(PutOp(*places[n], {"t": str(n)}) for n in range(80, 100)))
    write(
        plain, *(PutOp(*places[n], {"t": str(119 - n)}) for n in range(10)), *(PutOp(*places[n], None) for n in (5, 11))
    )
    check(fast, plain)
    write(plain, PutOp(*places[99], None))  # the newest number, which nothing may be given again
    write(plain, PutOp(*places[119], {"t": "5"}))
    check(fast, plain, open_it(True))
    write(fast, *(PutOp(*places[n], {"t": str(n)}) for n in range(100, 119)), PutOp(*places[7], None))
    assert fast._db.autocommit(_rows("SELECT v FROM twinstep_store_changes")) == []
    near = fast._db.autocommit(_rows("SELECT rowid FROM twinstep_store_near"))
    assert sorted(near) == sorted(fast._db.autocommit(_rows("SELECT v FROM twinstep_store_vectors")))
    check(fast, plain)


def _rows(sql: str) -> Any:
    return (yield sql, ())


def test_a_store_keeps_to_the_dims_it_began_with(open_store: Open) -> None:
    open_store(index={"dims": 26, "embed": Letters()}).put(("n",), "k", {"t": "x"})
    plain = open_store()
    if isinstance(plain, InMemoryStore):
        pytest.skip("memory holds nothing that another store could open")
    plain.put(("n",), "k", {"t": "now without an index"})
    assert [i.score for i in open_store(index={"dims": 26, "embed": Letters()}).search((), query="x")] == [None]
    with pytest.raises(InvalidConfigError, match="dims=26, and this index has dims=3"):
        open_store(index={"dims": 3, "embed": Letters()}).search((), query="x")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dims": 26, "embed": Letters(), "field": ["a"]}, "Did you mean 'fields'"),
        ({"embed": Letters()}, "needs 'dims'"),
        ({"dims": True, "embed": Letters()}, "needs 'dims'"),
        ({"dims": 26}, "got None for 'embed'"),
        ({"dims": 26, "embed": "cohere:small"}, "'cohere:small' for 'embed'"),
        ({"dims": 26, "embed": "openai:"}, "'openai:' for 'embed'"),
        ({"dims": 26, "embed": Letters(), "fields": ["a["]}, "cannot be read"),
    ],
)
def test_bad_index_configs_are_refused(config: Any, message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        InMemoryStore(index=config)


@pytest.mark.parametrize(
    ("dims", "embed", "message"),
    [
        (25, Letters(), "26 numbers.*dims=25"),
        (1, lambda texts: [], "0 vectors for 1"),
        (1, lambda texts: [[1.0]] * 2, "2 vec"),
        (1, lambda texts: [[float("nan")]], "a NaN or an infinity"),
        (1, lambda texts: [["one"]], "no list of vectors"),
        (1, lambda texts: None, "no list of vectors"),
    ],
)
def test_what_an_embedding_returns_is_checked(open_store: Open, dims: int, embed: Any, message: str) -> None:
    store = open_store(index={"dims": dims, "embed": embed})
    with pytest.raises(InvalidConfigError, match=message):
        store.put(("n",), "k", {"t": "x"})
    assert store.search(()) == []


def test_w58_a_query_needs_an_index(store: BackendStore) -> None:
    with pytest.raises(InvalidConfigError, match=r"needs a store with an index.*\(\.\.\., index="):
        store.search((), query="cat")
