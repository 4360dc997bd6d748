"""Streams of the SDKs that a program reads itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Lane
from tests.models.conftest import Provider
from twinstep.graph import START, MessagesState, StateGraph
from twinstep.models import BrokenAnswerError, RelayError, relay
from twinstep.testing import ModelStub, Reply


def opened(provider: Provider, client: Any) -> Any:
    """Start a streamed answer; of an asynchronous client, what has to be awaited."""
    question = [{"role": "user", "content": "Hi"}]
    if provider.name == "openai":
        return client.chat.completions.create(model="m", messages=question, stream=True)
    return client.messages.create(model="m", max_tokens=9, messages=question, stream=True)


def node(provider: Provider, stub: ModelStub, lane: Lane, **options: Any) -> Any:
    """Return a node that reads a stream through a relay."""

    async def ask(state: MessagesState) -> Any:
        async with await opened(provider, provider.client(stub, is_async=True)) as stream:
            return {"messages": [await relay(stream, **options).aread()]}

    def ask_sync(state: MessagesState) -> Any:
        with opened(provider, provider.client(stub)) as stream:
            return {"messages": [relay(stream, **options).read()]}

    builder = StateGraph(MessagesState).add_node("ask", ask if lane.is_async else ask_sync)
    return builder.add_edge(START, "ask").compile()


def test_pieces_are_shown_once_and_the_message_is_returned(provider: Provider, lane: Lane) -> None:
    with ModelStub([Reply("one two", tool_calls=(("f", {"a": 1}),))]) as stub:
        graph = node(provider, stub, lane, tags=["mine"])
        chunks = lane.stream(graph, {"messages": "Hi"}, stream_mode=["messages", "values"])
    pieces = [chunk for mode, chunk in chunks if mode == "messages"]
    assert [piece.text for piece, _ in pieces if piece.text] == ["one", " two"]
    assert pieces[0][1].items() >= {"ls_provider": provider.name, "ls_model_name": "m", "tags": ["mine"]}.items()
    final = chunks[-1][1]["messages"][-1]
    assert (final.text, final.tool_calls[0]["args"], final.id) == ("one two", {"a": 1}, pieces[0][0].id)


def test_nostream_keeps_the_pieces_out(provider: Provider, lane: Lane) -> None:
    with ModelStub(["one two"]) as stub:
        chunks = lane.stream(node(provider, stub, lane, tags=["nostream"]), {"messages": "Hi"}, stream_mode="messages")
    assert [chunk.text for chunk, _ in chunks] == ["one two"]


def test_events_are_passed_on_as_they_are_outside_of_a_run_too(provider: Provider) -> None:
    with ModelStub(["one two", "one two"]) as stub:
        client = provider.client(stub)
        plain = [type(event) for event in opened(provider, client)]
        relayed = relay(opened(provider, client))
        with pytest.raises(RelayError, match="not read"):
            _ = relayed.message
        assert [type(event) for event in relayed] == plain
        assert relayed.message.text == "one two"


def test_the_streaming_helpers_of_the_sdks_are_understood(provider: Provider) -> None:
    question: Any = [{"role": "user", "content": "Hi"}]
    with ModelStub(["one two"]) as stub:
        client = provider.client(stub)
        api = client.chat.completions if provider.name == "openai" else client.messages
        more = {} if provider.name == "openai" else {"max_tokens": 9}
        with api.stream(model="m", messages=question, **more) as stream:
            assert relay(stream).read().text == "one two"


def test_a_broken_or_strange_stream_is_an_error(provider: Provider) -> None:
    with ModelStub([Reply("one two", cut_after=1)]) as stub, pytest.raises(BrokenAnswerError):
        relay(opened(provider, provider.client(stub))).read()
    with pytest.raises(RelayError, match="'odd'"):
        relay(iter(["odd"])).read()
    with pytest.raises(RelayError, match="no event"):
        relay(iter([])).read()
