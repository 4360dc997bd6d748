"""Conversations: `add_messages`, and the `messages` stream."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane
from twinstep import Command, interrupt
from twinstep.errors import InvalidUpdateError
from twinstep.func import entrypoint, task
from twinstep.graph import START, MessagesState, StateGraph, add_messages
from twinstep.graph.message import REMOVE_ALL_MESSAGES, push_message
from twinstep.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from twinstep.types import RetryPolicy


def talk(*nodes: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    return builder.add_edge(START, "n0").compile()


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ("hi", HumanMessage, "hi"),
        (("ai", "yes"), AIMessage, "yes"),
        ({"role": "user", "content": "hi"}, HumanMessage, "hi"),
        ({"role": "assistant", "content": "yes"}, AIMessage, "yes"),
        ({"type": "system", "content": "be kind"}, SystemMessage, "be kind"),
        ({"role": "tool", "content": "4", "tool_call_id": "c1"}, ToolMessage, "4"),
        (AIMessage([{"type": "text", "text": "a"}, "b"]), AIMessage, "ab"),
    ],
)
def test_whatever_looks_like_a_message_becomes_one_with_an_id(given: Any, kind: Any, text: str) -> None:
    (message,) = add_messages([], given)
    assert type(message) is kind
    assert message.text == text
    assert message.id


def test_a_message_with_a_known_id_takes_the_place_of_the_old_one() -> None:
    before = [HumanMessage("a", id="1"), AIMessage("b", id="2")]
    assert add_messages(before, [HumanMessage("A", id="1"), AIMessage("c", id="3")]) == [
        HumanMessage("A", id="1"),
        AIMessage("b", id="2"),
        AIMessage("c", id="3"),
    ]
    assert before[0].content == "a"


def test_messages_are_removed_by_id_or_all_at_once() -> None:
    before = [HumanMessage("a", id="1"), AIMessage("b", id="2")]
    assert add_messages(before, RemoveMessage(id="1")) == [AIMessage("b", id="2")]
    assert add_messages(before, [RemoveMessage(id=REMOVE_ALL_MESSAGES), AIMessage("n", id="9")]) == [
        AIMessage("n", id="9")
    ]
    with pytest.raises(InvalidUpdateError, match="zz"):
        add_messages(before, RemoveMessage(id="zz"))


@pytest.mark.parametrize("bad", [5, {"content": "no role"}, ("nobody", "x"), {"role": "asistant", "content": ""}])
def test_what_is_no_message_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidUpdateError, match=r"[Mm]essage"):
        add_messages([], [bad])


def test_tool_calls_of_the_openai_shape_are_understood() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    (message,) = add_messages([], {"role": "assistant", "content": None, "tool_calls": [call]})
    assert message.tool_calls == [{"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]


def test_the_stream_shows_the_messages_that_nodes_return(lane: Lane) -> None:
    graph = talk(lambda state: {"messages": AIMessage("one", id="1")}, lambda state: {"messages": [("ai", "two")]})
    chunks = lane.stream(graph, {"messages": "hi"}, stream_mode="messages")
    assert [(message.text, metadata["langgraph_node"]) for message, metadata in chunks] == [
        ("one", "n0"),
        ("two", "n1"),
    ]


def test_old_messages_that_a_node_returns_again_are_not_shown(lane: Lane) -> None:
    nodes = [
        lambda state: {"messages": [*state["messages"], AIMessage("new")]},
        lambda state: {"messages": RemoveMessage(id="1")},
    ]
    chunks = lane.stream(talk(*nodes), {"messages": HumanMessage("hi", id="1")}, stream_mode="messages")
    assert [message.text for message, _ in chunks] == ["new"]


def test_pieces_are_shown_at_once_and_the_whole_is_not_repeated(lane: Lane) -> None:
    def speak(state: Any) -> Any:
        for piece in ("he", "llo"):
            push_message(AIMessage(piece, id="7"))
        return {"messages": [AIMessage("hello", id="7"), AIMessage("more", id="8")]}

    chunks = lane.stream(talk(speak), {"messages": "hi"}, stream_mode="messages")
    assert [message.content for message, _ in chunks] == ["he", "llo", "more"]


def test_tasks_of_an_entrypoint_push_messages_too(lane: Lane) -> None:
    @task
    def say(text: str) -> str:
        push_message(("ai", text))
        return text

    @entrypoint()
    def flow(text: str) -> str:
        return say(text).result()

    assert [m.content for m, _ in lane.stream(flow, "hi", stream_mode="messages")] == ["hi"]


def test_a_pushed_message_goes_to_the_state_before_what_the_node_returns(lane: Lane) -> None:
    class State(MessagesState):
        notes: Annotated[list[Any], add_messages]

    def speak(state: Any) -> Any:
        push_message(AIMessage("first", id="1"))
        push_message(AIMessage("shown only", id="2"), state_key=None)
        push_message(AIMessage("a note", id="3"), state_key="notes")
        return {"messages": AIMessage("second", id="4")}

    graph = StateGraph(State).add_node("n", speak).add_edge(START, "n").compile()
    out = lane.invoke(graph, {"messages": "hi"})
    assert [message.text for message in out["messages"]] == ["hi", "first", "second"]
    assert [message.text for message in out["notes"]] == ["a note"]
    shown = lane.stream(graph, {"messages": "hi"}, stream_mode="messages")
    assert [message.text for message, _ in shown] == ["first", "shown only", "a note", "second"]


def test_what_a_failed_attempt_has_pushed_is_gone(lane: Lane) -> None:
    attempts: list[int] = []

    def speak(state: Any) -> None:
        attempts.append(1)
        push_message(AIMessage(f"attempt {len(attempts)}"))
        if len(attempts) == 1:
            raise OSError("once more")

    policy = RetryPolicy(initial_interval=0)
    graph = StateGraph(MessagesState).add_node("n", speak, retry_policy=policy).add_edge(START, "n").compile()
    assert [message.text for message in lane.invoke(graph, {"messages": []})["messages"]] == ["attempt 2"]


def test_what_a_task_pushes_stays_in_the_state_when_its_result_is_on_record(lane: Lane, saver: Any) -> None:
    ran: list[str] = []

    @task
    def inner() -> None:
        ran.append("inner")
        push_message(AIMessage("from a task in a task"))

    @task
    def say(text: str) -> str:
        ran.append(text)
        push_message(AIMessage(text))
        return str(inner().result())

    def speak(state: Any) -> Any:
        say("before").result()
        return {"messages": AIMessage(interrupt("and?"))}

    graph = StateGraph(MessagesState).add_node("n", speak).add_edge(START, "n").compile(checkpointer=saver)
    thread = {"configurable": {"thread_id": "1"}}
    lane.invoke(graph, {"messages": "hi"}, thread)
    out = lane.invoke(graph, Command(resume="after"), thread)
    assert [message.text for message in out["messages"]] == ["hi", "before", "from a task in a task", "after"]
    assert ran == ["before", "inner"]


@pytest.mark.parametrize("key", ["mesages", "plain"])
def test_a_message_is_pushed_to_keys_that_collect_only(key: str, lane: Lane) -> None:
    class State(MessagesState):
        plain: list[Any]

    def speak(state: Any) -> None:
        push_message(AIMessage("a"), state_key=key)

    graph = StateGraph(State).add_node("n", speak).add_edge(START, "n").compile()
    with pytest.raises(InvalidUpdateError, match=rf"'n' cannot push to '{key}'.*has a reducer"):
        lane.invoke(graph, {"messages": []})


def test_messages_added_in_an_entrypoint_are_the_same_when_it_is_resumed(lane: Lane, saver: Any) -> None:
    asked: list[list[Any]] = []

    @task
    def model(messages: list[Any]) -> AIMessage:
        asked.append(messages)
        return AIMessage(f"answer {len(messages)}")

    @entrypoint(checkpointer=saver)
    def chat(text: str) -> list[Any]:
        messages = add_messages([], [("user", text), ("user", text)])
        messages = add_messages(messages, model(messages).result())
        reply: str = interrupt(messages[-1].text)
        messages = add_messages(messages, reply)
        return add_messages(messages, model(messages).result())

    thread = {"configurable": {"thread_id": "1"}}
    lane.invoke(chat, "hi", thread)
    messages = lane.invoke(chat, Command(resume="and?"), thread)
    assert [message.text for message in messages] == ["hi", "hi", "answer 2", "and?", "answer 4"]
    assert [len(each) for each in asked] == [2, 4], "nothing was asked twice"
    assert len({message.id for message in messages}) == 5


def test_a_wrapped_reducer_in_a_nested_graph_that_is_resumed_loses_nothing(lane: Lane, saver: Any) -> None:
    def adding(left: list[Any], right: Any) -> list[Any]:
        return list(add_messages(left, right))

    class State(TypedDict):
        talk: Annotated[list[Any], adding]

    def ask(state: State) -> dict[str, Any]:
        return {"talk": ["ok"] if interrupt("go on?") else []}

    inner = StateGraph(State).add_sequence([("first", lambda state: {"talk": ["ok"]}), ("ask", ask)])
    graph = inner.add_edge(START, "first").compile()
    outer = talk(lambda state: {"messages": graph.invoke({"talk": ["ok"]})["talk"]})
    outer = outer.builder.compile(checkpointer=saver)
    thread = {"configurable": {"thread_id": "1"}}
    lane.invoke(outer, {"messages": []}, thread)
    assert len(lane.invoke(outer, Command(resume=True), thread)["messages"]) == 3
