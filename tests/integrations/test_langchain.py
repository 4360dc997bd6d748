"""LangChain objects in programs of twinstep, used as their users use them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, TypedDict

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.func import entrypoint, task
from twinstep.graph import START, MessagesState, StateGraph, add_messages
from twinstep.messages import AIMessage, ToolMessage, to_openai
from twinstep.models import LangChainModel, as_chat_model
from twinstep.serde import Serializer
from twinstep.types import RunnableConfig

pytest.importorskip("langchain_core")

from langchain_core import messages as theirs
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import ensure_config

from twinstep.integrations.langchain import as_runnable


class Scripted(BaseChatModel):
    """A real chat model of LangChain: everything but the answer is theirs."""

    answer: Any = "one two"
    model_name: str = "scripted"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        answer = self.answer if isinstance(self.answer, theirs.AIMessage) else theirs.AIMessage(self.answer)
        return ChatResult(generations=[ChatGeneration(message=answer.model_copy())])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools, **kwargs)


class Streaming(Scripted):
    """The same, in pieces."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for word in ("one ", "two"):
            yield ChatGenerationChunk(message=theirs.AIMessageChunk(content=word))

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for word in ("one ", "two"):
            yield ChatGenerationChunk(message=theirs.AIMessageChunk(content=word))


class Log(BaseCallbackHandler):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **more: Any) -> None:
        self.heard.append(f"chain {more.get('name')}")

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
        self.heard.append("start")

    def on_llm_end(self, response: Any, **more: Any) -> None:
        self.heard.append("end")


def asking(model: Any, lane: Lane, *, pass_config: bool = False) -> Any:
    """Return a node that asks a model, with or without the config it got."""

    async def ask(state: MessagesState, config: RunnableConfig) -> Any:
        given = (config,) if pass_config else ()
        return {"messages": [await model.ainvoke(state["messages"], *given)]}

    def ask_sync(state: MessagesState, config: RunnableConfig) -> Any:
        given = (config,) if pass_config else ()
        return {"messages": [model.invoke(state["messages"], *given)]}

    return ask if lane.is_async else ask_sync


class Talk(TypedDict):
    messages: Annotated[list[theirs.AnyMessage], add_messages]


def graph_of(node: Any, saver: BaseCheckpointSaver | None = None) -> Any:
    return StateGraph(Talk).add_node("ask", node).add_edge(START, "ask").compile(checkpointer=saver)


HI = {"messages": theirs.HumanMessage("Hi")}


@pytest.mark.parametrize("pass_config", [False, True])
def test_pieces_of_their_models_are_streamed_and_the_whole_is_not_repeated(lane: Lane, pass_config: bool) -> None:
    graph = graph_of(asking(Streaming(tags=["mine"]), lane, pass_config=pass_config))
    chunks = lane.stream(graph, HI, {"tags": ["run"], "metadata": {"user": 1}}, stream_mode=["messages", "values"])
    pieces = [chunk for mode, chunk in chunks if mode == "messages"]
    assert [piece.content for piece, _ in pieces if piece.content] == ["one ", "two"]
    assert {type(piece) for piece, _ in pieces} == {theirs.AIMessageChunk}
    assert {piece.id for piece, _ in pieces} == {chunks[-1][1]["messages"][-1].id}
    about = pieces[0][1]
    assert about.items() >= {"langgraph_node": "ask", "langgraph_step": 1, "ls_model_type": "chat", "user": 1}.items()
    assert "mine" in about["tags"]


def test_a_model_that_cannot_stream_is_shown_whole_and_once(lane: Lane) -> None:
    chunks = lane.stream(graph_of(asking(Scripted(), lane)), HI, stream_mode="messages")
    assert [(type(message), message.content) for message, _ in chunks] == [(theirs.AIMessage, "one two")]


def test_nostream_keeps_the_pieces_out(lane: Lane) -> None:
    chunks = lane.stream(graph_of(asking(Streaming(tags=["nostream"]), lane)), HI, stream_mode="messages")
    assert [(type(message), message.content) for message, _ in chunks] == [(theirs.AIMessage, "one two")]


