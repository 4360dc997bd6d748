"""`ValidationNode`: a node that checks the arguments of tool calls without running anything."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twinstep.adapter import adapter
from twinstep.arguments import expect_function, expect_several
from twinstep.errors import GraphValidationError, InvalidUpdateError, did_you_mean
from twinstep.prebuilt.outcome import message_class
from twinstep.prebuilt.tool_node import calls_of
from twinstep.prebuilt.tools import as_tool
from twinstep.types import RunnableConfig


def _words(error: Exception, call: Mapping[str, Any], schema: Any) -> str:
    return f"{error}\n\nRespond after fixing all validation errors."


class ValidationNode:
    """Check the tool calls of the last model message against schemas, and answer each with a message.

    The answer of a call that fits holds its arguments as JSON, of one that does not the error, and
    `additional_kwargs={"is_error": True}` and `status="error"`; the model can then be asked again.

    Args:
        schemas: pydantic model classes, functions or tools; calls name them.
        format_error: `(error, call, schema)` to the words for the model.
        name: of the node.
        tags: accepted for compatibility.

    Raises:
        GraphValidationError: something is none of these.
    """

    name: str
    tags: list[str] | None

    def __init__(
        self,
        schemas: Sequence[Any],
        *,
        format_error: Callable[[Exception, Any, Any], str] | None = None,
        name: str = "validation",
        tags: list[str] | None = None,
    ) -> None:
        self.name, self.tags = name, tags
        self._format = expect_function("ValidationNode(format_error=...)", format_error) or _words
        expect_several("ValidationNode(schemas)", schemas, "a list of models, tools or functions")
        self.schemas_by_name: dict[str, Any] = dict(map(_named, schemas))

    def invoke(self, input: Any, config: RunnableConfig | None = None) -> Any:
        """Return one message per call, in the container that the input came in.

        Raises:
            InvalidUpdateError: the last message is not a model's.
        """
        messages = input if isinstance(input, list) else input["messages"]
        if not messages or getattr(messages[-1], "type", "") != "ai":
            raise InvalidUpdateError(f"ValidationNode '{self.name}': the last message is not an AIMessage.")
        make = message_class(messages[-1])
        answers = [self._checked(call, make) for call in calls_of(messages[-1])]
        return answers if isinstance(input, list) else {"messages": answers}

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None) -> Any:
        """Do what `invoke` does, on the running event loop."""
        return self.invoke(input, config)

    def _checked(self, call: Mapping[str, Any], make: Any) -> Any:
        name, schemas = call["name"], self.schemas_by_name
        said: dict[str, Any] = {"name": name, "tool_call_id": call["id"]}
        try:
            if name not in schemas:
                raise InvalidUpdateError(
                    f"There is no schema '{name}' ({', '.join(schemas)})." + did_you_mean(name, schemas)
                )
            check = adapter(schemas[name])
            return make(check.dump_json(check.validate_python(call["args"])).decode(), **said)
        except ValueError as error:
            words = self._format(error, call, schemas.get(name))
            return make(words, status="error", additional_kwargs={"is_error": True}, **said)


def _named(schema: Any) -> tuple[str, Any]:
    if inspect.isclass(schema):
        if not hasattr(schema, "model_fields"):
            raise GraphValidationError(f"ValidationNode takes pydantic models, functions and tools, not {schema!r}.")
        return schema.__name__, schema
    tool: Any = as_tool(schema)
    return tool.name, tool.args_schema
