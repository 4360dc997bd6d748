"""The tool calls of a run while they happen: what the `tools` stream is told, and a view of it for run streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from twinstep.scope import Scope, current_scope
from twinstep.stream.protocol import ProtocolEvent
from twinstep.stream.stream_channel import StreamChannel
from twinstep.stream.transformers import StreamTransformer
from twinstep.types import StreamMode


def tell(event: str, call: Mapping[str, Any], scope: Scope | None = None, **about: Any) -> None:
    """Tell the `tools` stream what happens to a model's call; outside of a run, and without an id, nobody is told."""
    scope = scope or current_scope()
    if scope is not None and call["id"] is not None:
        scope.tool({"event": event, "tool_call_id": call["id"], **about})


def told(call: Mapping[str, Any], output: Any) -> Any:
    """Tell what has come of a call, and return it."""
    tell("tool-finished", call, output=output)
    return output


@contextmanager
def told_failure(call: Mapping[str, Any], *, known: bool = True) -> Iterator[None]:
    """Tell when a call of a tool fails; a tool that is not known was never called."""
    try:
        yield
    except Exception as error:
        if known:
            tell("tool-error", call, message=str(error))
        raise


class ToolCallStream:
    """One tool call while it runs.

    Attributes:
        tool_call_id, tool_name: the call, and the tool.
        input: the arguments as the model gave them.
        output_deltas: the pieces of output that the tool tells with `runtime.emit_output_delta`.
        output: when it has ended, its answer's content; or what the tool returned, when that is no message.
        error: what it failed with, in words.
        completed: whether it has ended.
    """

    tool_call_id: str
    tool_name: str
    input: Any
    output: Any
    error: str | None

    def __init__(self, tool_call_id: str, tool_name: str, input: Any) -> None:
        self.tool_call_id, self.tool_name, self.input = tool_call_id, tool_name, input
        self.output_deltas: StreamChannel[Any] = StreamChannel()
        self.output = self.error = None
        self.completed: bool = False


class ToolCallTransformer(StreamTransformer):
    """The tool calls of the scope, each as a `ToolCallStream`, as the view `tool_calls` of a run stream.

    Example:
        >>> from twinstep.graph import START, MessagesState, StateGraph
        >>> from twinstep.messages import AIMessage
        >>> from twinstep.prebuilt import ToolCallTransformer, ToolNode, ToolRuntime
        >>> def look(place: str, runtime: ToolRuntime) -> str:
        ...     "Look around."
        ...     runtime.emit_output_delta("trees")
        ...     return "a forest"
        >>> graph = StateGraph(MessagesState).add_node("tools", ToolNode([look])).add_edge(START, "tools").compile()
        >>> asked = AIMessage(tool_calls=[{"name": "look", "args": {"place": "north"}, "id": "1"}])
        >>> run = graph.stream_events({"messages": [asked]}, transformers=[ToolCallTransformer])
        >>> for call in run.tool_calls:
        ...     print(call.tool_name, call.input, list(call.output_deltas), call.output)
        look {'place': 'north'} ['trees'] a forest
    """

    required_stream_modes: ClassVar[Sequence[StreamMode]] = ("tools",)

    def init(self) -> dict[str, Any]:
        self.channel: StreamChannel[ToolCallStream] = StreamChannel()
        self._open: dict[str, ToolCallStream] = {}
        return {"tool_calls": self.channel}

    def process(self, event: ProtocolEvent) -> bool:
        if event["method"] == "tools" and tuple(event["params"]["namespace"]) == self.scope:
            self._take(event["params"]["data"])
        return True

    def _take(self, data: Mapping[str, Any]) -> None:
        id = data["tool_call_id"]
        if data["event"] == "tool-started":
            call = self._open[id] = ToolCallStream(id, data["tool_name"], data["input"])
            call.output_deltas.bind(self.channel._pump, self.channel._apump)
            self.channel.push(call)
        elif data["event"] == "tool-output-delta" and id in self._open:
            self._open[id].output_deltas.push(data["delta"])
        elif id in self._open:
            call = self._open.pop(id)
            call.output, call.error = _shown(data.get("output")), data.get("message")
            call.completed = True
            call.output_deltas.close()

    def finalize(self) -> None:
        for call in self._open.values():  # they have asked a question, or were given up
            call.output_deltas.close()

    def fail(self, err: BaseException) -> None:
        for call in self._open.values():
            call.output_deltas.fail(err)


def _shown(output: Any) -> Any:
    return output.content if getattr(output, "type", "") == "tool" else output
