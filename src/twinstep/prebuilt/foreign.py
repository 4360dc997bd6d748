"""Tools of other libraries as they are: whatever has `name`, `args_schema`, `invoke` and `ainvoke` as LangChain's have.

Nothing is imported from there. The tool keeps its callbacks and checks; only its own schema is narrowed to what the
model gives, and a `Command` it returns is handed on, which its library would turn into text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from twinstep.adapter import adapter
from twinstep.config import RunnableConfig
from twinstep.prebuilt.injection import Source, ToolRuntime, source_of
from twinstep.prebuilt.tools import ResponseFormat, as_arguments, fields_of, injected, narrowed
from twinstep.types import Command


class ForeignTool:
    """An adapter that makes another library's tool one of ours.

    Args:
        tool: the tool.
    """

    def __init__(self, tool: Any) -> None:
        self.tool = tool
        self.name: str = tool.name
        self.description: str = tool.description
        self.return_direct: bool = getattr(tool, "return_direct", False)
        self.response_format: ResponseFormat = "content"  # the tool makes its own messages
        self.is_async: bool = getattr(tool, "func", tool) is None and getattr(tool, "coroutine", None) is not None
        self.args_schema: Any = tool.args_schema if tool.args_schema is not None else tool.get_input_schema()
        self.hidden: dict[str, Source] = {}
        self._optional: set[str] = set()
        if not isinstance(self.args_schema, dict):
            self.hidden = {n: s for n, hint in fields_of(self.args_schema) if (s := source_of(hint)) is not None}
            self._optional = {n for n, f in self.args_schema.model_fields.items() if not f.is_required()}
            self.args_schema = narrowed(self.args_schema, self.hidden)

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments that the model gives."""
        if isinstance(self.args_schema, dict):
            return self.args_schema
        schema: dict[str, Any] = adapter(self.args_schema).json_schema()
        return schema

    def parse(self, args: Any) -> dict[str, Any]:
        """Return the model's arguments, checked; the tool converts them itself.

        Raises:
            pydantic.ValidationError: they do not fit.
        """
        if isinstance(self.args_schema, dict):
            return adapter(dict[str, Any]).validate_python(args)  # type: ignore[no-any-return]
        given = {k: v for k, v in args.items() if k not in self.hidden} if isinstance(args, Mapping) else args
        return {n: v for n, v in as_arguments(adapter(self.args_schema).validate_python(given)).items() if n in given}

    def inject(self, runtime: ToolRuntime[Any, Any]) -> dict[str, Any]:
        """Return the hidden arguments.

        Raises:
            ToolInjectionError: the run does not have one.
        """
        return injected(self.name, self.hidden, self._optional, runtime)

    def call(self, arguments: dict[str, Any], tool_call: Mapping[str, Any]) -> Any:
        """Run the tool; of one that is asynchronous only, return the coroutine."""
        commands: list[Any] = []
        tool = _watched(self.tool, commands)
        call = {**tool_call, "args": arguments, "type": "tool_call"}
        config = RunnableConfig()
        if not self.is_async:
            result = tool.invoke(call, config)
            return commands[0] if commands else result
        return _first(tool.ainvoke(call, config), commands)


async def _first(coroutine: Any, commands: list[Any]) -> Any:
    result = await coroutine
    return commands[0] if commands else result


def _watched(tool: Any, commands: list[Any]) -> Any:
    """Return a copy of a tool that notes a `Command` its function returns."""
    copied = tool.model_copy()

    def note(result: Any) -> Any:
        if isinstance(result, Command):
            commands.append(result)
            return ("", None) if getattr(tool, "response_format", "content") == "content_and_artifact" else ""
        return result

    run, arun = type(tool)._run, type(tool)._arun

    @functools.wraps(run)
    def noted(*args: Any, **kwargs: Any) -> Any:
        return note(run(copied, *args, **kwargs))

    @functools.wraps(arun)
    async def anoted(*args: Any, **kwargs: Any) -> Any:
        return note(await arun(copied, *args, **kwargs))

    object.__setattr__(copied, "_run", _bound(noted))
    object.__setattr__(copied, "_arun", _bound(anoted))
    return copied


def _bound(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose signature, taken from a method, has no `self`."""
    import inspect

    signature = inspect.signature(function)
    function.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return function
