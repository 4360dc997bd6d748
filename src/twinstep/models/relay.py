"""Streams of the providers' SDKs, used by a program itself: shown to the run's stream on their way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from twinstep.errors import TwinstepError
from twinstep.messages import AIMessage, AIMessageChunk
from twinstep.messages.chunk import join
from twinstep.models.anthropic import AnthropicDecoder
from twinstep.models.openai import OpenAIDecoder
from twinstep.models.openai_responses import ResponsesDecoder
from twinstep.models.sdk import Decoder
from twinstep.models.telling import Teller


class RelayError(TwinstepError, TypeError):
    """A stream cannot be relayed, or was not read yet."""


class Relay:
    """The events of an SDK's stream, passed on as they are while the run's stream is shown the pieces.

    Iterate over it as over the stream itself, or let `read` (`aread`) do so.
    """

    def __init__(self, stream: Any, tags: Iterable[str] = ()) -> None:
        self._stream, self._tags = stream, tuple(tags)
        self._decoder: Decoder | None = None
        self._teller: Teller | None = None
        self._pieces: list[AIMessageChunk] = []
        self._whole: AIMessage | None = None

    def __iter__(self) -> Iterator[Any]:
        for event in self._stream:
            self._look(event)
            yield event
        self._close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for event in self._stream:
            self._look(event)
            yield event
        self._close()

    def read(self) -> AIMessage:
        """Read the stream to its end and return the message.

        Raises:
            BrokenAnswerError: the connection broke before the end of the answer.
            RelayError: these are no events of a model's answer.
        """
        for _ in self:
            pass
        return self.message

    async def aread(self) -> AIMessage:
        """Read an asynchronous stream to its end and return the message; errors are those of `read`."""
        async for _ in self:
            pass
        return self.message

    @property
    def message(self) -> AIMessage:
        """The message that the events add up to.

        Raises:
            RelayError: the stream was not read to its end.
        """
        if self._whole is None:
            raise RelayError("The stream was not read to its end yet; iterate over the relay, or call read().")
        return self._whole

    def _look(self, event: Any) -> None:
        if self._decoder is None or self._teller is None:
            provider, self._decoder, model = _recognised(event)
            about = {"ls_provider": provider, "ls_model_name": model, "ls_model_type": "chat"}
            self._teller = Teller(about, self._tags)
        for piece in self._decoder.read(event):
            self._pieces.append(self._teller.tell(piece))

    def _close(self) -> None:
        if self._decoder is None:
            raise RelayError("The stream held no event.")
        self._decoder.close()
        self._whole = join(self._pieces).whole()


def _recognised(event: Any) -> tuple[str, Decoder, str]:
    """Return the provider that a first event comes from, what reads its events, and the model's name."""
    chunk = getattr(event, "chunk", event)
    if hasattr(chunk, "choices"):
        return "openai", OpenAIDecoder(), getattr(chunk, "model", "")
    if getattr(event, "type", None) == "message_start":
        return "anthropic", AnthropicDecoder(), event.message.model
    if getattr(event, "type", None) == "response.created":
        return "openai", ResponsesDecoder(), event.response.model
    raise RelayError(
        "relay() takes a stream of OpenAI chat completions or responses, or of Anthropic messages; its first event was "
        f"{event!r}."
    )


def relay(stream: Any, *, tags: Iterable[str] = ()) -> Relay:
    """Show the pieces of an SDK's stream in the `messages` stream of the calling run, and pass its events on.

    Args:
        stream: what the OpenAI client returns for `chat.completions.create(stream=True)` or
            `responses.create(stream=True)`, the Anthropic client for `messages.create(stream=True)`, or a `stream()`
            helper once entered; synchronous or asynchronous.
        tags: shown with the pieces; `nostream` keeps them out.

    Returns:
        An iterable over the same events, with the `message` they add up to. Outside of a run nothing is shown.
    """
    return Relay(stream, tags)
