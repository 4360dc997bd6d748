"""Tools: what the model sees of a function, what reaches the function, and what cannot be a tool."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict, cast

import pytest
from pydantic import BaseModel, Field

from tests.prebuilt.kit import call, refusal
from twinstep.errors import GraphValidationError
from twinstep.prebuilt import (
    InjectedState,
    InjectedStore,
    InjectedToolArg,
    InjectedToolCallId,
    Tool,
    ToolRuntime,
    tool,
)
from twinstep.prebuilt.injection import ToolInjectionError
from twinstep.prebuilt.tools import ToolInvocationError
from twinstep.types import RunnableConfig


class Place(TypedDict):
    city: str
    lat: float


class Query(BaseModel):
    text: str


@tool
def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
    """Tell the weather."""
    return f"{city} {days} {unit}"


def test_the_model_sees_a_schema_of_the_annotations():
    assert (weather.name, weather.description) == ("weather", "Tell the weather.")
    assert weather.json_schema == {
        "title": "weather",
        "type": "object",
        "properties": {
            "city": {"title": "City", "type": "string"},
            "days": {"title": "Days", "type": "integer", "default": 1},
            "unit": {"title": "Unit", "type": "string", "enum": ["C", "F"], "default": "C"},
        },
        "required": ["city"],
    }
    assert list(weather.args) == ["city", "days", "unit"]


def test_hidden_parameters_are_not_in_the_schema():
    def look(
        query: str,
        state: Annotated[dict, InjectedState],
        user: Annotated[str | None, InjectedState("user")],
        store: Annotated[Any, InjectedStore()],
        id: Annotated[str, InjectedToolCallId],
        secret: Annotated[str, InjectedToolArg],
        config: RunnableConfig,
        runtime: ToolRuntime,
        typed: ToolRuntime[dict, dict] | None = None,
    ) -> str:
        """Look."""
        return query

    assert Tool(look).json_schema["properties"].keys() == {"query"}
    assert Tool(look).json_schema["required"] == ["query"]


def test_descriptions_come_from_annotations_and_docstrings():
    @tool(parse_docstring=True)
    def move(x: int, y: Annotated[int, Field(ge=0)], z: Annotated[int, "how high"] = 0) -> None:
        """Move the arm.

        Carefully.

        Args:
            x: to the right,
                in steps.
            y (int): up.

        Returns:
            nothing
        """

    assert move.description == "Move the arm.\n\nCarefully."
    described = {name: (field.get("description"), field.get("minimum")) for name, field in move.args.items()}
    assert described == {"x": ("to the right, in steps.", None), "y": ("up.", 0), "z": ("how high", None)}


def test_arguments_are_checked_and_converted_before_the_function_sees_them():
    seen = []

    @tool("take", description="Take things.")
    def taking(place: Place, query: Query, _n: int, schema: str = "s") -> None:
        seen.append((place, query, _n, schema))

    taking.invoke({"place": {"city": "Rome", "lat": "4"}, "query": {"text": "a"}, "_n": "3", "unknown": 1})
    assert seen == [({"city": "Rome", "lat": 4.0}, Query(text="a"), 3, "s")]
    assert taking.name == "take"


@pytest.mark.parametrize("args", [{}, {"city": None}, {"city": "a", "days": "many"}, "{broken", None, [1], 5])
def test_arguments_that_do_not_fit_are_refused_in_words_for_the_model(args):
    with pytest.raises(ToolInvocationError, match="Please fix the error") as caught:
        weather.invoke(args)
    assert caught.value.tool_name == "weather"
    assert "Error invoking tool 'weather'" in caught.value.message


def test_a_schema_can_be_given():
    class Args(BaseModel):
        """Add numbers."""

        a: int = Field(description="first")
        b: int = 5
        state: Annotated[dict, InjectedState]

    added = Tool(lambda a, b, state: a + b + len(state), name="added", args_schema=Args)
    assert added.description == "Add numbers."
    assert added.args.keys() == {"a", "b"}
    assert added.parse({"a": "1"}) == {"a": 1, "b": 5}


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_is_answered_with_a_message_and_arguments_with_the_result(is_async):
    @tool(response_format="content_and_artifact")
    def measure(x: int) -> tuple[str, dict]:
        """Measure."""
        return f"{x} m", {"x": x}

    @tool
    async def double(x: int, id: Annotated[str, InjectedToolCallId]) -> str:
        """Double."""
        await asyncio.sleep(0)
        return f"{id} {2 * x}"

    def run(tool: Tool, input: Any) -> Any:
        return asyncio.run(tool.ainvoke(input)) if is_async else tool.invoke(input)

    assert run(measure, {"x": 3}) == "3 m"
    message = run(measure, call("measure", {"x": 3}, "7"))
    assert (message.content, message.artifact, message.tool_call_id, message.name) == ("3 m", {"x": 3}, "7", "measure")
    assert run(double, call("double", {"x": 3}, "8")).content == "8 6"
    with pytest.raises(ToolInjectionError, match=r"'double' asks in its parameter 'id' for the id of the tool call"):
        run(double, {"x": 3})


def test_a_tool_can_still_be_called_as_a_function():
    assert weather("Rome", days=2) == "Rome 2 C"


def starred(*args: int) -> None:
    """Take many."""


def positional(a: int, /) -> None:
    """Take one."""


def nameless_type(a: "Missing") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Take what does not exist."""


def no_json(back: Callable[[int], int]) -> None:
    """Take a function."""


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Tool(lambda x: x), "'<lambda>' cannot be the name of a tool"),
        (lambda: Tool(lambda x: x, name="f"), "Tool 'f' needs a description"),
        (lambda: Tool(starred), "Tool 'starred' has the parameter '*args: int'"),
        (lambda: Tool(positional), "Tool 'positional' has the parameter 'a: int'"),
        (lambda: Tool(nameless_type), "An annotation of tool 'nameless_type' cannot be found: name 'Missing'"),
        (lambda: Tool(cast(Any, 5)), "A tool is made of a function, got int"),
        (lambda: Tool(no_json), "The parameters of tool 'no_json' cannot be described to a model"),
        (lambda: Tool(weather.func, name="a b"), "'a b' cannot be the name of a tool"),
        (lambda: Tool(weather.func, response_format=cast(Any, "both")), "not 'both'"),
        (lambda: Tool(weather.func, args_schema=dict), "args_schema is a pydantic model class"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(make, says):
    said = refusal(make)
    assert said.startswith(GraphValidationError.__name__)
    assert says in said
