"""Conversations as state keys: ids, formats, storage, and that adding does not look at everything."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel, ValidationError

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import CheckpointCorruptError, InvalidUpdateError
from twinstep.graph import START, MessagesState, StateGraph, add_messages
from twinstep.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from twinstep.messages.conversation import REMOVE_ALL_MESSAGES, Conversation
from twinstep.serde import Serializer, register_type
from twinstep.types import Overwrite

BLOCKS = [{"type": "text", "text": "See:"}, {"type": "image", "base64": "AAA", "mime_type": "image/png"}]


def graph_of(*nodes: Any, schema: Any = MessagesState, saver: Any = None) -> Any:
    builder = StateGraph(schema)
    builder.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    return builder.add_edge(START, "n0").compile(checkpointer=saver)


def test_a_format_shapes_what_is_added_and_keeps_ids(lane: Lane) -> None:
    class Formatted(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages(format="langchain-openai")]

    given = HumanMessage(BLOCKS, id="1")
    shaped = [BLOCKS[0], {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA"}}]
    assert add_messages([], given, format="langchain-openai") == [HumanMessage(shaped, id="1")]
    graph = graph_of(lambda state: {"messages": AIMessage([BLOCKS[0]], id="2")}, schema=Formatted)
    assert lane.invoke(graph, {"messages": given})["messages"] == [
        HumanMessage(shaped, id="1"),
        AIMessage("See:", id="2"),
    ]
    with pytest.raises(InvalidUpdateError, match="format='openai'"):
        add_messages([], given, format="openai")  # type: ignore[call-overload]


@pytest.mark.parametrize(("left", "right"), [(None, "a"), ("a", None)])
def test_one_argument_alone_is_refused(left: Any, right: Any) -> None:
    with pytest.raises(InvalidUpdateError, match="needs both"):
        add_messages(left, right)


def test_chunks_are_added_as_whole_messages() -> None:
    (added,) = add_messages([], AIMessageChunk("a", id="1"))
    assert (type(added), added.content) == (AIMessage, "a")


def test_a_message_is_not_changed_by_being_added_so_it_can_be_added_again(lane: Lane) -> None:
    again = AIMessage("again")
    graph = graph_of(lambda state: {"messages": again}, lambda state: {"messages": [again]})
    assert [m.content for m in lane.invoke(graph, {"messages": "hi"})["messages"]] == ["hi", "again", "again"]
    assert again.id is None


def test_ids_are_those_on_record_whatever_way_a_message_was_written(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any
) -> None:
    graph = graph_of(
        lambda state: {"messages": ("ai", "a")},
        lambda state: {"messages": [{"role": "user", "content": "b"}]},
        saver=saver,
    )
    chunks = lane.stream(graph, {"messages": "hi"}, thread, stream_mode=["updates", "messages"])
    updates = [next(iter(update.values()))["messages"] for mode, update in chunks if mode == "updates"]
    shown = [message.id for mode, (message, _) in ((m, c) for m, c in chunks if m == "messages")]
    kept = lane.state(graph, thread).values["messages"]
    assert [type(message) for message in kept] == [HumanMessage, AIMessage, HumanMessage]
    assert [updates[0].id, updates[1][0].id] == shown == [message.id for message in kept[1:]]


def test_a_value_that_is_no_message_is_refused_with_key_and_node(lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match="Not a message: 5") as caught:
        lane.invoke(graph_of(lambda state: {"messages": [5]}), {"messages": "hi"})
    assert any("messages" in note for note in caught.value.__notes__)


def some_write(seed: random.Random, ids: list[str]) -> Any:
    kind, new = seed.random(), str(seed.randrange(10**6))
    if kind < 0.2 and ids:
        return RemoveMessage(id=seed.choice(ids))
    if kind < 0.4 and ids:
        return [AIMessage(new, id=seed.choice(ids)), HumanMessage(new, id=new)]
    if kind < 0.45:
        return [HumanMessage("gone", id=new), RemoveMessage(id=REMOVE_ALL_MESSAGES), AIMessage("stays", id=f"s{new}")]
    return HumanMessage(new, id=new)


@pytest.mark.parametrize("number", range(20))
def test_the_channel_does_what_the_reducer_does(number: int) -> None:
    seed, channel = random.Random(number), Conversation(list, key="messages")
    expected: list[Any] = []
    for _ in range(40):
        write = some_write(seed, [message.id for message in expected])
        before = channel.value
        frozen = list(before)
        preview = channel.preview([write])
        expected = add_messages(expected, write)
        if seed.random() < 0.1:
            expected = [HumanMessage("new", id="0")]
            channel.update([Overwrite(list(expected))])
        else:
            channel.update([write])
            assert preview == expected
            assert before == frozen
        assert channel.value == expected
        if seed.random() < 0.2:
            channel = channel.copy()


class Counted(HumanMessage):
    """Counts how often somebody asks for an id."""

    asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "id":
            Counted.asked += 1
        return super().__getattribute__(name)


def test_adding_does_not_look_at_what_is_there() -> None:
    channel = Conversation(list, key="messages")
    channel.update([[Counted(str(n), id=str(n)) for n in range(100)]])
    Counted.asked = 0
    for n in range(10):
        channel.update([HumanMessage("new", id=f"new {n}")])
    assert (len(channel.value), Counted.asked) == (110, 0)


ALL = [
    HumanMessage("a", id="1", name="ann"),
    SystemMessage([{"type": "text", "text": "b"}], id="2"),
    AIMessage(
        "c",
        id="3",
        tool_calls=[{"name": "f", "args": {"x": (1,)}, "id": "c1"}],
        usage_metadata={"input_tokens": 1},
        response_metadata={"model_name": "m"},
        additional_kwargs={"k": 1},
    ),
    ToolMessage("d", tool_call_id="c1", status="error", artifact={1, 2}),
    RemoveMessage(id="3"),
    AIMessageChunk("e", tool_call_chunks=[{"name": "f", "args": "{", "id": None, "index": 0}]),
]


def test_messages_are_stored_exactly_and_small() -> None:
    serde = Serializer()
    kept = serde.loads(serde.dumps(ALL))
    assert kept == ALL
    assert [type(message) for message in kept] == [type(message) for message in ALL]
    assert len(serde.dumps(HumanMessage("x" * 100, id="i" * 36))) <= 100 + 36 + 45


@register_type
class Plain(HumanMessage):
    """A class of a program that holds more."""

    def __init__(self, content: Any, mood: str = "", **more: Any) -> None:
        super().__init__(content, **more)
        self.mood = mood


@register_type
@dataclass
class Declared(AIMessage):
    mood: str = ""


@register_type
@dataclass(slots=True)
class Slotted(AIMessage):
    mood: str = ""


@pytest.mark.parametrize("cls", [Plain, Declared, Slotted])
def test_subclasses_are_stored_with_all_they_hold(cls: Any) -> None:
    serde, message = Serializer(), cls("a", id="1", mood="good", name="ann")
    known = serde.digest(message)
    kept = serde.loads(serde.dumps(message))
    assert (kept, type(kept), kept.mood, kept.name) == (message, cls, "good", "ann")
    assert message.additional_kwargs == {}
    assert serde.digest(message) == known  # what was read makes no difference
    kept.additional_kwargs["k"] = 1
    assert kept != message


def test_stored_fields_that_messages_do_not_have_are_refused() -> None:
    serde = Serializer()
    data = serde.dumps(AIMessage("a", name="ann"))
    for other in (b"nope", b"text"):
        with pytest.raises(CheckpointCorruptError):
            serde.loads(data.replace(b"name", other))


def stored(path: Path, turns: int, thread: Any) -> int:
    """Return the size of a database that holds a conversation of so many turns."""
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = graph_of(lambda state: {"messages": [AIMessage("y" * 500)]}, saver=saver)
        for _ in range(turns):
            graph.invoke({"messages": [HumanMessage("x" * 500)]}, thread)
    return path.stat().st_size


def test_a_conversation_twice_as_long_is_stored_in_about_twice_the_space(tmp_path: Path, thread: Any) -> None:
    short, long = stored(tmp_path / "short.sqlite", 50, thread), stored(tmp_path / "long.sqlite", 100, thread)
    assert long < 2.5 * short  # storing the whole of it each time makes it four times as large


class Checked(BaseModel):
    messages: list[AnyMessage] = []
    first: HumanMessage | None = None


def test_pydantic_models_take_messages_and_what_looks_like_them() -> None:
    state = Checked(messages=["hi", ("ai", "yes"), {"role": "tool", "content": "4", "tool_call_id": "1"}], first="hey")  # type: ignore[list-item,arg-type]
    assert state.messages == [HumanMessage("hi"), AIMessage("yes"), ToolMessage("4", tool_call_id="1")]
    assert state.first == HumanMessage("hey")
    with pytest.raises(ValidationError, match="HumanMessage was expected"):
        Checked(first=AIMessage("no"))  # type: ignore[arg-type]
    assert Checked.model_json_schema()["properties"].keys() == {"messages", "first"}


def test_the_id_of_what_is_removed_may_be_given_by_itself() -> None:
    said = add_messages([HumanMessage("a", id="1"), HumanMessage("b", id="2")], [RemoveMessage("1")])
    assert [message.id for message in said] == ["2"]
    assert add_messages(said, [RemoveMessage(REMOVE_ALL_MESSAGES)]) == []
