"""Answers that are instances of a class: the model fills in the arguments of a tool that stands for it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from twinstep.adapter import adapter
from twinstep.errors import TwinstepError
from twinstep.messages import AIMessage
from twinstep.models.protocol import ChatModel, Conversation
from twinstep.models.tools import tool_schema

Out = TypeVar("Out")


class StructuredOutputError(TwinstepError, ValueError):
    """A model's answer is no instance of the schema it was asked for.

    Attributes:
        answer: what the model said.
    """

    def __init__(self, text: str, answer: AIMessage) -> None:
        super().__init__(text)
        self.answer = answer


class StructuredModel(Generic[Out]):
    """A model that answers with instances of a schema.

    Args:
        model: the model to ask; it must be able to call tools.
        schema: a class with annotations, or a mapping that is a JSON schema with a `title` (the answer is then a dict).
        include_raw: answer with `{"raw": message, "parsed": instance or None, "parsing_error": error or None}` instead.
    """

    name: str
    schema: Any
    include_raw: bool

    def __init__(self, model: ChatModel, schema: Any, *, include_raw: bool = False) -> None:
        if isinstance(schema, dict) and "title" in schema and "name" not in schema:
            tool = tool_schema({**schema, "name": schema["title"], "parameters": schema})
        else:
            tool = tool_schema(schema)
        self.name, self.schema, self.include_raw = tool["name"], schema, include_raw
        self._model = model.bind_tools([tool], tool_choice=tool["name"])

    def invoke(self, messages: Conversation, config: Any = None, **options: Any) -> Out:
        """Ask the model and return the instance.

        Raises:
            StructuredOutputError: its answer is none.
        """
        return self._result(self._model.invoke(messages, config, **options))

    async def ainvoke(self, messages: Conversation, config: Any = None, **options: Any) -> Out:
        """Do what `invoke` does, on the running event loop."""
        return self._result(await self._model.ainvoke(messages, config, **options))

    def _result(self, answer: AIMessage) -> Out:
        if not self.include_raw:
            return self.parse(answer)
        found: Any = {"raw": answer, "parsed": None, "parsing_error": None}
        try:
            found["parsed"] = self.parse(answer)
        except StructuredOutputError as error:
            found["parsing_error"] = error
        return found  # type: ignore[no-any-return]  # what Out is then

    def parse(self, answer: AIMessage) -> Out:
        """Return the instance that an answer holds.

        Raises:
            StructuredOutputError: it holds none.
        """
        for call in answer.tool_calls:
            if call["name"] == self.name:
                return self._validated(call["args"], answer)
        wrong = f"its arguments are {answer.invalid_tool_calls!r}" if answer.invalid_tool_calls else "it has none"
        raise StructuredOutputError(
            f"The model did not answer with a '{self.name}': a call of that tool was expected, {wrong}; its text is "
            f"{answer.text!r}.",
            answer,
        )

    def _validated(self, args: dict[str, Any], answer: AIMessage) -> Out:
        try:
            found: Any = adapter(self.schema).validate_python(args) if isinstance(self.schema, type) else args
        except ValueError as error:
            raise StructuredOutputError(f"The model's answer is no '{self.name}': {error}", answer) from error
        return found  # type: ignore[no-any-return]  # an instance of the schema
