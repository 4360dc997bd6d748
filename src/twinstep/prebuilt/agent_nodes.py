"""The nodes of an agent: one turn of the model, and its last answer as an instance of a schema."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from twinstep.errors import GraphValidationError, InvalidUpdateError
from twinstep.messages import AIMessage, SystemMessage
from twinstep.models import as_chat_model
from twinstep.models.tools import label_of, offered_tool
from twinstep.prebuilt.calls import settled
from twinstep.prebuilt.tool_node import calls_of
from twinstep.runtime import get_runtime
from twinstep.serde import register_schema_types
from twinstep.types import RunnableConfig

NO_STEPS_LEFT = "Sorry, need more steps to process this request."


def field_of(state: Any, key: str, default: Any = None) -> Any:
    """Return one key of a state of any kind."""
    return state.get(key, default) if isinstance(state, Mapping) else getattr(state, key, default)


def with_messages(state: Any, messages: Any) -> Any:
    """Return a state with other messages."""
    if isinstance(state, Mapping):
        return {**state, "messages": messages}
    new = copy(state)
    new.messages = messages
    return new


def unanswered(messages: Sequence[Any]) -> list[Any]:
    """Return the tool calls in a conversation that no message answers."""
    answered = {message.tool_call_id for message in messages if getattr(message, "type", "") == "tool"}
    asked = [call for message in messages if getattr(message, "type", "") == "ai" for call in calls_of(message)]
    return [call for call in asked if call["id"] not in answered]


def pending_calls(state: Any) -> list[Any]:
    """Return the calls of the last model message that no message after it answers."""
    messages = field_of(state, "messages")
    last = next((n for n in reversed(range(len(messages))) if getattr(messages[n], "type", "") == "ai"), len(messages))
    return unanswered(messages[last:])


async def resolved(value: Any) -> Any:
    """Return a value, or what an awaitable comes to."""
    return await value if inspect.isawaitable(value) else value


@dataclass(frozen=True, slots=True)
class Steps:
    """Which nodes an agent has, and so how many supersteps it needs.

    Attributes:
        pre, post, structured: whether it has the hooks, and the node of the structured response.
        direct: the tools whose result ends the run.
    """

    pre: bool
    post: bool
    structured: bool
    direct: frozenset[str]

    def enough(self, remaining: int | None, message: Any) -> bool:
        """Tell whether the limit leaves the steps (this one counts) to run the tools of a message and end properly."""
        if remaining is None or not calls_of(message):
            return True
        tools = 1 + self.post + 1
        if all(call["name"] in self.direct for call in calls_of(message)):
            return remaining >= tools
        return remaining >= tools + self.pre + 1 + self.post + self.structured


class ModelSource:
    """Gives the model for a turn.

    Args:
        model: a model, its name, or a function of state and runtime that chooses one.
        tools: what a model is bound to, unless a function chooses it.

    Raises:
        GraphValidationError: the model is bound to other tools.
    """

    def __init__(self, model: Any, tools: Sequence[Any]) -> None:
        self._choose = model if callable(model) and not hasattr(model, "invoke") else None
        if self._choose is None:
            self._plain = as_chat_model(model)
            self._bound = _bound(self._plain, tools)

    def bound(self, state: Any) -> Any:
        """Return the model with its tools, or a coroutine that does."""
        return self._bound if self._choose is None else self._choose(state, get_runtime())

    def plain(self, state: Any) -> Any:
        """Return the model to ask for a structured response, or a coroutine that does."""
        return self._plain if self._choose is None else self._choose(state, get_runtime())


def _bound(model: Any, tools: Sequence[Any]) -> Any:
    """Return a model bound to tools; one that is bound already must be bound to these."""
    bound = [label_of(tool) for tool in getattr(model, "tools", None) or []]
    if not bound:
        return model.bind_tools(tools) if tools else model
    names = [label_of(offered_tool(tool)) for tool in tools]
    if set(bound) != set(names):
        raise GraphValidationError(
            f"The model is bound to the tools {', '.join(bound)}, and the agent is given {', '.join(names)}; "
            "give it an unbound model, or the same tools."
        )
    return model


class AgentNode:
    """One turn of the model.

    Args:
        source: gives the model.
        prompt: what is put before the conversation, or makes the messages for the model from the state.
        steps: how many supersteps are needed.
        name: put on the model's messages.
    """

    def __init__(self, source: ModelSource, prompt: Any, steps: Steps, name: str | None) -> None:
        self.name = "agent"
        self._source, self._steps, self._as = source, steps, name
        self._prompt = [SystemMessage(prompt)] if isinstance(prompt, str) else prompt
        if getattr(prompt, "type", None) == "system":
            self._prompt = [prompt]

    def invoke(self, state: Any, config: RunnableConfig | None = None) -> Any:
        """Ask the model and return its message as an update."""
        state = self._checked(state)
        model = settled(self._source.bound(state))
        return self._update(state, settled(model.invoke(_listed(settled(self._messages(state))))))

    async def ainvoke(self, state: Any, config: RunnableConfig | None = None) -> Any:
        """Do what `invoke` does, on the running event loop."""
        state = self._checked(state)
        model = await resolved(self._source.bound(state))
        return self._update(state, await model.ainvoke(_listed(await resolved(self._messages(state, "ainvoke")))))

    def _checked(self, state: Any) -> Any:
        """Return the state with the messages meant for the model.

        Raises:
            InvalidUpdateError: a tool call in them is not answered.
        """
        messages = field_of(state, "llm_input_messages") or field_of(state, "messages") or []
        open_calls = unanswered(messages)
        if open_calls:
            raise InvalidUpdateError(
                f"The conversation has tool calls without an answer, which model providers refuse: {open_calls[:3]}. "
                "Add a ToolMessage with the tool_call_id of each. (INVALID_CHAT_HISTORY)"
            )
        return with_messages(state, messages)

    def _messages(self, state: Any, method: str = "invoke") -> Any:
        prompt = self._prompt
        if prompt is None or isinstance(prompt, list):
            return [*(prompt or []), *field_of(state, "messages")]
        return getattr(prompt, method)(state) if hasattr(prompt, method) else prompt(state)

    def _update(self, state: Any, message: Any) -> Any:
        if not self._steps.enough(field_of(state, "remaining_steps"), message):
            message = AIMessage(NO_STEPS_LEFT, id=message.id)
        if self._as is not None:
            message.name = self._as
        return {"messages": [message]}


def _listed(messages: Any) -> Any:
    """Return messages as a list; templates of other libraries make an object that knows it."""
    return messages.to_messages() if hasattr(messages, "to_messages") else messages


class ResponseNode:
    """Asks the model for an instance of a schema, at the end.

    Args:
        source: gives the model.
        format: the schema, or a pair of a prompt and the schema.
    """

    def __init__(self, source: ModelSource, format: Any) -> None:
        self.name = "generate_structured_response"
        prompt, self._schema = format if isinstance(format, tuple) else (None, format)
        register_schema_types(self._schema)
        self._source, self._before = source, [] if prompt is None else [SystemMessage(prompt)]

    def invoke(self, state: Any, config: RunnableConfig | None = None) -> Any:
        """Ask the model and return the instance as an update."""
        model = settled(self._source.plain(state)).with_structured_output(self._schema)
        return {"structured_response": model.invoke(self._asked(state))}

    async def ainvoke(self, state: Any, config: RunnableConfig | None = None) -> Any:
        """Do what `invoke` does, on the running event loop."""
        model = (await resolved(self._source.plain(state))).with_structured_output(self._schema)
        return {"structured_response": await model.ainvoke(self._asked(state))}

    def _asked(self, state: Any) -> list[Any]:
        return [*self._before, *field_of(state, "messages")]