def test_pieces_come_out_of_chains_tasks_and_nested_graphs(lane: Lane) -> None:
    chain = RunnableLambda(lambda state: state["messages"]) | Streaming() | (lambda reply: {"messages": [reply]})
    inner = graph_of(chain)

    @task
    async def ask(text: str) -> Any:
        return await Streaming().ainvoke(text)

    @task
    def ask_sync(text: str) -> Any:
        return Streaming().invoke(text)

    @entrypoint()
    async def flow(text: str) -> Any:
        return (await ask(text)).content

    @entrypoint()
    def flow_sync(text: str) -> Any:
        return ask_sync(text).result().content

    own = lane.stream(inner, HI, stream_mode="messages")
    tasks = lane.stream(flow if lane.is_async else flow_sync, "Hi", stream_mode="messages")
    nested = lane.stream(graph_of(inner), HI, stream_mode="messages", subgraphs=True)
    for chunks in (own, tasks, [chunk for _, chunk in nested]):
        assert [piece.content for piece, _ in chunks if piece.content] == ["one ", "two"]


@pytest.mark.parametrize("pass_config", [False, True])
def test_handlers_in_the_config_hear_each_model_once(lane: Lane, pass_config: bool) -> None:
    logs = [Log(), Log()]
    graph = graph_of(asking(Streaming(), lane, pass_config=pass_config))
    lane.invoke(graph, HI, {"callbacks": logs})
    lane.stream(graph, HI, {"callbacks": logs}, stream_mode="messages")
    assert [log.heard for log in logs] == [["start", "end", "start", "end"]] * 2


def test_nobody_hears_what_is_asked_outside_of_a_run() -> None:
    log = Log()
    graph_of(lambda state: {}).invoke(HI, {"callbacks": [log]})
    Streaming().invoke("Hi")
    assert log.heard == []


def test_a_config_of_theirs_is_a_config(lane: Lane, saver: BaseCheckpointSaver) -> None:
    config = ensure_config({"configurable": {"thread_id": "1"}, "tags": ["t"]})
    graph = graph_of(lambda state, config: {"messages": theirs.AIMessage(config["tags"][0])}, saver)
    assert lane.invoke(graph, HI, config)["messages"][-1].content == "t"


