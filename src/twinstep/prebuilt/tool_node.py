"""`ToolNode`: a node that runs the tools a model has asked for and answers each of its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypedDict

from twinstep.arguments import expect, expect_function, expect_several
from twinstep.constants import END
from twinstep.errors import GraphValidationError, InvalidUpdateError
from twinstep.func import entrypoint
from twinstep.prebuilt.calls import AnswerError, answer, beside_loop, called, settled, tool_runtime
from twinstep.prebuilt.injection import (
    InjectedState,
    InjectedStore,
    InjectedToolArg,
    InjectedToolCallId,
    ToolInjectionError,
    ToolRuntime,
)
from twinstep.prebuilt.outcome import (
    ErrorPolicy,
    HandleErrors,
    check_command,
    content_of,
    default_handler,
    joined,
    message_class,
)
from twinstep.prebuilt.tool_stream import told, told_failure
from twinstep.prebuilt.tools import AnyTool, Tool, ToolInvocationError, as_tool, tool
from twinstep.pregel.action import Action
from twinstep.pregel.futures import call as start_task
from twinstep.pregel.task import NodeTask
from twinstep.pregel.workers import code_loop, running_loop
from twinstep.scope import current_scope
from twinstep.types import Command, RunnableConfig, TaskFuture

__all__ = [
    "InjectedState",
    "InjectedStore",
    "InjectedToolArg",
    "InjectedToolCallId",
    "Tool",
    "ToolCallRequest",
    "ToolCallWithContext",
    "ToolInjectionError",
    "ToolInvocationError",
    "ToolNode",
    "ToolRuntime",
    "msg_content_output",
    "tool",
    "tools_condition",
]

msg_content_output = content_of
ToolCallWithContext = TypedDict(
    "ToolCallWithContext",
    {"__type": Literal["tool_call_with_context"], "tool_call": dict[str, Any], "state": Any},
)
"""One tool call with the state its tool may ask for: what `Send` carries to a tool node."""


@dataclass(frozen=True, slots=True)
class ToolCallRequest:
    """A tool call on its way, as `wrap_tool_call` sees it.

    Attributes:
        tool_call: name, args and id, as the model gave them.
        tool: the tool; None when there is none of this name.
        state: the state of the node.
        runtime: what the run offers.
    """

    tool_call: Any
    tool: AnyTool | None
    state: Any
    runtime: ToolRuntime[Any, Any]

    def override(self, **changes: Any) -> ToolCallRequest:
        """Return a copy with some attributes replaced."""
        return replace(self, **changes)


Wrapper = Callable[[ToolCallRequest, Callable[[ToolCallRequest], Any]], Any]
AsyncWrapper = Callable[[ToolCallRequest, Callable[[ToolCallRequest], Awaitable[Any]]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """The calls of one input.

    Attributes:
        state: what tools may ask for.
        bare: whether the input was a list of messages, so that the output is one too.
        like: a message of the library whose messages are wanted.
    """

    calls: Sequence[Any]
    state: Any
    bare: bool
    like: Any


class ToolNode:
    """A node that runs the tools which the last model message asks for, at the same time, and answers each call.

    Each call runs as a task of its own: with a checkpointer, a finished tool is not run again when another one of the
    same message asks a question or fails. Used outside of a run, it makes one for itself.

    Input is a state with messages, a list of messages, or a list of tool calls. Output is the same container with one
    `ToolMessage` per call, in the order of the calls; what tools return as `Command` is passed on. A call of an unknown
    tool, or with arguments that do not fit (or are no JSON), is answered with a message that says so.

    Args:
        tools: functions, `Tool` objects, or tools of LangChain as they are.
        name: of the node.
        tags: accepted for compatibility.
        handle_tool_errors: which errors become messages (see `ErrorPolicy`); by default only calls that do not fit,
            and what a tool raises fails the node.
        messages_key: where the state has its messages.
        wrap_tool_call: `(request, handler) -> ToolMessage | Command`, called in place of running a tool.
        awrap_tool_call: the same for asynchronous runs; without it `wrap_tool_call` is used there too.

    Raises:
        GraphValidationError: a tool cannot be used, or two have one name.

    Example:
        >>> from twinstep.messages import AIMessage
        >>> from twinstep.prebuilt import ToolNode
        >>> def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> asked = AIMessage(tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "1"}])
        >>> ToolNode([add]).invoke({"messages": [asked]})["messages"][0].content
        '3'
    """

    name: str
    tags: list[str] | None
    messages_key: str

    def __init__(
        self,
        tools: Sequence[Any],
        *,
        name: str = "tools",
        tags: list[str] | None = None,
        handle_tool_errors: HandleErrors = default_handler,
        messages_key: str = "messages",
        wrap_tool_call: Wrapper | None = None,
        awrap_tool_call: AsyncWrapper | None = None,
    ) -> None:
        self.name = expect("ToolNode(name=...)", name, str, "a name", optional=False)
        self.messages_key = expect("ToolNode(messages_key=...)", messages_key, str, "a state key", optional=False)
        self.tags = tags
        for option, wrapper in (("wrap_tool_call", wrap_tool_call), ("awrap_tool_call", awrap_tool_call)):
            expect_function(f"ToolNode({option}=...)", wrapper)
        self.errors: ErrorPolicy = ErrorPolicy(handle_tool_errors)
        self._wrap, self._awrap = wrap_tool_call, awrap_tool_call
        self._tools: dict[str, AnyTool] = {}
        for found in map(as_tool, expect_several("ToolNode(tools)", tools, "a list of tools")):
            if found.name in self._tools:
                raise GraphValidationError(f"Two tools have the name '{found.name}'; rename one, tool(name='...').")
            self._tools[found.name] = found

    @property
    def tools_by_name(self) -> dict[str, AnyTool]:
        """The tools."""
        return self._tools

    def invoke(self, input: Any, config: RunnableConfig | None = None, *, store: Any = None) -> Any:
        """Run the tools that the input asks for; `store` is for use outside of a run.

        Raises:
            OutsideRunError: it is called in a coroutine of an asynchronous run.
            InvalidUpdateError: the input has no model message, or a command does not answer its call.
            Exception: what a tool raised, when it is not to be handled.
        """
        scope = current_scope()
        if (running_loop() if scope is None else code_loop(scope.run)) is not None:
            return beside_loop(f"ToolNode '{self.name}'", partial(self.invoke, input, config, store=store))
        if scope is None:
            alone: Any = entrypoint(store=store)(self._alone)
            return alone.invoke((input,), config)
        batch = self._read(input)
        futures = [self._start(n, call, batch, self._wrap, self._awrap) for n, call in enumerate(batch.calls)]
        return self._output(batch, [future.result() for future in futures])

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, *, store: Any = None) -> Any:
        """Do what `invoke` does, on the running event loop."""
        if current_scope() is None:
            alone: Any = entrypoint(store=store)(self._aalone)
            return await alone.ainvoke((input,), config)
        batch = self._read(input)
        wrap = None if self._awrap else self._wrap
        futures = [self._start(n, call, batch, wrap, self._awrap) for n, call in enumerate(batch.calls)]
        return self._output(batch, [await future for future in futures])

    def _alone(self, input: tuple[Any]) -> Any:
        return self.invoke(input[0])

    async def _aalone(self, input: tuple[Any]) -> Any:
        return await self.ainvoke(input[0])

    # ------------------------------------------------------------------ input

    def _read(self, input: Any) -> _Batch:
        """Find the calls in an input."""
        if isinstance(input, Mapping) and input.get("__type") == "tool_call_with_context":
            return _Batch([input["tool_call"]], input["state"], False, _last(self._messages(input["state"])))
        if isinstance(input, list) and input and isinstance(input[-1], Mapping) and "args" in input[-1]:
            state = _node_state()
            return _Batch(input, state, False, _last(self._messages(state)))
        bare = isinstance(input, list)
        messages = self._messages(input)
        asked = next((m for m in reversed(messages) if getattr(m, "type", "") == "ai"), None)
        if asked is None:
            raise InvalidUpdateError(
                f"ToolNode '{self.name}': no AIMessage found in '{self.messages_key}' of its input "
                f"({type(input).__name__}); it runs what the last one asks for."
            )
        return _Batch(calls_of(asked), {self.messages_key: input} if bare else input, bare, asked)

    def _messages(self, input: Any) -> Sequence[Any]:
        if isinstance(input, list):
            return input
        key = self.messages_key
        found = input.get(key) if isinstance(input, Mapping) else getattr(input, key, None)
        return found if isinstance(found, list) else []

    # ------------------------------------------------------------------ one call

    def _start(
        self, n: int, call: Any, batch: _Batch, wrap: Wrapper | None, awrap: AsyncWrapper | None
    ) -> TaskFuture[Any]:
        """Start one call as a task; it has the colour of its wrapper, or of the tool."""
        found = self._tools.get(call["name"])
        if wrap is None and (awrap is not None or (found is not None and found.is_async)):
            run = Action(partial(self._acall, batch, awrap))
        else:
            run = Action(partial(self._call, batch, wrap))
        return start_task(run, self.name, (call,), {}, key=f"{n}:{call['name']}:{call['id']}", hidden=True)

    def _call(self, batch: _Batch, wrap: Wrapper | None, call: Any) -> Any:
        request = self._request(batch, call)
        if wrap is None:
            return self._run(batch, request)
        try:
            return wrap(request, partial(self._run, batch))
        except Exception as error:
            return self._failed(batch, request, error)

    async def _acall(self, batch: _Batch, wrap: AsyncWrapper | None, call: Any) -> Any:
        request = self._request(batch, call)
        if wrap is None:
            return await self._arun(batch, request)
        try:
            return await wrap(request, partial(self._arun, batch))
        except Exception as error:
            return self._failed(batch, request, error)

    def _request(self, batch: _Batch, call: Any) -> ToolCallRequest:
        tool = self._tools.get(call["name"])
        return ToolCallRequest(call, tool, batch.state, tool_runtime(batch.state, call["id"], self._tools.values()))

    def _run(self, batch: _Batch, request: ToolCallRequest) -> Any:
        """Run a tool from synchronous code; a coroutine runs on a loop, while this thread waits."""
        try:
            with told_failure(request.tool_call, known=request.tool is not None):
                result = settled(called(request.tool, request.tool_call, request.runtime))
        except Exception as error:
            return self._failed(batch, request, error)
        return self._answer(batch, request, result)

    async def _arun(self, batch: _Batch, request: ToolCallRequest) -> Any:
        """Run a tool from a coroutine; a plain function runs in a thread."""
        tool = request.tool
        try:
            with told_failure(request.tool_call, known=tool is not None):
                if tool is not None and not tool.is_async:
                    result = await asyncio.to_thread(called, tool, request.tool_call, request.runtime)
                else:
                    result = await called(tool, request.tool_call, request.runtime)
        except Exception as error:
            return self._failed(batch, request, error)
        return self._answer(batch, request, result)

    def _answer(self, batch: _Batch, request: ToolCallRequest, result: Any) -> Any:
        """Return what a tool returned as the answer to its call."""
        call, tool = request.tool_call, request.tool
        if isinstance(result, Command):
            return told(call, check_command(result, call, self.messages_key, batch.bare))
        assert tool is not None
        return told(call, answer(tool, call, result, message_class(batch.like)))

    def _failed(self, batch: _Batch, request: ToolCallRequest, error: Exception) -> Any:
        """Return the answer that tells the model of an error, or raise it."""
        call = request.tool_call
        words = str(error) if isinstance(error, AnswerError) else self.errors.words(error)
        make = message_class(batch.like)
        return make(words, name=call["name"], tool_call_id=call["id"], status="error")

    # ------------------------------------------------------------------ output

    def _output(self, batch: _Batch, results: Sequence[Any]) -> Any:
        if not any(isinstance(result, Command) for result in results):
            return list(results) if batch.bare else {self.messages_key: list(results)}
        return joined(
            [r if isinstance(r, Command) else [r] if batch.bare else {self.messages_key: [r]} for r in results]
        )


def _node_state() -> Any:
    """Return the state as the node whose code is running reads it; a `Send` brings tool calls without one."""
    task = current_scope()
    if not isinstance(task, NodeTask) or task.run.spec.functional:
        return None
    return task.node.read(task.run.with_managed(task.node, task.run.state.view))


def _last(messages: Sequence[Any]) -> Any:
    return messages[-1] if messages else None


def calls_of(message: Any) -> list[Any]:
    """Return the tool calls of a model's message, also those whose arguments are no JSON: they want an answer too."""
    broken = getattr(message, "invalid_tool_calls", None) or []
    return [*(message.tool_calls or []), *({**call, "type": "tool_call"} for call in broken)]


def tools_condition(state: Any, messages_key: str = "messages") -> Literal["tools", "__end__"]:
    """Choose `"tools"` when the last message asks for tools, else `END`: a path function after the model's node.

    Args:
        state: a list of messages, or a mapping or object that has them under `messages_key`.

    Raises:
        InvalidUpdateError: there are no messages.
    """
    found = state.get(messages_key) if isinstance(state, Mapping) else getattr(state, messages_key, state)
    if not isinstance(found, list) or not found:
        raise InvalidUpdateError(f"tools_condition: no messages found in {state!r}.")
    last = found[-1]
    return "tools" if getattr(last, "type", "") == "ai" and calls_of(last) else END
