"""Agents with the adapters of both providers, over real HTTP against the stub, also when things go wrong."""

import pytest

from tests.models.conftest import Provider
from tests.prebuilt.test_react_agent import THREAD, Verdict, add, start, texts
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.messages import AIMessageChunk, ToolMessage
from twinstep.prebuilt import create_react_agent
from twinstep.testing import Failure, ModelStub, Reply


@pytest.fixture(params=["openai", "anthropic"])
def provider(request):
    return Provider(request.param)


def calls(*args: object) -> Reply:
    return Reply("Let me see.", tool_calls=tuple(("add", each) for each in args))  # type: ignore[misc]  # bad ones too


def test_tools_are_offered_called_and_answered(lane, provider):
    with ModelStub([calls({"a": 1, "b": 2}, {"a": 3, "b": 4}), "3 and 7"]) as stub:
        agent = create_react_agent(provider.model(stub), [add], prompt="Count.")
        messages = lane.invoke(agent, start())["messages"]
    assert texts(messages) == ["hi", "Let me see.", "3", "7", "3 and 7"]
    first, second = (request.body for request in stub.requests)
    offered = first["tools"][0].get("function", first["tools"][0])
    assert (offered["name"], offered["description"]) == ("add", "Add two numbers.")
    ids = [call["id"] for call in messages[1].tool_calls]
    assert len(set(ids)) == 2
    assert all(id in str(second["messages"]) for id in ids), "the answers name the calls"


def test_arguments_that_are_no_json_are_answered_and_mended(lane, provider):
    with ModelStub([calls('{"a": 1, "b"', {"a": "x", "b": 1}), calls({"a": 1, "b": 1}), "2"]) as stub:
        messages = lane.invoke(create_react_agent(provider.model(stub), [add]), start())["messages"]
    assert [m.status for m in messages if isinstance(m, ToolMessage)] == ["error", "error", "success"]
    assert messages[-1].text == "2"


def test_a_structured_response(lane, provider):
    with ModelStub(["fine", Reply(tool_calls=(("Verdict", {"good": True}),))]) as stub:
        agent = create_react_agent(provider.model(stub), [add], response_format=Verdict)
        assert lane.invoke(agent, start())["structured_response"] == Verdict(good=True)


@pytest.mark.parametrize(
    ("step", "error", "options"),
    [
        (Reply("late", delay=30), "APITimeoutError", {"timeout": 0.3}),
        (Failure(429, "slow down"), "RateLimitError", {}),
        (Failure(500, "broken"), "InternalServerError", {}),
    ],
    ids=["too slow", "too many requests", "broken"],
)
def test_the_thread_goes_on_after_the_model_has_failed(lane, provider, step, error, options):
    with ModelStub([calls({"a": 1, "b": 2}), step, "3"]) as stub:
        agent = create_react_agent(provider.model(stub, **options), [add], checkpointer=InMemorySaver())
        with pytest.raises(getattr(provider.sdk, error)):
            lane.invoke(agent, start(), THREAD)
        assert lane.state(agent, THREAD).next == ("agent",)
        assert texts(lane.invoke(agent, None, THREAD)["messages"]) == ["hi", "Let me see.", "3", "3"]


def test_the_answer_is_streamed_while_it_comes(lane, provider):
    with ModelStub([calls({"a": 1, "b": 2}), "it is three"]) as stub:
        agent = create_react_agent(provider.model(stub), [add])
        chunks = lane.stream(agent, start(), stream_mode="messages")
    pieces = [(about["langgraph_node"], piece.text) for piece, about in chunks if isinstance(piece, AIMessageChunk)]
    assert [text for node, text in pieces if node == "agent" and text][-3:] == ["it", " is", " three"]
    assert ("tools", "3") in [(about["langgraph_node"], message.text) for message, about in chunks]
