"""What the adapters of the providers' SDKs share: clients, and answers whole or in pieces."""

from __future__ import annotations

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

from twinstep.errors import TwinstepError
from twinstep.messages import AIMessage, AIMessageChunk
from twinstep.models.base import Model, Request

CLIENT_OPTIONS = frozenset(
    {"api_key", "base_url", "timeout", "max_retries", "default_headers", "default_query", "organization", "project"}
)
"""Options that the SDK's client takes; all others are sent with every request."""


class BrokenAnswerError(TwinstepError, ConnectionError):
    """The connection to a model broke off in the middle of its answer."""


class Decoder(Protocol):
    """Turns the events of one answer into its pieces."""

    def read(self, event: Any) -> Iterable[AIMessageChunk]:
        """Return the pieces that an event holds."""
        ...

    def close(self) -> None:
        """Check that the answer is complete.

        Raises:
            BrokenAnswerError: it is not.
        """
        ...


class Clients:
    """An SDK's clients, made on first use: one for all threads, and one for each event loop.

    Args:
        package: the SDK, and the extra of twinstep that installs it.
        names: the classes of the two clients.
        options: for both.

    Raises:
        ImportError: the SDK is not installed.
    """

    def __init__(self, package: str, names: tuple[str, str], options: Mapping[str, Any]) -> None:
        try:
            self._module = import_module(package)
        except ImportError as error:
            raise ImportError(f"The package '{package}' is missing: pip install 'twinstep[{package}]'.") from error
        self._names, self._options = names, dict(options)
        self.sync: Any = None
        self.shared: Any = None
        self._by_loop: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def on_thread(self) -> Any:
        """Return the synchronous client."""
        if self.sync is None:
            self.sync = getattr(self._module, self._names[0])(**self._options)
        return self.sync

    def on_loop(self) -> Any:
        """Return the client of the running event loop: its connections belong to that loop."""
        if self.shared is not None:
            return self.shared
        loop = asyncio.get_running_loop()
        client = self._by_loop.get(loop)
        if client is None:
            client = self._by_loop[loop] = getattr(self._module, self._names[1])(**self._options)
        return client


@lru_cache(maxsize=16)
def parameters_of(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of a function's parameters."""
    return frozenset(inspect.signature(function).parameters)


class SDKModel(Model):
    """A model behind the SDK of its provider.

    Errors of the SDK pass through as they are, after the retries that the SDK makes itself.

    Args:
        name: the model's name.
        client: a client of the SDK to use in place of one made from the options.
        async_client: the same, for `ainvoke` and `astream`; it must only be used on one event loop.
        options: of the client (`api_key`, `base_url`, `timeout` in seconds, `max_retries`, `default_headers`), and what
            is sent with every request.

    Raises:
        ImportError: the SDK is not installed.
    """

    clients_named: ClassVar[tuple[str, str]]

    def __init__(self, name: str, *, client: Any = None, async_client: Any = None, **options: Any) -> None:
        of_client = {key: options.pop(key) for key in CLIENT_OPTIONS & options.keys()}
        super().__init__(name, **options)
        self.clients: Clients = Clients(self.provider, self.clients_named, of_client)
        self.clients.sync, self.clients.shared = client, async_client

    @abstractmethod
    def endpoint(self, client: Any) -> Callable[..., Any]:
        """Return the method of a client, which may be either one, that sends requests."""

    @abstractmethod
    def body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        """Return what is sent for a request."""

    @abstractmethod
    def answer(self, response: Any) -> AIMessage:
        """Return a response as a message."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """Return what reads the events of one streamed answer."""

    def send(self, client: Any, body: dict[str, Any]) -> Any:
        """Send a request; what the SDK does not know itself (and perhaps the API does) goes along as `extra_body`."""
        endpoint = self.endpoint(client)
        known = parameters_of(getattr(endpoint, "__func__", endpoint))
        extra = {key: body.pop(key) for key in body.keys() - known}
        return endpoint(**body, extra_body={**extra, **body.pop("extra_body", {})}) if extra else endpoint(**body)

    def ask(self, request: Request) -> AIMessage:
        return self.answer(self.send(self.clients.on_thread(), self.body(request, stream=False)))

    async def aask(self, request: Request) -> AIMessage:
        return self.answer(await self.send(self.clients.on_loop(), self.body(request, stream=False)))

    def pieces(self, request: Request) -> Iterator[AIMessageChunk]:
        decoder = self.decoder()
        with self.send(self.clients.on_thread(), self.body(request, stream=True)) as events:
            for event in events:
                yield from decoder.read(event)
        decoder.close()

    async def apieces(self, request: Request) -> AsyncGenerator[AIMessageChunk]:
        decoder = self.decoder()
        async with await self.send(self.clients.on_loop(), self.body(request, stream=True)) as events:
            async for event in events:
                for chunk in decoder.read(event):
                    yield chunk
        decoder.close()

    def about(self) -> dict[str, Any]:
        told = {f"ls_{key}": self.options[key] for key in ("temperature", "max_tokens") if key in self.options}
        return {**super().about(), **told}
