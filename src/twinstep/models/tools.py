"""Tools and schemas as models are told of them: a name, a description, and a JSON schema of the arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict

from twinstep.adapter import adapter
from twinstep.errors import TwinstepError


class ToolSchema(TypedDict):
    """A tool as a model is told of it; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


OfferedTool: TypeAlias = ToolSchema | Mapping[str, Any]
"""A tool of the program, or one of the provider's own in the shape of its API."""
_OWN_KINDS = ("function", "object")
"""Values of `type` in mappings that describe tools of the program, or a JSON schema."""


class InvalidToolError(TwinstepError, TypeError):
    """A value cannot be offered to a model as a tool."""


def offered_tool(tool: Any) -> OfferedTool:
    """Return a tool as a request offers it: one of the provider's own as it is, any other as `tool_schema` describes.

    Raises:
        InvalidToolError: it cannot be a tool.
    """
    return dict(tool) if is_provided(tool) else tool_schema(tool)


def is_provided(tool: Any) -> bool:
    """Tell whether this is a tool that the provider runs itself, such as `{"type": "web_search"}`."""
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type")
    return isinstance(kind, str) and kind not in _OWN_KINDS and not tool.keys() & {"parameters", "input_schema"}


def label_of(tool: OfferedTool) -> str:
    """Return the name of an offered tool; tools of providers may have none but their kind."""
    return str(tool.get("name") or tool.get("type"))


def tool_schema(tool: Any) -> ToolSchema:
    """Return what a model is told of a tool.

    Args:
        tool: a tool object with `name`, `description` and its schema (`json_schema`, or `tool_call_schema` as LangChain
            has it); a typed function; a class with annotations (pydantic model, dataclass, TypedDict); or a mapping in
            the shape of the OpenAI or Anthropic API.

    Raises:
        InvalidToolError: it is none of these.
    """
    if isinstance(tool, Mapping):
        return _of_mapping(tool)
    if isinstance(tool, type):
        return _named(tool.__name__, inspect.getdoc(tool), adapter(tool).json_schema())
    if isinstance(getattr(tool, "name", None), str):
        for attribute in ("json_schema", "tool_call_schema", "args_schema"):
            schema = getattr(tool, attribute, None)
            if schema is not None:
                return _named(tool.name, getattr(tool, "description", ""), _as_json_schema(schema))
    if inspect.isroutine(tool):
        return _of_function(tool)
    raise InvalidToolError(
        f"Not a tool: {tool!r}. Give a typed function, a tool object, a class with annotations, or a mapping with "
        "name, description and parameters."
    )


def _named(name: str, description: str | None, parameters: dict[str, Any]) -> ToolSchema:
    rest = {key: value for key, value in parameters.items() if key not in ("title", "description")}
    return {"name": name, "description": description or "", "parameters": {"type": "object", "properties": {}, **rest}}


def _of_mapping(tool: Mapping[str, Any]) -> ToolSchema:
    inner = tool.get("function", tool)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise InvalidToolError(f"A tool given as a mapping needs a name, a description and parameters: {tool!r}.")
    parameters = inner.get("parameters") or inner.get("input_schema") or {}
    return _named(inner["name"], inner.get("description"), dict(parameters))


def _as_json_schema(schema: Any) -> dict[str, Any]:
    if isinstance(schema, Mapping):
        return dict(schema)
    found: dict[str, Any] = adapter(schema).json_schema()
    return found


def _of_function(function: Any) -> ToolSchema:
    try:
        parameters = adapter(function).json_schema()
    except Exception as error:
        raise InvalidToolError(f"The parameters of '{function.__name__}' have no JSON schema: {error}") from error
    return _named(function.__name__, inspect.getdoc(function), parameters)
