"""Schemas as pydantic models and as JSON schemas (https://json-schema.org, draft 2020-12)."""

from __future__ import annotations

import inspect
from typing import Any, is_typeddict

from pydantic import BaseModel, ConfigDict, RootModel, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from twinstep.adapter import portable


class _Root(RootModel[Any]):
    """A model of one value of any type, of classes that pydantic does not know too."""

    model_config = {"arbitrary_types_allowed": True}


class _Lenient(GenerateJsonSchema):
    """Describes what JSON has no schema for as anything, under the name of its class."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        cls = schema.get("cls")
        return {"title": cls.__name__} if cls is not None else {}


def model_of(type: Any, title: str) -> type[BaseModel]:
    """Return a pydantic model of a type: itself if it is one, else a root model around it."""
    if inspect.isclass(type) and issubclass(type, BaseModel):
        return type
    return create_model(title, __base__=_Root, root=(portable(type), ...))


def config_model(context: Any, title: str) -> type[BaseModel]:
    """Return a pydantic model of configs: with a context schema, one optional field `configurable` of its type."""
    fields: Any = {} if context is None else {"configurable": (portable(context) | None, None)}
    return create_model(title, __config__=ConfigDict(arbitrary_types_allowed=True), **fields)


def json_schema(type: Any, title: str) -> dict[str, Any]:
    """Return the JSON schema of a type; `title` is for one that has no name in it."""
    model = model_of(type, title)
    schema = _inlined(model.model_json_schema(schema_generator=_Lenient))
    if model is type:
        return schema
    schema.pop("description", None)  # of the class around it
    return {**schema, "title": type.__name__ if is_typeddict(type) else title}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that only refers to a definition as that definition, unless it is recursive."""
    ref = schema.get("$ref")
    if ref is None:
        return schema
    definitions = dict(schema["$defs"])
    found = definitions.pop(ref.rpartition("/")[2])
    if f"'{ref}'" in repr((found, definitions)):
        return schema
    return {**found, **({"$defs": definitions} if definitions else {})}
