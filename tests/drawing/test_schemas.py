"""JSON schemas and pydantic models of input, output and context."""

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel, ValidationError

from tests.drawing.kit import idle
from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph


class Typed(TypedDict, total=False):
    x: int
    log: Annotated[list[str], operator.add]


class Given(TypedDict):
    x: int


@dataclass
class Data:
    a: int
    b: str = "q"


class Model(BaseModel):
    a: int
    b: str = "q"


@dataclass
class Tree:
    children: "list[Tree]"


class Typewritten(TypedDict):
    name: str
    parts: "list[Typewritten]"


class Held(TypedDict):
    held: "Handle"


class Handle:
    pass


INT = {"type": "integer"}
AB = {"a": {"title": "A", **INT}, "b": {"default": "q", "title": "B", "type": "string"}}
TYPED = {"x": {"title": "X", **INT}, "log": {"title": "Log", "type": "array", "items": {"type": "string"}}}


def graph(schema, **options):
    return StateGraph(schema, **options).add_node("n", idle).add_edge(START, "n").compile()


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        (Typed, {"properties": TYPED, "title": "Typed", "type": "object"}),
        (Data, {"properties": AB, "required": ["a"], "title": "LangGraphInput", "type": "object"}),
        (Model, {"properties": AB, "required": ["a"], "title": "Model", "type": "object"}),
        (int, {"title": "LangGraphInput", **INT}),
        (Annotated[list[int], operator.add], {"title": "LangGraphInput", "type": "array", "items": INT}),
        (Held, {"properties": {"held": {"title": "Handle"}}, "required": ["held"], "title": "Held", "type": "object"}),
    ],
    ids=["TypedDict", "dataclass", "pydantic", "bare", "reducer", "stranger"],
)
def test_input_schema(schema, shown):
    compiled = graph(schema)
    assert compiled.get_input_jsonschema() == shown
    titles = {"LangGraphInput": "LangGraphOutput"}
    assert compiled.get_output_jsonschema() == {**shown, "title": titles.get(shown["title"], shown["title"])}


def test_input_and_output_may_differ():
    compiled = graph(Typed, input_schema=Given, context_schema=Data)
    assert compiled.get_input_jsonschema()["title"] == "Given"
    assert compiled.get_output_jsonschema()["title"] == "Typed"
    assert compiled.get_context_jsonschema()["properties"] == AB
    assert graph(Typed).get_context_jsonschema() is None


def test_recursive_schemas():
    shown = graph(Tree).get_input_jsonschema()
    assert shown["$ref"] == "#/$defs/Tree"
    assert shown["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert "Typewritten" in str(graph(Typewritten).get_input_jsonschema())


def test_entrypoints():
    @entrypoint(context_schema=Model)
    def count(x: int, previous: Any = None) -> entrypoint.final[list[int], str]:
        return entrypoint.final(value=[x], save="")

    @entrypoint()
    def bare(x):
        return x

    assert count.get_input_jsonschema() == {"title": "LangGraphInput", "type": "integer"}
    assert count.get_output_jsonschema() == {"title": "LangGraphOutput", "type": "array", "items": INT}
    assert count.get_context_jsonschema() == Model.model_json_schema()
    assert bare.get_input_jsonschema() == {"title": "LangGraphInput"}


def test_models_validate():
    assert graph(Model).get_input_schema() is Model
    schema = graph(Given).get_input_schema()
    assert schema.__name__ == "LangGraphInput"
    assert schema.model_validate({"x": "3"}).model_dump() == {"x": 3}
    with pytest.raises(ValidationError, match="x"):
        schema.model_validate({"x": "three"})
    assert graph(Given).get_output_schema().__name__ == "LangGraphOutput"


def test_the_config_schema_is_deprecated():
    with pytest.warns(DeprecationWarning, match="get_context_jsonschema"):
        shown = graph(Typed, context_schema=Model).get_config_jsonschema()
    assert shown["title"] == "LangGraphConfig"
    assert shown["properties"]["configurable"]["title"] == "Model"
