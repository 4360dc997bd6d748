"""`create_react_agent`: a graph in which a model calls tools until it has its answer.

Example:
    >>> from twinstep.messages import AIMessage
    >>> from twinstep.models import FunctionModel
    >>> from twinstep.prebuilt import create_react_agent
    >>> def add(a: int, b: int) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> def model(messages):
    ...     if messages[-1].type == "tool":
    ...         return f"It is {messages[-1].text}."
    ...     return AIMessage(tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "1"}])
    >>> agent = create_react_agent(FunctionModel(model), [add])
    >>> agent.invoke({"messages": ["What is 1 + 2?"]})["messages"][-1].text
    'It is 3.'
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import BaseModel
from typing_extensions import TypedDict

from twinstep.arguments import expect, expect_several, expect_type
from twinstep.checkpoint.base import Journal
from twinstep.constants import END, START
from twinstep.errors import GraphValidationError
from twinstep.graph import StateGraph
from twinstep.graph.message import add_messages
from twinstep.graph.schema import hints_of
from twinstep.graph.state import CompiledStateGraph
from twinstep.managed import RemainingSteps
from twinstep.messages import BaseMessage, SystemMessage
from twinstep.models import ChatModel
from twinstep.prebuilt.agent_nodes import AgentNode, ModelSource, ResponseNode, Steps, field_of, pending_calls
from twinstep.prebuilt.tool_node import ToolNode
from twinstep.runtime import Runtime
from twinstep.types import All, Send

__all__ = [
    "AgentPlan",
    "AgentState",
    "AgentStatePydantic",
    "AgentStateWithStructuredResponse",
    "AgentStateWithStructuredResponsePydantic",
    "create_react_agent",
    "create_tool_calling_executor",
]

StateSchema = TypeVar("StateSchema")
Messages = Annotated[Sequence[BaseMessage], add_messages]
Version = Literal["v1", "v2"]


class AgentState(TypedDict):
    """The state of an agent: the conversation, and how many supersteps are left."""

    messages: Messages
    remaining_steps: NotRequired[RemainingSteps]


class AgentStatePydantic(BaseModel):
    """The state of an agent, as a pydantic model."""

    messages: Annotated[list[Any], add_messages]
    remaining_steps: RemainingSteps = 25


class AgentStateWithStructuredResponse(AgentState):
    """The state of an agent that ends with an instance of a schema."""

    structured_response: Any


class AgentStateWithStructuredResponsePydantic(AgentStatePydantic):
    """The state of an agent that ends with an instance of a schema, as a pydantic model."""

    structured_response: Any = None


Model = str | ChatModel | Callable[[Any, Runtime[Any]], ChatModel | Awaitable[ChatModel]]
Prompt = str | SystemMessage | Callable[[Any], Any]


@dataclass(kw_only=True)
class AgentPlan:
    """What an agent is made of: the options of `create_react_agent`.

    Attributes:
        model: a chat model; its name, `"openai:gpt-4o-mini"`; or a function (or coroutine function) of state and
            runtime that returns the model for this turn, with its tools bound.
        tools: functions, tools, LangChain's tools, mappings that describe the provider's own tools; or a `ToolNode`.
        prompt: a text or `SystemMessage` put before the conversation; or a function (or runnable) from the state to
            the messages that the model is given.
        response_format: a schema; at the end the model is asked for an instance, found under `structured_response`. A
            pair `(prompt, schema)` puts a prompt of its own before that.
        pre_model_hook: a node before the model. What it returns as `llm_input_messages` is given to the model instead
            of the conversation, for this turn only; what it returns as `messages` changes the conversation.
        post_model_hook: a node after the model; it may answer the model's calls itself.
        state_schema: a state with at least the keys of `AgentState` (and `structured_response`).
        context_schema: type of the run's `context`.
        version: `v1` runs all calls of a message in one `tools` node, `v2` sends each to a node of its own.
        name: of the graph, and of the model's messages.

    Raises:
        GraphValidationError: the options do not fit each other.
    """

    model: Any
    tools: Sequence[Any] | ToolNode
    prompt: Any = None
    response_format: Any = None
    pre_model_hook: Any = None
    post_model_hook: Any = None
    state_schema: Any = None
    context_schema: Any = None
    version: Version = "v2"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.version not in ("v1", "v2"):
            raise GraphValidationError(f"Invalid version {self.version!r} of an agent; it is 'v1' or 'v2'.")
        if not isinstance(self.tools, ToolNode):
            expect_several(
                "create_react_agent(tools=...)", self.tools, "a list of tools (which may be empty), or a ToolNode"
            )
        if not callable(self.prompt) and not hasattr(self.prompt, "invoke"):
            wanted = "a text, a message, a function of the state or a runnable"
            if not hasattr(self.prompt, "content"):
                expect("create_react_agent(prompt=...)", self.prompt, str, wanted)
        if not isinstance(self.response_format, tuple | Mapping):
            expect_type("create_react_agent(response_format=...)", self.response_format)
        expect("create_react_agent(name=...)", self.name, str, "a name")
        expect_type("create_react_agent(state_schema=...)", self.state_schema)
        structured = self.response_format is not None
        self.state: Any = self.state_schema or (AgentStateWithStructuredResponse if structured else AgentState)
        _check_state(self.state, structured)
        given: Sequence[Any] = [] if isinstance(self.tools, ToolNode) else self.tools
        provided = [each for each in given if isinstance(each, dict)]
        own = [each for each in given if not isinstance(each, dict)]
        self.node: ToolNode = self.tools if isinstance(self.tools, ToolNode) else ToolNode(own)
        tools = self.node.tools_by_name.values()
        self.source: ModelSource = ModelSource(self.model, [*tools, *provided])
        direct = frozenset(tool.name for tool in tools if tool.return_direct)
        self.steps: Steps = Steps(self.pre_model_hook is not None, self.post_model_hook is not None, structured, direct)

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        """Return the agent as a graph that is not compiled yet."""
        builder: StateGraph[Any, Any, Any, Any] = StateGraph(self.state, self.context_schema)
        agent = AgentNode(self.source, self.prompt, self.steps, self.name)
        builder.add_node("agent", agent, input_schema=_with_llm_input(self.state) if self.steps.pre else None)
        if self.steps.pre:
            builder.add_node("pre_model_hook", self.pre_model_hook, input_schema=self.state)
            builder.add_edge("pre_model_hook", "agent")
        if self.steps.post:
            builder.add_node("post_model_hook", self.post_model_hook, input_schema=self.state)
            builder.add_edge("agent", "post_model_hook")
        if self.steps.structured:
            builder.add_node("generate_structured_response", ResponseNode(self.source, self.response_format))
        _connect(builder, self.node if self.node.tools_by_name else None, self.steps, self.version)
        return builder


def create_react_agent(
    model: Model | Any,
    tools: Sequence[Any] | ToolNode,
    *,
    prompt: Prompt | Any | None = None,
    response_format: Any = None,
    pre_model_hook: Callable[..., Any] | Any | None = None,
    post_model_hook: Callable[..., Any] | Any | None = None,
    state_schema: type[Any] | None = None,
    context_schema: type[Any] | None = None,
    checkpointer: Journal | bool | None = None,
    store: Any = None,
    interrupt_before: All | Sequence[str] | None = None,
    interrupt_after: All | Sequence[str] | None = None,
    debug: bool = False,
    version: Version = "v2",
    name: str | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Make an agent: a graph in which a model is asked, and the tools it calls are run, until it calls none.

    The nodes are `agent` and `tools`, with `pre_model_hook`, `post_model_hook` and `generate_structured_response` where
    they are asked for. When the recursion limit leaves no steps for another round, the agent says so and ends. The
    options are those of `AgentPlan`, and of `StateGraph.compile`.

    Raises:
        GraphValidationError: the options do not fit each other.
    """
    plan = AgentPlan(
        model=model,
        tools=tools,
        prompt=prompt,
        response_format=response_format,
        pre_model_hook=pre_model_hook,
        post_model_hook=post_model_hook,
        state_schema=state_schema,
        context_schema=context_schema,
        version=version,
        name=name,
    )
    before, after = interrupt_before, interrupt_after
    return plan.graph().compile(
        checkpointer, store=store, interrupt_before=before, interrupt_after=after, debug=debug, name=name
    )


