"""Messages in the shapes of the providers' APIs, and back."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from twinstep.errors import InvalidMessageError
from twinstep.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
    from_anthropic,
    from_openai,
    to_anthropic,
    to_openai,
)
from twinstep.serde import Serializer
from twinstep.serde.registry import registered_shape

CALL: Any = {"name": "add", "args": {"a": 1, "b": [2]}, "id": "c1", "type": "tool_call"}
TALK = [
    SystemMessage("Be brief."),
    HumanMessage("1+2?", name="ann"),
    AIMessage("Let me see.", tool_calls=[CALL]),
    ToolMessage("3", tool_call_id="c1"),
    AIMessage("3"),
]


def without_names(messages: list[Any]) -> list[Any]:
    return [HumanMessage(m.content) if m.type == "human" else m for m in messages]


def test_a_conversation_survives_the_openai_shape() -> None:
    sent = to_openai(TALK)
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "assistant"]
    assert from_openai(sent) == convert_to_messages(sent) == TALK


def test_a_conversation_survives_the_anthropic_shape() -> None:
    sent = to_anthropic(TALK)
    assert (sent["system"], [turn["role"] for turn in sent["messages"]]) == (
        "Be brief.",
        ["user", "assistant", "user", "assistant"],
    )
    assert from_anthropic(sent) == without_names(TALK)
    assert convert_to_messages(sent["messages"]) == without_names(TALK)[1:]


def test_failed_results_and_invalid_calls_are_carried_over() -> None:
    failed = ToolMessage("boom", tool_call_id="c1", status="error")
    assert from_anthropic(to_anthropic([failed])) == [failed]
    broken: Any = {"name": "add", "args": '{"a":', "id": "c1", "error": None, "type": "invalid_tool_call"}
    (back,) = from_openai(to_openai([AIMessage("", invalid_tool_calls=[broken])]))
    assert (back.tool_calls, back.invalid_tool_calls[0]["args"]) == ([], '{"a":')


IMAGES: list[Any] = [
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAA"}},
    {"type": "image", "base64": "AAA", "mime_type": "image/png"},
]


@pytest.mark.parametrize("block", IMAGES)
def test_images_are_passed_through_in_the_shape_of_the_api(block: Any) -> None:
    message = HumanMessage([{"type": "text", "text": "See:"}, block])
    assert to_openai(message)[0]["content"][1] == IMAGES[0]
    assert to_anthropic(message)["messages"][0]["content"][1] == IMAGES[1]


@pytest.mark.parametrize("url", ["https://example.org/a.png"])
def test_addresses_of_images_stay_addresses(url: str) -> None:
    (turn,) = to_anthropic(HumanMessage([{"type": "image_url", "image_url": {"url": url}}]))["messages"]
    assert turn["content"] == [{"type": "image", "source": {"type": "url", "url": url}}]
    assert to_openai(HumanMessage([{"type": "image", "url": url}]))[0]["content"][0]["image_url"] == {"url": url}


def test_turns_of_one_side_are_joined_and_empty_texts_left_out() -> None:
    sent = to_anthropic([HumanMessage("a"), HumanMessage("b"), AIMessage("", tool_calls=[CALL])])
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant"]
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["tool_use"]


def test_what_a_mapping_says_besides_is_kept() -> None:
    (message,) = convert_to_messages({"role": "assistant", "content": None, "refusal": "no"})
    assert message == AIMessage("", additional_kwargs={"refusal": "no"})


@pytest.mark.parametrize("wire", [to_openai, to_anthropic])
def test_what_has_no_place_in_a_request_is_refused(wire: Any) -> None:
    with pytest.raises(InvalidMessageError, match="remove"):
        wire([RemoveMessage(id="1")])
    with pytest.raises(InvalidMessageError, match="Not a message"):
        wire([5])


@pytest.mark.parametrize("bad", [5, {"id": "x"}, {"choices": []}])
def test_what_is_no_answer_of_an_api_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidMessageError):
        from_openai(bad)


def test_pieces_add_up_to_a_message() -> None:
    def piece(args: str | None, name: str | None = None, id: str | None = None) -> AIMessageChunk:
        return AIMessageChunk(tool_call_chunks=[{"name": name, "args": args, "id": id, "index": 0}])

    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    parts = [
        AIMessageChunk("a", id="1"),
        AIMessageChunk("b", response_metadata={"model": "m"}),
        piece(None, "add", "c1"),
        piece('{"a":'),
        piece(" 1}"),
        AIMessageChunk(usage_metadata=usage),
        AIMessageChunk(usage_metadata=usage),
    ]
    gathered = parts[0]
    for part in parts[1:]:
        gathered = gathered + part
    assert gathered.tool_calls == [{"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]
    whole = gathered.whole()
    assert (type(whole), whole.content, whole.id, whole.response_metadata) == (AIMessage, "ab", "1", {"model": "m"})
    assert whole.usage_metadata == {"input_tokens": 2, "output_tokens": 4, "total_tokens": 6}


def reread(message: Any) -> Any:
    """Return a message as it is in a long conversation that was read: most fields encoded still."""
    shape = registered_shape(type(message))
    assert shape is not None
    assert shape.bulk is not None
    row = shape.bulk.row(message)
    assert row is not None
    (made,) = shape.bulk.make([type(message)], [row])
    assert shape.bulk.differing([made], [row]) == []
    return made


COPIES: list[Any] = [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), dataclasses.replace, reread]


@pytest.mark.parametrize("made", COPIES)
def test_a_copy_is_equal_and_has_fields_of_its_own(made: Any) -> None:
    message = AIMessage("a", id="1")
    other = made(message)
    assert (other, type(other)) == (message, AIMessage)
    other.name = "ann"
    assert (message.name, other.name) == (None, "ann")
    assert made(other) == other != message
    third = made(other)
    third.name = "bo"
    assert other.name == "ann"


def test_what_is_read_of_a_message_is_made_once_and_belongs_to_it() -> None:
    message, other = AIMessage("a"), AIMessage("a")
    message.tool_calls.append(CALL)
    assert (message.tool_calls, other.tool_calls) == ([CALL], [])
    assert message != other == AIMessage("a", tool_calls=[], additional_kwargs={})
    message.tool_calls = []
    del message.tool_calls
    assert (message, repr(message)) == (other, "AIMessage(content='a')")
    for change in (lambda: delattr(message, "tool_calls"), lambda: setattr(message, "contnet", "b")):
        with pytest.raises(AttributeError):
            change()
    assert dataclasses.asdict(message).keys() == {each.name for each in dataclasses.fields(AIMessage)}


def full() -> AIMessage:
    """Return a message that says much."""
    return AIMessage("a", id="1", name="ann", tool_calls=[CALL], usage_metadata={"input_tokens": 1})


LOOKS: list[Any] = [
    repr,
    lambda m: m == full() == m != AIMessage("a", id="1", name="ann"),
    lambda m: [getattr(m, each.name) for each in dataclasses.fields(m)],
    lambda m: (m.response_metadata, m),
    lambda m: (m.__setattr__("usage_metadata", {"input_tokens": 2}), m),
    lambda m: (m.__delattr__("name"), m),
    lambda m: (m.tool_calls.append(CALL), m),
    lambda m: (copy.copy(m).tool_calls, copy.copy(m), pickle.loads(pickle.dumps(m))),
    lambda m: (to_openai(m), to_anthropic(m), to_openai(reread(AIMessage("b", usage_metadata={"input_tokens": 1})))),
    lambda m: Serializer().dumps(m),
    lambda m: Serializer().digest(m),
]


@pytest.mark.parametrize("look", LOOKS)
def test_nobody_can_tell_whether_fields_are_encoded_still(look: Any) -> None:
    message = reread(full())
    assert look(message) == look(full())
    assert reread(message) == message


@pytest.mark.parametrize("make", [lambda: AIMessage("a"), lambda: reread(full())], ids=["made", "encoded"])
def test_threads_that_read_a_field_at_once_get_the_same(make: Any) -> None:
    for _ in range(25):
        message, barrier = make(), threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _, m=message, b=barrier: (b.wait(), m.tool_calls)[1], range(4)))
        assert {id(calls) for calls in found} == {id(message.tool_calls)}


def test_messages_show_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert repr(HumanMessage("hi", id="1")) == "HumanMessage(content='hi', id='1')"
    AIMessage("ok", name="bo", tool_calls=[CALL]).pretty_print()
    shown = capsys.readouterr().out
    assert " Ai Message " in shown
    assert "Name: bo\n\nok\nTool Calls:\n  add (c1)\n Call ID: c1\n  Args:\n    a: 1\n" in shown