def test_their_messages_are_kept_as_they_are(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    call = {"name": "f", "args": {"a": (1, 2)}, "id": "1", "type": "tool_call"}
    replies = [
        theirs.AIMessage("x", tool_calls=[call], response_metadata={"model": "m"}, usage_metadata=None, id="a"),
        theirs.ToolMessage("4", tool_call_id="1", artifact={"n": 1}, status="error"),
        theirs.SystemMessage([{"type": "text", "text": "t"}], name="boss"),
    ]
    graph = graph_of(lambda state: {"messages": replies}, saver)
    returned = lane.invoke(graph, HI, thread)["messages"]
    kept = lane.state(graph, thread).values["messages"]
    assert kept == returned
    assert [type(message) for message in kept] == [theirs.HumanMessage, *map(type, replies)]
    assert kept[1].tool_calls == [call]
    assert all(message.id for message in kept)
    assert replies[1].id is None


def test_add_messages_replaces_and_removes_theirs() -> None:
    before = add_messages([], [theirs.HumanMessage("a", id="1"), theirs.AIMessage("b", id="2")])
    after = add_messages(before, [theirs.HumanMessage("A", id="1"), theirs.RemoveMessage(id="2"), ("ai", "ours")])
    assert [message.content for message in after] == ["A", "ours"]
    assert add_messages(before, theirs.RemoveMessage(id="__remove_all__")) == []


def test_documents_and_messages_are_stored_without_registration() -> None:
    serde, value = Serializer(), [Document("text", metadata={"page": 1}), theirs.AIMessageChunk(content="a", id="1")]
    assert serde.loads(serde.dumps(value)) == value


READER = """
import sys
import langchain_core.messages
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.graph import START, MessagesState, StateGraph
assert "twinstep.integrations.langchain" not in sys.modules
with SqliteSaver.from_conn_string(sys.argv[1]) as saver:
    graph = StateGraph(MessagesState).add_node("n", lambda s: {}).add_edge(START, "n").compile(checkpointer=saver)
    print([type(m).__module__ for m in graph.get_state({"configurable": {"thread_id": "1"}}).values["messages"]])
"""


def test_another_process_reads_their_messages(tmp_path: Any, thread: Any) -> None:
    path = str(tmp_path / "t.sqlite")
    with SqliteSaver.from_conn_string(path) as saver:
        graph: Any = (
            StateGraph(MessagesState).add_node("n", lambda s: {}).add_edge(START, "n").compile(checkpointer=saver)
        )
        graph.invoke({"messages": [theirs.HumanMessage("Hi")]}, thread)
    result = subprocess.run([sys.executable, "-c", READER, path], capture_output=True, text=True, timeout=60)
    assert result.stdout == "['langchain_core.messages.human']\n", result.stderr


def test_a_program_without_langchain_does_not_load_it() -> None:
    program = (
        "import sys; from twinstep.func import entrypoint; f = entrypoint()(lambda x: x)\n"
        "list(f.stream(1, {'callbacks': []}, stream_mode='messages')); print('langchain_core' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.stdout == "False\n", result.stderr


def test_a_graph_is_a_runnable(lane: Lane) -> None:
    log = Log()
    runnable = as_runnable(graph_of(asking(Streaming(), lane)))
    chain: Any = (
        RunnableLambda(lambda text: {"messages": [("user", text)]}) | runnable | (lambda s: s["messages"][-1].content)
    )
    assert lane.call(chain, "invoke", "Hi", {"callbacks": [log]}) == "one two"
    assert [word for word in log.heard if word in ("start", "end")] == ["start", "end"]
    assert "chain LangGraph" in log.heard
    assert lane.stream(runnable, HI, stream_mode="values")[-1]["messages"][-1].content == "one two"


def test_their_models_serve_where_ours_do(lane: Lane) -> None:
    call = {"name": "f", "args": {"a": 1}, "id": "1", "type": "tool_call"}
    model = as_chat_model(Scripted(answer=theirs.AIMessage("x", tool_calls=[call])))
    assert isinstance(model, LangChainModel)
    reply = lane.call(model.bind_tools([{"name": "f", "description": "", "parameters": {}}]), "invoke", ["Hi"])
    assert (type(reply), reply.tool_calls) == (AIMessage, [call])
    assert (model.name, "".join(chunk.text for chunk in lane.stream(as_chat_model(Streaming()), "Hi"))) == (
        "scripted",
        "one two",
    )
    schema = {"title": "f", "type": "object", "properties": {"a": {"type": "integer"}}}
    assert lane.call(model.with_structured_output(schema), "invoke", "Hi") == {"a": 1}


def test_their_models_take_messages_that_graphs_make_of_mappings(lane: Lane) -> None:
    node = asking(Scripted(), lane)
    graph = StateGraph(MessagesState).add_node("ask", node).add_edge(START, "ask").compile()
    ours = [{"role": "user", "content": "Hi"}, AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])]
    result = ToolMessage("4", tool_call_id="1")
    assert lane.invoke(graph, {"messages": [*ours, result]})["messages"][-1].content == "one two"
    converted: Any = theirs.convert_to_messages([result])  # type: ignore[list-item]  # what this is about
    assert converted == [theirs.ToolMessage("4", tool_call_id="1")]


def test_their_models_stream_through_ours_too(lane: Lane) -> None:
    chunks = lane.stream(graph_of(asking(as_chat_model(Streaming()), lane)), HI, stream_mode="messages")
    assert [piece.content for piece, _ in chunks if piece.content] == ["one ", "two"]


def test_their_messages_are_sent_by_ours() -> None:
    assert to_openai([theirs.HumanMessage("Hi"), theirs.AIMessage("Yes")]) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
    ]
