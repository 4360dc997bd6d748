"""ValidationNode: the calls of a model are checked, and nothing is run."""

import pytest
from pydantic import BaseModel, field_validator

from tests.prebuilt.kit import asked, call, in_graph, refusal
from twinstep.errors import InvalidUpdateError
from twinstep.messages import HumanMessage
from twinstep.prebuilt import ValidationNode, tool

ran: list[int] = []


class Number(BaseModel):
    """Choose a number."""

    a: int

    @field_validator("a")
    @classmethod
    def not_thirteen(cls, value: int) -> int:
        if value == 13:
            raise ValueError("anything but 13")
        return value


@tool
def twice(n: int) -> int:
    """Double."""
    ran.append(n)
    return 2 * n


def plain(n: int, m: int = 0) -> int:
    """Take numbers."""
    ran.append(n)
    return n


def test_every_call_is_answered_with_its_arguments_or_with_what_is_wrong(lane):
    node = ValidationNode([Number, twice, plain])
    asks = asked(
        call("Number", {"a": "5"}, "1"),
        call("Number", {"a": 13}, "2"),
        call("twice", {"n": 1}, "3"),
        call("plain", {}, "4"),
        call("Numbr", {}, "5"),
    )
    answers = lane.invoke(in_graph(node), {"messages": [asks]})["messages"][1:]
    assert [
        (answer.tool_call_id, answer.status, answer.content) for answer in answers if answer.status == "success"
    ] == [
        ("1", "success", '{"a":5}'),
        ("3", "success", '{"n":1}'),
    ]
    bad = {answer.tool_call_id: answer.content for answer in answers if answer.additional_kwargs.get("is_error")}
    assert bad.keys() == {"2", "4", "5"}
    assert "anything but 13" in bad["2"]
    assert bad["4"].endswith("Respond after fixing all validation errors.")
    assert "Did you mean 'Number'?" in bad["5"]
    assert ran == []


def test_the_words_can_be_chosen_and_a_list_gives_a_list():
    node = ValidationNode([Number], format_error=lambda error, call, schema: f"{call['name']} {schema is Number}")
    assert [answer.content for answer in node.invoke([asked(call("Number", {}))])] == ["Number True"]


@pytest.mark.parametrize("messages", [[], [HumanMessage("x")]])
def test_the_last_message_must_be_the_models(lane, messages):
    with pytest.raises(InvalidUpdateError, match="the last message is not an AIMessage"):
        lane.invoke(ValidationNode([Number]), messages)


@pytest.mark.parametrize("schema", [int, 5, lambda x: x])
def test_what_is_no_schema_is_refused(schema):
    assert refusal(lambda: ValidationNode([schema])).startswith("GraphValidationError")
