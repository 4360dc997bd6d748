"""Plain functions as models, and what all models share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Lane
from twinstep.graph import START, MessagesState, StateGraph
from twinstep.messages import AIMessage, AIMessageChunk, HumanMessage, InvalidToolCall
from twinstep.models import (
    ChatModel,
    FunctionModel,
    InvalidToolError,
    ModelFunctionError,
    StructuredOutputError,
    as_chat_model,
)


def calls(model: ChatModel, lane: Lane) -> Any:
    """Return a graph whose one node asks the model."""

    async def ask(state: MessagesState) -> Any:
        return {"messages": await model.ainvoke(state["messages"])}

    def ask_sync(state: MessagesState) -> Any:
        return {"messages": model.invoke(state["messages"])}

    node = ask if lane.is_async else ask_sync
    return StateGraph(MessagesState).add_node("ask", node).add_edge(START, "ask").compile()


def words(messages: list[Any]) -> Iterator[str]:
    yield from ("one ", "two")


async def awords(messages: list[Any]) -> AsyncIterator[str]:
    for word in words(messages):
        yield word


async def late(messages: list[Any]) -> str:
    return "one two"


@pytest.mark.parametrize(
    "answer",
    [
        lambda messages: "one two",
        lambda messages: AIMessage("one two"),
        lambda messages: [AIMessageChunk("one "), "two"],
        words,
        awords,
        late,
    ],
)
def test_every_kind_of_function_answers(answer: Any, lane: Lane) -> None:
    model = FunctionModel(answer)
    if answer in (awords, late) and not lane.is_async:
        with pytest.raises(ModelFunctionError, match="ainvoke"):
            model.invoke("hi")
        return
    reply = lane.call(model, "invoke", "hi")
    assert type(reply) is AIMessage
    assert (reply.text, bool(reply.id)) == ("one two", True)
    assert "".join(chunk.text for chunk in lane.stream(model, "hi")) == "one two"


def test_the_function_sees_messages_and_the_options_it_names() -> None:
    seen: list[Any] = []

    def answer(messages: list[Any], *, temperature: float = 1, tools: Any = None) -> str:
        seen.append((messages, temperature, [tool["name"] for tool in tools]))
        return "ok"

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    FunctionModel(answer, temperature=0, top_p=1).bind_tools([add]).invoke([("user", "hi")])
    assert seen == [([HumanMessage("hi")], 0, ["add"])]


def test_pieces_are_streamed_with_where_they_come_from_and_the_whole_is_not_repeated(lane: Lane) -> None:
    graph = calls(FunctionModel(awords if lane.is_async else words, name="two-words", tags=["draft"]), lane)
    chunks = lane.stream(graph, {"messages": "hi"}, stream_mode="messages")
    assert [chunk.content for chunk, _ in chunks] == ["one ", "two"]
    assert {type(chunk) for chunk, _ in chunks} == {AIMessageChunk}
    assert len({chunk.id for chunk, _ in chunks}) == 1
    assert (
        chunks[0][1].items()
        >= {
            "langgraph_node": "ask",
            "langgraph_step": 1,
            "ls_provider": "function",
            "ls_model_name": "two-words",
            "ls_model_type": "chat",
            "tags": ["draft"],
        }.items()
    )
    assert {"langgraph_triggers", "langgraph_path", "langgraph_checkpoint_ns", "checkpoint_ns"} <= chunks[0][1].keys()


def test_a_model_tagged_nostream_is_shown_only_as_what_the_node_returns(lane: Lane) -> None:
    graph = calls(FunctionModel(awords if lane.is_async else words, tags=["nostream"]), lane)
    chunks = lane.stream(graph, {"messages": "hi"}, stream_mode="messages")
    assert [(type(chunk), chunk.content) for chunk, _ in chunks] == [(AIMessage, "one two")]


def test_a_model_that_does_not_stream_is_shown_whole_and_once(lane: Lane) -> None:
    graph = calls(FunctionModel(awords if lane.is_async else words, streaming=False), lane)
    chunks = lane.stream(graph, {"messages": "hi"}, stream_mode="messages")
    assert [(type(chunk), chunk.content) for chunk, _ in chunks] == [(AIMessage, "one two")]


def test_every_answer_has_an_id_of_its_own(lane: Lane) -> None:
    constant = AIMessage("same")
    graph = calls(FunctionModel(lambda messages: constant), lane)
    state = lane.invoke(graph, lane.invoke(graph, {"messages": "hi"}))
    assert [message.text for message in state["messages"]] == ["hi", "same", "same"]


@dataclass
class Point:
    """A place."""

    x: int
    y: int


def wanting(args: dict[str, Any], name: str = "Point") -> FunctionModel:
    return FunctionModel(lambda messages: AIMessage("", tool_calls=[{"name": name, "args": args, "id": "1"}]))


def test_structured_output_is_an_instance_of_the_schema(lane: Lane) -> None:
    assert lane.call(wanting({"x": "1", "y": 2}).with_structured_output(Point), "invoke", "where?") == Point(1, 2)
    schema = {"title": "Point", "type": "object", "properties": {"x": {"type": "integer"}}}
    assert lane.call(wanting({"x": 1}).with_structured_output(schema), "invoke", "where?") == {"x": 1}


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (wanting({"x": 1}), "is no 'Point'"),
        (wanting({}, "Line"), "did not answer with a 'Point'"),
        (FunctionModel(lambda messages: "over there"), "over there"),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error_or_is_handed_out(model: FunctionModel, says: str) -> None:
    with pytest.raises(StructuredOutputError, match=says) as caught:
        model.with_structured_output(Point).invoke("where?")
    assert isinstance(caught.value.answer, AIMessage)
    raw = model.with_structured_output(Point, include_raw=True).invoke("where?")
    assert raw["parsed"] is None
    assert says in str(raw["parsing_error"])


@pytest.mark.parametrize("bad", [5, {"description": "no name"}, "add"])
def test_what_is_no_tool_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidToolError, match=r"[Tt]ool"):
        FunctionModel(words).bind_tools([bad])


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(ModelFunctionError, match="answered 5"):
        FunctionModel(lambda messages: 5, name="five").invoke("hi")


def test_as_chat_model_takes_models_and_functions() -> None:
    model = as_chat_model(words)
    assert isinstance(model, FunctionModel)
    assert as_chat_model(model) is model
    with pytest.raises(ValueError, match="Not a chat model: 5"):
        as_chat_model(5)


def test_cancelling_an_asynchronous_answer_leaves_nothing_behind() -> None:
    gone: list[str] = []

    async def slow(messages: list[Any]) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.sleep(60)
        finally:
            gone.append("closed")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(FunctionModel(slow).ainvoke("hi"), 0.05)

    asyncio.run(main())
    assert gone == ["closed"]


def test_arguments_that_are_no_json_are_told_apart() -> None:
    piece = AIMessageChunk("", tool_call_chunks=[{"name": "f", "args": '{"a":', "id": "1", "index": 0}])
    reply = FunctionModel(lambda messages: [piece]).invoke("hi")
    assert reply.tool_calls == []
    wrong: InvalidToolCall = reply.invalid_tool_calls[0]
    assert (wrong["name"], wrong["args"], wrong["id"]) == ("f", '{"a":', "1")
