"""What a tool may ask of its run: parameters that the model never sees and that are filled in at the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, get_args, get_origin

from typing_extensions import TypeVar

from twinstep.errors import TwinstepError, did_you_mean
from twinstep.runtime import ExecutionInfo, ServerInfo
from twinstep.types import RunnableConfig, StreamWriter

ContextT = TypeVar("ContextT", default=Any)
StateT = TypeVar("StateT", default=Any)


class ToolInjectionError(TwinstepError, LookupError):
    """A tool asks for something that the run does not have."""


@dataclass(frozen=True, kw_only=True)
class ToolRuntime(Generic[ContextT, StateT]):
    """What a tool may know about its run: annotate a parameter with it, and it is filled in.

    Attributes:
        state: the state of the node that calls the tool.
        context: what the caller of the graph passed as `context`.
        config: the config of the run, and where in it the tool is.
        stream_writer: sends a value to the `custom` stream.
        tool_call_id: id of the model's call.
        store: the long-term memory, if the graph has one.
        emit_output_delta: sends a piece of the tool's output to the `tools` stream, while the tool works.
        tools: the tools that the model could choose from.
        execution_info: ids and attempt of the running task.
        server_info: the server, when there is one.
    """

    state: StateT = None  # type: ignore[assignment]
    context: ContextT = None  # type: ignore[assignment]
    config: RunnableConfig = field(default_factory=lambda: RunnableConfig())
    stream_writer: StreamWriter = field(default=lambda _: None)
    emit_output_delta: Callable[[Any], None] = field(default=lambda _: None)
    tool_call_id: str | None = None
    store: Any = None
    tools: list[Any] = field(default_factory=list)
    execution_info: ExecutionInfo | None = None
    server_info: ServerInfo | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let a tool's schema of another library hold one: it is passed through as it is."""
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(cls)


class InjectedToolArg:
    """Marks a parameter, `Annotated[T, InjectedToolArg]`, that the model does not see and the caller gives."""

    def take(self, runtime: ToolRuntime[Any, Any]) -> Any:
        """Return the argument.

        Raises:
            ToolInjectionError: only the caller can give it.
        """
        raise ToolInjectionError("a value that only the caller of the tool can give (InjectedToolArg)")


class InjectedState(InjectedToolArg):
    """Marks a parameter that is given the state, or one field of it: `Annotated[dict, InjectedState("user")]`.

    Args:
        field: the key of the state; None for the whole state.
    """

    def __init__(self, field: str | None = None) -> None:
        self.field = field

    def take(self, runtime: ToolRuntime[Any, Any]) -> Any:
        """Return the state or its field.

        Raises:
            ToolInjectionError: the state has no such field.
        """
        state, field = runtime.state, self.field
        if field is None:
            return state
        if isinstance(state, Mapping):
            if field in state:
                return state[field]
            raise ToolInjectionError(f"'{field}' of the state, which has {_listed(state)}" + did_you_mean(field, state))
        if hasattr(state, field):
            return getattr(state, field)
        raise ToolInjectionError(f"'{field}' of the state, which is {type(state).__name__} without it")


class InjectedStore(InjectedToolArg):
    """Marks a parameter that is given the store of the run: `Annotated[BaseStore, InjectedStore()]`."""

    def take(self, runtime: ToolRuntime[Any, Any]) -> Any:
        """Return the store.

        Raises:
            ToolInjectionError: the run has none.
        """
        if runtime.store is None:
            raise ToolInjectionError("the store, and this run has none; pass one to compile(store=...)")
        return runtime.store


class InjectedToolCallId(InjectedToolArg):
    """Marks a parameter that is given the id of the model's call: `Annotated[str, InjectedToolCallId]`."""

    def take(self, runtime: ToolRuntime[Any, Any]) -> Any:
        """Return the id.

        Raises:
            ToolInjectionError: the tool was called with arguments only.
        """
        if runtime.tool_call_id is None:
            raise ToolInjectionError("the id of the tool call, and it was called with arguments only")
        return runtime.tool_call_id


Source = Callable[[ToolRuntime[Any, Any]], Any]
"""Finds an injected argument."""


def source_of(annotation: Any) -> Source | None:
    """Return what finds the argument of a parameter with this annotation, or None when the model gives it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        typ, *metadata = get_args(annotation)
        return next((source for item in metadata if (source := _marked(item))), None) or source_of(typ)
    if annotation is ToolRuntime or origin is ToolRuntime:
        return lambda runtime: runtime
    if getattr(annotation, "__name__", "") == "RunnableConfig":
        return lambda runtime: runtime.config
    inner = [source_of(part) for part in get_args(annotation) if part is not type(None)]
    return inner[0] if len(inner) == 1 and origin is not None and type(None) in get_args(annotation) else None


def _marked(item: Any) -> Source | None:
    """Return the source that one of an annotation's metadata stands for; other libraries' markers go by their names."""
    kind = item if isinstance(item, type) else type(item)
    if issubclass(kind, InjectedToolArg):
        marker: InjectedToolArg = item() if isinstance(item, type) else item
        return marker.take
    names = {base.__name__ for base in kind.__mro__}
    if "InjectedToolCallId" in names:
        return InjectedToolCallId().take
    return InjectedToolArg().take if "InjectedToolArg" in names else None


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(map(str, names)) or "no keys"