create_tool_calling_executor = create_react_agent


def _check_state(state: Any, structured: bool) -> None:
    """Refuse a state that an agent cannot work with.

    Raises:
        GraphValidationError: a key is missing.
    """
    needed = ["messages", "remaining_steps", *(["structured_response"] if structured else [])]
    missing = [key for key in needed if key not in hints_of(state)]
    if missing:
        raise GraphValidationError(
            f"Missing required key(s) {', '.join(missing)} in state_schema {state.__name__}; derive it from AgentState"
            f"{'WithStructuredResponse' if structured else ''}."
        )


def _with_llm_input(state: Any) -> Any:
    """Return a state schema with what the hook before the model prepares for it; that lasts for one superstep."""
    from pydantic import create_model

    from twinstep.channels import EphemeralValue

    channel: Any = Annotated[Any, EphemeralValue(Any)]
    if isinstance(state, type) and issubclass(state, BaseModel):
        return create_model("ModelInput", __base__=state, llm_input_messages=(channel, None))
    make: Any = TypedDict
    return make("ModelInput", {**hints_of(state), "llm_input_messages": NotRequired[channel]})


def _connect(builder: StateGraph[Any, Any, Any, Any], tools: ToolNode | None, steps: Steps, version: Version) -> None:
    """Add the node of the tools, and the edges."""
    entry = "pre_model_hook" if steps.pre else "agent"
    end = "generate_structured_response" if steps.structured else END
    builder.add_edge(START, entry)
    if tools is not None:
        builder.add_node("tools", tools, input_schema=builder.state_schema)

    def after_model(state: Any) -> Any:
        """Run the tools that are asked for, or end."""
        calls = pending_calls(state)
        if calls and tools is not None:
            return "tools" if version == "v1" else [Send("tools", [call]) for call in calls]
        answered = getattr(field_of(state, "messages")[-1], "type", "") == "tool"
        return entry if answered and steps.post else end

    def after_tools(state: Any) -> str:
        """End when a tool was called whose result is the agent's, else ask the model."""
        last = next((m for m in reversed(field_of(state, "messages")) if getattr(m, "type", "") == "ai"), None)
        return END if last is not None and any(call["name"] in steps.direct for call in last.tool_calls) else entry

    if tools is None and not steps.post:
        builder.add_edge("agent", end)
        return
    known = [*(["tools"] if tools is not None else []), *([entry] if steps.post else []), end]
    builder.add_conditional_edges("post_model_hook" if steps.post else "agent", after_model, known)
    if tools is not None and steps.direct:
        builder.add_conditional_edges("tools", after_tools, [entry, END])
    elif tools is not None:
        builder.add_edge("tools", entry)
