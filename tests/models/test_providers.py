"""The adapters of the SDKs, asked over real HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import Lane
from tests.models.conftest import Provider
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.graph import START, MessagesState, StateGraph
from twinstep.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from twinstep.models import BrokenAnswerError, ChatModel, UnknownModelError, init_chat_model
from twinstep.prebuilt import create_react_agent
from twinstep.testing import Failure, ModelStub, Reply


def talk(model: ChatModel, lane: Lane, saver: BaseCheckpointSaver | None = None, **options: Any) -> Any:
    """Return a graph whose one node asks the model."""

    async def ask(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def ask_sync(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_node("ask", ask if lane.is_async else ask_sync, **options)
    return builder.add_edge(START, "ask").compile(checkpointer=saver)


def weather(city: str, days: int = 1) -> str:
    """Forecast the weather."""
    return f"{city}: sun for {days} days"


def test_a_whole_answer_has_text_usage_and_metadata(provider: Provider, lane: Lane) -> None:
    with ModelStub(["Hello you!"]) as stub:
        reply = lane.call(provider.model(stub), "invoke", [("system", "Be kind."), ("user", "Hi")])
    assert (reply.text, reply.tool_calls) == ("Hello you!", [])
    assert reply.usage_metadata["output_tokens"] == 2
    assert reply.response_metadata["model_name"] == provider.model_name
    assert reply.response_metadata["model_provider"] == provider.name
    assert reply.id != reply.response_metadata["id"]


def test_the_request_says_what_was_asked(provider: Provider, lane: Lane) -> None:
    with ModelStub(["ok"]) as stub:
        model = provider.model(stub, temperature=0.5).bind_tools([weather], tool_choice="weather")
        lane.call(model, "invoke", [SystemMessage("Be kind."), HumanMessage("Hi")], max_tokens=7)
    body = stub.requests[0].body
    assert (body["model"], body["temperature"], body["max_tokens"]) == (provider.model_name, 0.5, 7)
    if provider.name == "openai":
        assert body["messages"][0] == {"role": "system", "content": "Be kind."}
        tool = body["tools"][0]["function"]
        assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    else:
        assert (body["system"], body["messages"]) == ("Be kind.", [{"role": "user", "content": "Hi"}])
        tool = body["tools"][0]
        assert body["tool_choice"] == {"type": "tool", "name": "weather"}
    schema = tool.get("parameters") or tool["input_schema"]
    assert (tool["name"], tool["description"], schema["required"]) == ("weather", "Forecast the weather.", ["city"])


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_calls_and_their_results_go_there_and_back(provider: Provider, lane: Lane, streamed: bool) -> None:
    calls = (("weather", {"city": "Oslo"}), ("weather", {"city": "Rom", "days": 2}))
    with ModelStub([Reply("Let me see.", tool_calls=calls), "Sunny."]) as stub:
        model = provider.model(stub).bind_tools([weather])
        question: list[Any] = [HumanMessage("Weather?")]
        if streamed:
            first, *rest = lane.stream(model, question)
            reply = sum(rest, first).whole()
        else:
            reply = lane.call(model, "invoke", question)
        assert [(call["name"], call["args"]) for call in reply.tool_calls] == [(name, args) for name, args in calls]
        results = [ToolMessage(weather(**c["args"]), tool_call_id=c["id"] or "") for c in reply.tool_calls]
        assert lane.call(model, "invoke", [*question, reply, *results]).text == "Sunny."
    sent = stub.requests[1].body["messages"]
    if provider.name == "openai":
        assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
        assert [call["id"] for call in sent[1]["tool_calls"]] == [message["tool_call_id"] for message in sent[2:]]
    else:
        assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
        uses = [block["id"] for block in sent[1]["content"] if block["type"] == "tool_use"]
        assert uses == [block["tool_use_id"] for block in sent[2]["content"]]


def test_pieces_reach_the_stream_while_they_arrive_and_add_up(provider: Provider, lane: Lane) -> None:
    with ModelStub([Reply("one two three", tool_calls=(("weather", {"city": "Oslo"}),))]) as stub:
        graph = talk(provider.model(stub, tags=["main"]), lane)
        chunks = lane.stream(graph, {"messages": "Hi"}, stream_mode=["messages", "values"])
    pieces = [chunk for mode, chunk in chunks if mode == "messages"]
    final = chunks[-1][1]["messages"][-1]
    assert [piece.text for piece, _ in pieces if piece.text] == ["one", " two", " three"]
    assert {piece.id for piece, _ in pieces} == {final.id}
    first, *rest = (piece for piece, _ in pieces)
    assert sum(rest, first).whole() == final
    assert final.tool_calls[0]["args"] == {"city": "Oslo"}
    assert final.usage_metadata["total_tokens"] > final.usage_metadata["output_tokens"] > 0
    about = pieces[0][1]
    assert (about["ls_provider"], about["ls_model_name"]) == (provider.name, provider.model_name)
    assert (about["tags"], about["langgraph_node"]) == (["main"], "ask")


def test_nobody_listening_means_one_plain_request(provider: Provider, lane: Lane) -> None:
    with ModelStub(["a", "b"]) as stub:
        lane.stream(talk(provider.model(stub), lane), {"messages": "Hi"}, stream_mode="values")
        lane.stream(talk(provider.model(stub, tags=["nostream"]), lane), {"messages": "Hi"}, stream_mode="messages")
    assert [request.body.get("stream", False) for request in stub.requests] == [False, False]


def test_structured_output_comes_over_the_wire(provider: Provider, lane: Lane) -> None:
    schema = {"title": "Place", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    with ModelStub([Reply(tool_calls=(("Place", {"city": "Oslo"}),))]) as stub:
        assert lane.call(provider.model(stub).with_structured_output(schema), "invoke", "?") == {"city": "Oslo"}


def test_arguments_that_are_no_json_are_a_message_and_not_a_crash(provider: Provider, lane: Lane) -> None:
    with ModelStub([Reply(tool_calls=(("weather", '{"city": '),))]) as stub:
        first, *rest = lane.stream(provider.model(stub), "Hi")
    reply = sum(rest, first).whole()
    assert (reply.tool_calls, reply.invalid_tool_calls[0]["args"]) == ([], '{"city": ')


ERRORS = [(401, "AuthenticationError"), (429, "RateLimitError"), (500, "InternalServerError")]


@pytest.mark.parametrize(("status", "error"), ERRORS)
def test_errors_of_the_api_are_those_of_the_sdk(provider: Provider, lane: Lane, status: int, error: str) -> None:
    with ModelStub([Failure(status, "so it is")]) as stub, pytest.raises(getattr(provider.sdk, error)) as caught:
        lane.call(provider.model(stub), "invoke", "Hi")
    assert "so it is" in str(caught.value)


def test_the_sdk_retries_a_rate_limit_as_often_as_it_was_told_to(provider: Provider, lane: Lane) -> None:
    limit = Failure(429, times=2, headers={"retry-after-ms": "1"})
    with ModelStub([limit, "at last"]) as stub:
        assert lane.call(provider.model(stub, max_retries=2), "invoke", "Hi").text == "at last"
    assert len(stub.requests) == 3


def test_a_model_that_times_out_leaves_the_thread_usable(
    provider: Provider, lane: Lane, saver: BaseCheckpointSaver, thread: Any
) -> None:
    with ModelStub(["one", Reply("late", delay=1), "two"]) as stub:
        graph = talk(provider.model(stub, timeout=0.2), lane, saver)
        lane.invoke(graph, {"messages": "Hi"}, thread)
        with pytest.raises(provider.sdk.APITimeoutError):
            lane.invoke(graph, {"messages": "More"}, thread)
        assert lane.state(graph, thread).next == ("ask",)
        state = lane.invoke(graph, None, thread)
    assert [message.text for message in state["messages"]] == ["Hi", "one", "More", "two"]


@pytest.mark.parametrize("mode", ["messages", "values"])
def test_an_answer_that_breaks_off_is_an_error_and_is_not_stored(provider: Provider, lane: Lane, mode: str) -> None:
    with ModelStub([Reply("one two three", cut_after=2)]) as stub:
        graph = talk(provider.model(stub), lane)
        if mode == "messages":
            with pytest.raises(BrokenAnswerError, match="broke off"):
                lane.stream(graph, {"messages": "Hi"}, stream_mode="messages")
        else:
            with pytest.raises(BrokenAnswerError):
                lane.stream(provider.model(stub), "Hi")


def test_an_asynchronous_model_serves_one_event_loop_after_the_other(provider: Provider) -> None:
    with ModelStub(["a", "b"]) as stub:
        model = provider.model(stub)
        assert [asyncio.run(model.ainvoke("Hi")).text for _ in range(2)] == ["a", "b"]


def test_clients_can_be_given(provider: Provider, lane: Lane) -> None:
    with ModelStub(["mine"]) as stub:
        client = provider.client(stub, is_async=lane.is_async)
        model = init_chat_model(
            provider.model_name, model_provider=provider.name, **{"async_client" if lane.is_async else "client": client}
        )
        assert lane.call(model, "invoke", "Hi").text == "mine"


def test_thinking_is_kept_and_sent_back(lane: Lane) -> None:
    provider = Provider("anthropic")
    with ModelStub([Reply("So: 4.", thinking="two and two"), "yes"]) as stub:
        model = provider.model(stub)
        first, *rest = lane.stream(model, "2+2?")
        reply = sum(rest, first).whole()
        assert (reply.text, reply.content[0]["thinking"]) == ("So: 4.", "two and two")
        lane.call(model, "invoke", [HumanMessage("2+2?"), reply, HumanMessage("Sure?")])
    sent = stub.requests[1].body["messages"][1]["content"]
    assert sent == [
        {"type": "thinking", "thinking": "two and two", "signature": "stub-signature"},
        {"type": "text", "text": "So: 4."},
    ]


@pytest.mark.parametrize(
    ("name", "provider_name", "kind"),
    [
        ("openai:gpt-x", None, "OpenAIModel"),
        ("gpt-x", None, "OpenAIModel"),
        ("claude-x", None, "AnthropicModel"),
        ("my:odd:name", "openai", "OpenAIModel"),
    ],
)
def test_models_are_found_by_name(name: str, provider_name: str | None, kind: str) -> None:
    model = init_chat_model(name, model_provider=provider_name)
    assert type(model).__name__ == kind
    assert model.name == name.removeprefix("openai:")


@pytest.mark.parametrize("name", ["opneai:gpt-x", "llama-3"])
def test_an_unknown_provider_is_refused(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"openai, anthropic"):
        init_chat_model(name)


def test_answers_to_one_question_asked_twice_are_two_messages(provider: Provider, lane: Lane) -> None:
    with ModelStub(["same", "same"]) as stub:
        graph = talk(provider.model(stub), lane)
        state = lane.invoke(graph, lane.invoke(graph, {"messages": "Hi"}))
    assert [type(message) for message in state["messages"]] == [HumanMessage, AIMessage, AIMessage]


PROVIDED: dict[str, Any] = {
    "openai": {"type": "web_search", "search_context_size": "low"},
    "anthropic": {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
}


def test_a_tool_that_the_provider_runs_is_sent_as_it_is(provider: Provider, lane: Lane) -> None:
    with ModelStub(["ok"]) as stub:
        model = provider.model(stub).bind_tools([weather, PROVIDED[provider.name]])
        lane.call(model, "invoke", "Hi")
    own, provided = stub.requests[0].body["tools"]
    assert (own.get("function", own)["name"], provided) == ("weather", PROVIDED[provider.name])


def test_an_agent_may_use_a_tool_that_the_provider_runs(provider: Provider, lane: Lane) -> None:
    with ModelStub([Reply(tool_calls=(("weather", {"city": "Oslo"}),)), "Sunny."]) as stub:
        agent = create_react_agent(provider.model(stub), [weather, {"type": "web_search_20250305"}])
        assert lane.call(agent, "invoke", {"messages": "Hi"})["messages"][-1].text == "Sunny."
    assert stub.requests[1].body["tools"][1] == {"type": "web_search_20250305"}


@pytest.mark.parametrize("streamed", [False, True])
def test_what_a_tool_of_the_provider_did_goes_there_and_back(lane: Lane, streamed: bool) -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather in Oslo"}}
    found = {"type": "web_search_result", "url": "https://example.org", "title": "Oslo", "encrypted_content": "x"}
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]}
    provider = Provider("anthropic")
    with ModelStub([Reply("Sunny.", blocks=[use, result]), "ok"]) as stub:
        model = provider.model(stub)
        if streamed:
            first, *rest = lane.stream(model, "Weather?")
            reply = sum(rest, first).whole()
        else:
            reply = lane.call(model, "invoke", "Weather?")
        lane.call(model, "invoke", ["Weather?", reply, "Thanks"])
    assert (reply.text, reply.tool_calls, reply.invalid_tool_calls) == ("Sunny.", [], [])
    sent = stub.requests[1].body["messages"][1]["content"]
    assert sent == [use, result, {"type": "text", "text": "Sunny."}]
