"""Tools of LangChain, as they are."""

from typing import Annotated, Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage as TheirAIMessage
from langchain_core.messages import HumanMessage as TheirHumanMessage
from langchain_core.messages import ToolMessage as TheirToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import InjectedToolCallId as TheirToolCallId
from langchain_core.tools import tool as their_tool
from pydantic import Field

from tests.prebuilt.kit import asked, call, in_graph, shown
from twinstep import START, Command, StateGraph
from twinstep.graph import MessagesState
from twinstep.messages import ToolMessage
from twinstep.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime, create_react_agent
from twinstep.store import InMemoryStore


@their_tool
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@their_tool
async def wait(name: str) -> dict:
    """Wait for somebody."""
    return {"waited for": name}


@their_tool(response_format="content_and_artifact")
def chart(n: int) -> tuple[str, list[int]]:
    """Draw."""
    return f"{n} points", list(range(n))


@their_tool
def look(
    topic: str,
    id: Annotated[str, TheirToolCallId],
    state: Annotated[dict, InjectedState],
    store: Annotated[Any, InjectedStore()],
    runtime: ToolRuntime,
) -> str:
    """Look into the run."""
    return f"{topic} {id} {len(state['messages'])} {store is runtime.store} {runtime.tool_call_id}"


@their_tool
def transfer(id: Annotated[str, TheirToolCallId]) -> Command:
    """Hand over."""
    return Command(update={"messages": [ToolMessage("handed over", tool_call_id=id)]}, goto="other")


class Custom(BaseTool):
    name: str = "custom"
    description: str = "A tool with a class."

    def _run(self, x: int) -> str:
        return f"custom {x}"


by_schema = StructuredTool(
    name="by_schema",
    description="As servers describe them.",
    args_schema={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    func=lambda x: f"x {x}",
)
TOOLS = [add, wait, chart, look, transfer, Custom(), by_schema]


def test_the_model_sees_their_schemas_without_what_is_injected():
    tools = ToolNode(TOOLS).tools_by_name
    seen = {name: list(each.json_schema["properties"]) for name, each in tools.items()}
    assert seen == {
        "add": ["a", "b"],
        "wait": ["name"],
        "chart": ["n"],
        "look": ["topic"],
        "transfer": [],
        "custom": ["x"],
        "by_schema": ["x"],
    }
    assert tools["look"].description == "Look into the run."


def test_they_run_with_their_injected_arguments_and_commands(lane):
    def other(state: MessagesState) -> dict:
        return {"messages": ["other"]}

    builder = StateGraph(MessagesState).add_node("tools", ToolNode(TOOLS), destinations=["other"]).add_node(other)
    graph = builder.add_edge(START, "tools").compile(store=InMemoryStore())
    asks = [
        call("add", {"a": "1"}, "a"),
        call("wait", {"name": "Ada"}, "b"),
        call("chart", {"n": 2}, "c"),
        call("look", {"topic": "it", "state": "fake"}, "d"),
        call("custom", {"x": 5}, "e"),
        call("by_schema", {"x": 6}, "f"),
        call("add", {"a": "many"}, "g"),
        call("transfer", {}, "h"),
    ]
    *answers, last = lane.invoke(graph, {"messages": [asked(*asks)]})["messages"][1:]
    assert all(isinstance(answer, ToolMessage) for answer in answers)
    assert [answer.content for answer in answers[:6]] == [
        "3",
        '{"waited for": "Ada"}',
        "2 points",
        "it d 1 True d",
        "custom 5",
        "x 6",
    ]
    assert answers[2].artifact == [0, 1]
    assert (answers[6].status, answers[6].content.startswith("Error invoking tool 'add'")) == ("error", True)
    assert (answers[7].content, last.content) == ("handed over", "other")


@pytest.mark.parametrize("handle", [True, False])
def test_their_errors_are_handled_alike(lane, handle):
    @their_tool
    def fail() -> str:
        """Fail."""
        raise ConnectionError("no line")

    node = ToolNode([fail], handle_tool_errors=handle)
    if handle:
        text = "Error: ConnectionError('no line')\n Please fix your mistakes."
        assert shown(lane.invoke(node, [asked(call("fail"))])) == [("1", "error", text)]
    else:
        with pytest.raises(ConnectionError):
            lane.invoke(node, [asked(call("fail"))])


def test_a_conversation_of_their_messages_is_answered_with_their_messages(lane):
    def plus(a: int) -> int:
        """Add one."""
        return a + 1

    message = TheirAIMessage("", tool_calls=[call("plus", {"a": 1}, "1"), call("plus", {}, "2")])
    graph = in_graph(ToolNode([plus]))
    answers = lane.invoke(graph, {"messages": [TheirHumanMessage("?"), message]})["messages"][2:]
    assert all(isinstance(answer, TheirToolMessage) for answer in answers)
    assert [(answer.status, answer.tool_call_id) for answer in answers] == [("success", "1"), ("error", "2")]


class TheirModel(BaseChatModel):
    """A chat model of theirs that calls the first tool once."""

    offered: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.offered.extend(each["function"]["name"] for each in tools)
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        calls = [] if last.type == "tool" else [call("add", {"a": 1})]
        text = f"It is {last.content}" if last.type == "tool" else ""
        return ChatResult(generations=[ChatGeneration(message=TheirAIMessage(text, tool_calls=calls))])


def test_their_model_and_tools_make_an_agent(lane):
    model = TheirModel()
    agent = create_react_agent(model, [add], prompt="Count.")
    messages = lane.invoke(agent, {"messages": ["1 + 2?"]})["messages"]
    assert [message.text for message in messages] == ["1 + 2?", "", "3", "It is 3"]
    assert model.offered == ["add"]
