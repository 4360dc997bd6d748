"""The OpenAI responses API, asked over real HTTP by the real SDK."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Lane
from twinstep.graph import START, MessagesState, StateGraph
from twinstep.messages import HumanMessage, SystemMessage, ToolMessage
from twinstep.models import BrokenAnswerError, Model, init_chat_model, relay
from twinstep.prebuilt import create_react_agent
from twinstep.testing import Failure, ModelStub, Reply

openai = pytest.importorskip("openai")
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "Oslo"}}


def model_of(stub: ModelStub, **options: Any) -> Model:
    given = {"api_key": "k", "base_url": stub.openai_url, "max_retries": 0, **options}
    return init_chat_model("openai:gpt-stub", use_responses_api=True, **given)


def weather(city: str) -> str:
    """Forecast the weather."""
    return f"{city}: sun"


def ask(lane: Lane, model: Model, messages: Any, streamed: bool) -> Any:
    if not streamed:
        return lane.call(model, "invoke", messages)
    first, *rest = lane.stream(model, messages)
    return sum(rest, first).whole()


@pytest.mark.parametrize("streamed", [False, True])
def test_text_tools_and_usage_go_there_and_back(lane: Lane, streamed: bool) -> None:
    reply = Reply("Let me see.", blocks=[SEARCH], tool_calls=[("weather", {"city": "Oslo"})])
    with ModelStub([reply, "Sunny."]) as stub:
        model = model_of(stub, max_tokens=9).bind_tools([weather, {"type": "web_search"}], tool_choice="weather")
        question = [SystemMessage("Be kind."), HumanMessage([{"type": "text", "text": "Weather?"}])]
        answer = ask(lane, model, question, streamed)
        result = ToolMessage("sun", tool_call_id=answer.tool_calls[0]["id"])
        assert ask(lane, model, [*question, answer, result], streamed).content == "Sunny."
    assert answer.content == [SEARCH, {"type": "text", "text": "Let me see."}]
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("weather", {"city": "Oslo"})]
    assert answer.usage_metadata["output_tokens"] == 6
    assert (answer.response_metadata["status"], answer.response_metadata["model_name"]) == ("completed", "gpt-stub")
    first, second = (request.body for request in stub.requests)
    assert (stub.requests[0].path, first["max_output_tokens"]) == ("/v1/responses", 9)
    assert (first["tools"][0]["name"], first["tools"][1]) == ("weather", {"type": "web_search"})
    assert first["tool_choice"] == {"type": "function", "name": "weather"}
    system, asked, searched, said, called, told = second["input"]
    assert system == {"role": "system", "content": "Be kind."}
    assert asked == {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}
    assert (searched, said) == (SEARCH, {"role": "assistant", "content": "Let me see."})
    assert (called["type"], called["name"], called["arguments"]) == ("function_call", "weather", '{"city": "Oslo"}')
    assert told == {"type": "function_call_output", "call_id": called["call_id"], "output": "sun"}


def test_an_agent_runs_over_it_and_its_words_are_streamed(lane: Lane) -> None:
    with ModelStub([Reply(tool_calls=[("weather", {"city": "Oslo"})]), "It is sunny."]) as stub:
        agent = create_react_agent(model_of(stub), [weather])
        chunks = lane.stream(agent, {"messages": "Weather?"}, stream_mode="messages")
    assert [piece.text for piece, _ in chunks if piece.text] == ["Oslo: sun", "It", " is", " sunny."]


@pytest.mark.parametrize("streamed", [False, True])
def test_arguments_that_are_no_json_and_structured_output(lane: Lane, streamed: bool) -> None:
    schema = {"title": "Place", "type": "object", "properties": {"city": {"type": "string"}}}
    steps = [Reply(tool_calls=[("weather", '{"city": ')]), Reply(tool_calls=[("Place", {"city": "Oslo"})])]
    with ModelStub(steps) as stub:
        broken = ask(lane, model_of(stub), "Hi", streamed)
        assert lane.call(model_of(stub).with_structured_output(schema), "invoke", "?") == {"city": "Oslo"}
    assert (broken.tool_calls, broken.invalid_tool_calls[0]["args"]) == ([], '{"city": ')


def test_errors_and_broken_streams(lane: Lane) -> None:
    with ModelStub([Failure(429, "slow down"), Reply("one two three", cut_after=4)]) as stub:
        with pytest.raises(openai.RateLimitError, match="slow down"):
            lane.call(model_of(stub), "invoke", "Hi")
        with pytest.raises(BrokenAnswerError, match="broke off"):
            lane.stream(model_of(stub), "Hi")


def test_a_stream_of_the_sdk_is_relayed() -> None:
    with ModelStub(["one two"]) as stub:
        client = openai.OpenAI(api_key="k", base_url=stub.openai_url, max_retries=0)

        def node(state: MessagesState) -> Any:
            return {"messages": [relay(client.responses.create(model="m", input="Hi", stream=True)).read()]}

        graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
        question: Any = {"messages": "Hi"}
        pieces = [piece.text for piece, _ in graph.stream(question, stream_mode="messages") if piece.text]
    assert pieces == ["one", " two"]
