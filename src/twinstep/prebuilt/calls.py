"""One tool call, from the model's arguments to the message that answers it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any

from twinstep.errors import InvalidUpdateError, OutsideRunError, TwinstepError, did_you_mean
from twinstep.messages import ToolMessage
from twinstep.prebuilt.injection import ToolRuntime
from twinstep.prebuilt.outcome import content_of, is_message
from twinstep.prebuilt.tool_stream import tell, told, told_failure
from twinstep.prebuilt.tools import AnyTool, ToolInvocationError
from twinstep.pregel.portal import PORTAL, run_coroutine
from twinstep.pregel.workers import running_loop
from twinstep.scope import current_scope
from twinstep.types import Command


class AnswerError(TwinstepError):
    """An error whose words are always the answer to the model, whatever errors are handled."""


class UnknownToolError(AnswerError):
    """A model called a tool that does not exist."""


def called(tool: AnyTool | None, call: Mapping[str, Any], runtime: ToolRuntime[Any, Any]) -> Any:
    """Check and inject the arguments of a call, and call the tool.

    Raises:
        UnknownToolError: there is no such tool.
        ToolInvocationError: the arguments do not fit.
    """
    if tool is None:
        names = [each.name for each in runtime.tools]
        raise UnknownToolError(
            f"Error: {call['name']} is not a valid tool, try one of [{', '.join(names)}]."
            + did_you_mean(call["name"], names)
        )
    tell("tool-started", call, tool_name=tool.name, input=call["args"])
    if call.get("error") is not None:  # a call whose arguments the model's adapter could not read
        raise ToolInvocationError(tool.name, ValueError(call["error"]), call["args"])
    return tool.call({**parsed(tool, call["args"]), **tool.inject(runtime)}, call)


def settled(value: Any) -> Any:
    """Return a value; wait in this thread for what a coroutine comes to, which runs on a loop."""
    if not inspect.iscoroutine(value):
        return value
    scope = current_scope()
    if scope is not None:
        return run_coroutine(value, scope.run).result()
    run = partial(asyncio.run, value)
    return run() if running_loop() is None else beside_loop("a tool", run)


def beside_loop(what: str, run: Callable[[], Any]) -> Any:
    """Run synchronous code that was called where an event loop is running, as in a notebook: in a thread of its own.

    Raises:
        OutsideRunError: the loop is that of the run, which would wait for itself.
    """
    scope, loop = current_scope(), running_loop()
    if scope is not None and (loop is scope.run.root.loop or PORTAL.owns(loop)):
        raise OutsideRunError(f"{what} was invoked in asynchronous code; write `await ....ainvoke(...)` there.")
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, run).result()


def parsed(tool: AnyTool, args: Any) -> dict[str, Any]:
    """Return the arguments of a call, checked.

    Raises:
        ToolInvocationError: they do not fit.
    """
    try:
        return tool.parse(args)
    except ValueError as error:  # pydantic's validation errors are value errors
        raise ToolInvocationError(tool.name, error, args) from error


def answer(tool: AnyTool, call: Mapping[str, Any], result: Any, make: Any) -> Any:
    """Return the message that a tool's result is, or stands for.

    Raises:
        InvalidUpdateError: the tool promised a pair of content and artifact, and returned something else.
    """
    if is_message(result):
        return result if isinstance(result, make) else _converted(result, make)
    artifact = None
    if tool.response_format == "content_and_artifact":
        if not isinstance(result, tuple) or len(result) != 2:
            raise InvalidUpdateError(
                f"Tool '{tool.name}' has response_format='content_and_artifact', so it returns a pair of these; it "
                f"returned {type(result).__name__}."
            )
        result, artifact = result
    return make(content_of(result), name=tool.name, tool_call_id=call["id"], artifact=artifact)


def _converted(message: Any, make: Any) -> Any:
    """Return another library's message as one of the conversation's."""
    names = ("content", "tool_call_id", "id", "name", "artifact", "status")
    return make(**{name: getattr(message, name) for name in names})


def tool_runtime(state: Any, call_id: str | None, tools: Any = ()) -> ToolRuntime[Any, Any]:
    """Return what the running code's run offers to a tool; outside of a run, the state only."""
    scope = current_scope()
    if scope is None:
        return ToolRuntime(state=state, tool_call_id=call_id, tools=list(tools))
    runtime = scope.runtime()
    return ToolRuntime(
        state=state,
        context=runtime.context,
        config=scope.config(),
        stream_writer=runtime.stream_writer,
        emit_output_delta=lambda delta: tell("tool-output-delta", {"id": call_id}, scope, delta=delta),
        tool_call_id=call_id,
        store=runtime.store,
        tools=list(tools),
        execution_info=runtime.execution_info,
        server_info=runtime.server_info,
    )


def call_tool(tool: AnyTool, input: Any, config: Any = None) -> Any:
    """Do what `Tool.invoke` does."""
    call, found = _read(tool, input, config)
    with told_failure(call):
        result = settled(called(tool, call, found))
    return _result(tool, call, result)


async def acall_tool(tool: AnyTool, input: Any, config: Any = None) -> Any:
    """Do what `Tool.ainvoke` does."""
    call, found = _read(tool, input, config)
    with told_failure(call):
        result = await (called(tool, call, found) if tool.is_async else asyncio.to_thread(called, tool, call, found))
    return _result(tool, call, result)


def _read(tool: AnyTool, input: Any, config: Any) -> tuple[Mapping[str, Any], ToolRuntime[Any, Any]]:
    is_call = isinstance(input, Mapping) and input.get("type") == "tool_call"
    call = input if is_call else {"name": tool.name, "args": input, "id": None}
    runtime = tool_runtime(None, call["id"])
    return call, runtime if config is None else replace(runtime, config=config)


def _result(tool: AnyTool, call: Mapping[str, Any], result: Any) -> Any:
    """Return the answer to a call; of plain arguments, what the tool returned (its content, of a pair)."""
    if isinstance(result, Command):
        return told(call, result)
    if call["id"] is None:
        return result[0] if tool.response_format == "content_and_artifact" else result
    return told(call, answer(tool, call, result, ToolMessage))
