"""Search by meaning, with a real embedding: letter counts."""

import asyncio
from typing import Any

import pytest

from twinstep.errors import InvalidConfigError
from twinstep.store.base import PutOp
from twinstep.store.memory import InMemoryStore

LETTERS = "abcdefghijklmnopqrstuvwxyz"


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


@pytest.mark.parametrize("embed", [Letters(), LetterModel()], ids=["function", "model"])
@pytest.mark.parametrize("lane", ["sync", "async"])
def test_the_nearest_come_first_and_unindexed_last(embed: Any, lane: str) -> None:
    store = InMemoryStore(index={"dims": 26, "embed": embed, "fields": ["text"]})
    store.put(("n",), "unindexed", {"text": "cat"}, index=False)
    store.put(("n",), "other", {"text": "zoo"})
    store.put(("n",), "empty", {"other": "cat"})
    store.put(("n",), "near", {"text": "cats"})
    store.put(("n",), "same", {"text": "act"})
    found = store.search((), query="cat") if lane == "sync" else asyncio.run(store.asearch((), query="cat"))
    assert [item.key for item in found] == ["same", "near", "other", "unindexed", "empty"]
    assert [item.score for item in found] == [pytest.approx(1.0), pytest.approx(3 / 12**0.5), 0.0, None, None]
    assert [item.key for item in store.search((), query="cat", filter={"text": {"$ne": "act"}}, limit=1)] == ["near"]
    assert store.search(())[0].score is None


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


def test_a_batch_embeds_its_texts_in_one_call_and_sees_its_own_puts() -> None:
    embed = Letters()
    store = InMemoryStore(index={"dims": 26, "embed": embed})
    store.batch([PutOp(("n",), str(n), {"t": "x" * n}) for n in range(3)] + [PutOp(("n",), "0", None)])
    assert [len(texts) for texts in embed.calls] == [3]
    assert len(store.search((), query="x")) == 2


async def embed_async(texts: list[str]) -> list[list[float]]:
    return Letters()(texts)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dims": 26, "embed": Letters(), "field": ["a"]}, "Did you mean 'fields'"),
        ({"embed": Letters()}, "needs 'dims'"),
        ({"dims": 26}, "got None for 'embed'"),
        ({"dims": 26, "embed": "openai:small"}, "'openai:small' for 'embed'"),
        ({"dims": 26, "embed": embed_async}, "an async function"),
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
    ],
)
def test_what_an_embedding_returns_is_checked(dims: int, embed: Any, message: str) -> None:
    store = InMemoryStore(index={"dims": dims, "embed": embed})
    with pytest.raises(InvalidConfigError, match=message):
        store.put(("n",), "k", {"t": "x"})
    assert store.search(()) == []
