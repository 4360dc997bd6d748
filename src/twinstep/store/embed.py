"""What turns texts into vectors: functions, models of other libraries, and models of OpenAI by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeAlias, TypeVar, cast

from twinstep.errors import InvalidConfigError
from twinstep.threads import in_thread

T = TypeVar("T")
Rows: TypeAlias = Sequence[Sequence[float]]
Embed: TypeAlias = Callable[[list[str]], Rows | Awaitable[Rows]]


class Embedder:
    """One way to call whatever a user gave for `embed`.

    Args:
        embed: a function from a list of texts to a list of vectors, plain or async; an object with `embed_documents`
            and `embed_query` (and `aembed_...`, which async callers then use); or `"openai:<model>"`.

    Raises:
        InvalidConfigError: it is none of these.
    """

    def __init__(self, embed: Any) -> None:
        if isinstance(embed, str):
            embed = _named(embed)
        self._sync: tuple[Embed, Embed]
        self._async: tuple[Embed, Embed]
        if hasattr(embed, "embed_documents") and hasattr(embed, "embed_query"):
            self._sync = embed.embed_documents, _listed(embed.embed_query)
            later = getattr(embed, "aembed_documents", embed.embed_documents)
            self._async = later, _listed(getattr(embed, "aembed_query", embed.embed_query))
        elif callable(embed):
            self._sync = self._async = cast(Embed, embed), cast(Embed, embed)
        else:
            raise InvalidConfigError(
                f"The store's index got {embed!r} for 'embed'. Pass a function from a list of texts to a list of "
                "vectors, an object with embed_documents and embed_query, or 'openai:<model>'."
            )

    def __call__(self, texts: list[str], queries: list[str]) -> tuple[Rows, Rows]:
        """Return the vectors of texts that are stored, and of queries."""
        embed_texts, embed_query = self._sync
        rows = _finished(embed_texts(texts)) if texts else ()
        return rows, [_first(_finished(embed_query([query]))) for query in queries]

    async def acall(self, texts: list[str], queries: list[str]) -> tuple[Rows, Rows]:
        """Return the same: what is async runs on this event loop, the rest in a thread."""
        embed_texts, embed_query = self._async
        rows = await _awaited(embed_texts, texts) if texts else ()
        return rows, [_first(await _awaited(embed_query, [query])) for query in queries]


def _listed(embed_query: Callable[[str], Any]) -> Embed:
    """Return a function of a list of one text for a function of one text."""
    if iscoroutinefunction(embed_query):

        async def one_async(texts: list[str]) -> Rows:
            return [await embed_query(texts[0])]

        return one_async
    return lambda texts: [embed_query(texts[0])]


def _first(rows: Rows) -> Sequence[float]:
    return rows[0] if len(rows) else ()


def _finished(result: Rows | Awaitable[Rows]) -> Rows:
    """Return what a synchronous caller gets of a result that may be awaitable."""
    return run_async(_await(result)) if isawaitable(result) else result


async def _awaited(embed: Embed, texts: list[str]) -> Rows:
    result = embed(texts) if iscoroutinefunction(embed) else await in_thread(embed, texts)
    return await result if isawaitable(result) else result


async def _await(result: Awaitable[T]) -> T:
    return await result


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine for a synchronous caller, in a thread of its own when an event loop runs in this one."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _named(name: str) -> Embed:
    """Return the embedding function of a model that is named `provider:model`."""
    provider, _, model = name.partition(":")
    if provider != "openai" or not model:
        raise InvalidConfigError(
            f"The store's index got {name!r} for 'embed'; by name there are the models of 'openai:<model>'. "
            "Pass a function from a list of texts to a list of vectors for any other."
        )
    try:
        from openai import OpenAI
    except ImportError as error:
        raise InvalidConfigError(f"embed={name!r} needs the openai package: install twinstep[openai].") from error

    def embed(texts: list[str]) -> Rows:
        found = OpenAI().embeddings.create(model=model, input=texts).data
        return [each.embedding for each in sorted(found, key=lambda each: each.index)]

    return embed
