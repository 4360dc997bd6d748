"""ToolNode: every call of a model's message is answered, in order, whatever happens."""

import asyncio
import operator
import threading
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel

from tests.prebuilt.kit import asked, call, in_graph, refusal, shown
from twinstep import START, Command, Send, StateGraph, entrypoint, interrupt, task
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_config
from twinstep.errors import (
    GraphInterrupt,
    GraphValidationError,
    InvalidUpdateError,
    NoCheckpointerError,
    OutsideRunError,
)
from twinstep.graph import MessagesState
from twinstep.graph.message import REMOVE_ALL_MESSAGES, add_messages
from twinstep.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from twinstep.prebuilt import (
    InjectedState,
    InjectedStore,
    InjectedToolCallId,
    ToolNode,
    ToolRuntime,
    tool,
    tools_condition,
)
from twinstep.prebuilt.injection import ToolInjectionError
from twinstep.prebuilt.tool_node import ToolCallRequest
from twinstep.prebuilt.tools import ToolInvocationError
from twinstep.store import InMemoryStore
from twinstep.types import RetryPolicy

THREAD = {"configurable": {"thread_id": "1"}}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def aadd(a: int, b: int) -> int:
    """Add two numbers later."""
    await asyncio.sleep(0)
    return a + b


def fail(why: str) -> str:
    """Fail."""
    raise KeyError(why) if why == "key" else ValueError(why)


SUM = {"a": 1, "b": 2}


@pytest.mark.parametrize("inside", [True, False], ids=["in a run", "alone"])
def test_every_call_is_answered_in_the_order_of_the_calls(lane, inside):
    node = ToolNode([add, aadd])
    message = asked(call("add", SUM, "x"), call("aadd", {"a": 2, "b": 3}, "y"), call("add", {"a": 4, "b": 5}, "z"))
    runner = in_graph(node) if inside else node
    answers = lane.invoke(runner, {"messages": [message]})["messages"][-3:]
    assert shown(answers) == [("x", "success", "3"), ("y", "success", "5"), ("z", "success", "9")]
    assert [answer.name for answer in answers] == ["add", "aadd", "add"]


def test_calls_of_one_message_run_at_the_same_time(lane):
    barrier = threading.Barrier(2, timeout=20)

    def meet() -> str:
        """Wait for the other one."""
        barrier.wait()
        return "met"

    answers = lane.invoke(ToolNode([meet]), [asked(call("meet", id="1"), call("meet", id="2"))])
    assert [answer.content for answer in answers] == ["met", "met"]


@dataclass
class Data:
    messages: Annotated[list, add_messages]


class Model(BaseModel):
    messages: Annotated[list, add_messages]


@pytest.mark.parametrize(
    ("read", "bare"),
    [
        (lambda message: {"messages": [HumanMessage("?"), message]}, False),
        (lambda message: [message, HumanMessage("and?")], True),
        (lambda message: Data([message]), False),
        (lambda message: Model(messages=[message]), False),
        (lambda message: message.tool_calls, False),
        (lambda m: {"__type": "tool_call_with_context", "tool_call": m.tool_calls[0], "state": {"m": 1}}, False),
    ],
    ids=["state", "messages", "dataclass", "pydantic", "calls", "call with state"],
)
def test_inputs(lane, read, bare):
    output = lane.invoke(ToolNode([add]), read(asked(call("add", SUM))))
    assert shown(output if bare else output["messages"]) == [("1", "success", "3")]


def test_the_messages_may_have_another_key(lane):
    class State(TypedDict):
        talk: Annotated[list, add_messages]

    graph = in_graph(ToolNode([add], messages_key="talk"), State)
    assert lane.invoke(graph, {"talk": [asked(call("add", SUM))]})["talk"][-1].content == "3"


@pytest.mark.parametrize("state", [{"messages": [HumanMessage("?")]}, {"messages": []}, {"talk": []}, 5, [], None])
def test_an_input_without_a_model_message_is_refused(lane, state):
    with pytest.raises(InvalidUpdateError, match="ToolNode 'tools': no AIMessage found in 'messages' of its input"):
        lane.invoke(ToolNode([add]), state)


def test_a_message_without_calls_has_no_answers(lane):
    assert lane.invoke(ToolNode([add]), {"messages": [asked()]}) == {"messages": []}


# ---------------------------------------------------------------------- results


class Point(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("returned", "content"),
    [
        ("text", "text"),
        (None, "null"),
        (5, "5"),
        ({"ä": [1, None]}, '{"ä": [1, null]}'),
        ([1, 2], "[1, 2]"),
        ([{"type": "text", "text": "hi"}], [{"type": "text", "text": "hi"}]),
        ([Point(x=1)], '[{"x": 1}]'),
        ({1, 2}, "[1, 2]"),
        (operator, f'"{operator}"'),
    ],
)
def test_what_a_tool_returns_becomes_content(returned, content):
    @tool
    def get() -> Any:
        """Get."""
        return returned

    assert ToolNode([get]).invoke([asked(call("get"))])[0].content == content


def test_a_message_of_the_tool_is_the_answer_and_an_artifact_is_kept():
    @tool
    def own(id: Annotated[str, InjectedToolCallId]) -> ToolMessage:
        """Answer."""
        return ToolMessage("mine", tool_call_id=id, status="error")

    @tool(response_format="content_and_artifact")
    def pair(good: bool) -> Any:
        """Make two."""
        return ("seen", {"raw": 1}) if good else "seen"

    node = ToolNode([own, pair])
    own_answer, pair_answer = node.invoke([asked(call("own", id="a"), call("pair", {"good": True}, "b"))])
    assert shown([own_answer, pair_answer]) == [("a", "error", "mine"), ("b", "success", "seen")]
    assert pair_answer.artifact == {"raw": 1}
    with pytest.raises(InvalidUpdateError, match="so it returns a pair of these; it returned str"):
        node.invoke([asked(call("pair", {"good": False}, "b"))])


# ---------------------------------------------------------------------- errors


def test_an_unknown_tool_is_answered_with_the_names_of_those_there_are(lane):
    node = ToolNode([add, aadd], handle_tool_errors=False)
    answers = lane.invoke(node, [asked(call("ad", SUM))])
    text = "Error: ad is not a valid tool, try one of [add, aadd]. Did you mean 'add'?"
    assert shown(answers) == [("1", "error", text)]


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"a": "x", "b": 2},
        {"a": 1, "b": 2**70 * 1.5},
        {"a": {"$ref": "#"}, "b": [[[[]]]]},
        {"__class__": "os.system", "a": None},
    ],
)
def test_hostile_arguments_are_answered_with_what_is_wrong(lane, args):
    answers = lane.invoke(in_graph(ToolNode([add])), {"messages": [asked(call("add", args))]})
    (_, status, text) = shown(answers["messages"][-1:])[0]
    assert status == "error"
    assert text.startswith("Error invoking tool 'add' with kwargs")
    assert text.endswith("Please fix the error and try again.")


@pytest.mark.parametrize(("name", "args"), [("add", '{"a": 1, "b"'), ("add", None), ("add", "[1, 2]"), (None, "{}")])
def test_calls_that_a_model_wrote_badly_are_answered_too(lane, name, args):
    message = AIMessage(invalid_tool_calls=[{"name": name, "args": args, "id": "9", "error": "no JSON object"}])
    assert tools_condition([message]) == "tools"
    answers = lane.invoke(in_graph(ToolNode([add])), {"messages": [message]})["messages"][1:]
    assert [(answer.status, answer.tool_call_id) for answer in answers] == [("error", "9")]
    assert ("no JSON object" if name else "None is not a valid tool") in answers[0].content


def handle_value(error: ValueError) -> str:
    return f"value: {error}"


def handle_both(error: ValueError | KeyError) -> str:
    return f"both: {error}"


def handle_any(error):
    return f"any: {error}"


ALL = "Error: ValueError('oh')\n Please fix your mistakes."


@pytest.mark.parametrize(
    ("handle", "says", "key_says"),
    [
        (True, ALL, "Error: KeyError('key')\n Please fix your mistakes."),
        ("Try later.", "Try later.", "Try later."),
        (ValueError, ALL, KeyError),
        ((ValueError, TypeError), ALL, KeyError),
        (handle_value, "value: oh", KeyError),
        (handle_both, "both: oh", "both: 'key'"),
        (handle_any, "any: oh", "any: 'key'"),
        (False, ValueError, KeyError),
    ],
)
def test_which_errors_are_told_to_the_model_can_be_chosen(lane, handle, says, key_says):
    node = ToolNode([fail], handle_tool_errors=handle)
    for why, expected in [("oh", says), ("key", key_says)]:
        message = asked(call("fail", {"why": why}))
        if isinstance(expected, str):
            assert shown(lane.invoke(node, [message])) == [("1", "error", expected)]
        else:
            with pytest.raises(expected, match=why):
                lane.invoke(node, [message])


def test_by_default_an_error_of_the_tool_is_raised_and_a_call_that_does_not_fit_is_not(lane):
    with pytest.raises(ValueError, match="oh"):
        lane.invoke(ToolNode([fail]), [asked(call("fail", {"why": "oh"}))])
    with pytest.raises(ToolInvocationError):
        lane.invoke(ToolNode([fail], handle_tool_errors=False), [asked(call("fail", {"why": None}))])


def wrong(error: int) -> str:
    return ""


@pytest.mark.parametrize("handle", [5, (ValueError, 5), BaseException, wrong])
def test_handlers_that_cannot_work_are_refused(handle):
    with pytest.raises(GraphValidationError, match="exception type"):
        ToolNode([add], handle_tool_errors=handle)


def test_a_thread_goes_on_after_a_tool_has_raised(lane, saver):
    broken = [True]
    ran = []

    @tool
    def risky() -> str:
        """Work the second time."""
        if broken:
            raise ConnectionError("no line")
        return "fine"

    @tool
    def safe() -> str:
        """Count how often it runs."""
        ran.append(1)
        return "safe"

    graph = in_graph(ToolNode([risky, safe]), checkpointer=saver)
    with pytest.raises(ConnectionError):
        lane.invoke(graph, {"messages": [asked(call("safe", id="1"), call("risky", id="2"))]}, THREAD)
    broken.clear()
    answers = lane.invoke(graph, None, THREAD)["messages"][1:]
    assert shown(answers) == [("1", "success", "safe"), ("2", "success", "fine")]
    assert ran == [1], "what had finished is on record"


@pytest.mark.parametrize("tools", [[add, add], [5], [dict], [lambda x: x], [None]])
def test_tools_that_cannot_be_used_are_refused(tools):
    assert refusal(lambda: ToolNode(tools)).startswith("GraphValidationError")


# ---------------------------------------------------------------------- what is injected


class Session(TypedDict, total=False):
    messages: Annotated[list, add_messages]
    user: str


@tool
def whoami(
    state: Annotated[dict, InjectedState],
    user: Annotated[str, InjectedState("user")],
    store: Annotated[InMemoryStore, InjectedStore()],
    runtime: ToolRuntime,
    other: Annotated[str, InjectedState("missing")] = "default",
) -> str:
    """Tell who I am."""
    runtime.stream_writer("working")
    known = store.get(("users",), user)
    assert known is not None
    node = runtime.config["metadata"]["langgraph_node"]
    names = [each.name for each in runtime.tools]
    return f"{known.value['name']} {sorted(state)} {runtime.context} {runtime.tool_call_id} {node} {names} {other}"


@pytest.fixture
def store():
    store = InMemoryStore()
    store.put(("users",), "u1", {"name": "Ada"})
    return store


@pytest.mark.parametrize("as_packets", [False, True], ids=["one node", "a packet for each call"])
def test_tools_are_given_the_state_the_store_and_the_runtime(lane, store, as_packets):
    def packets(state: Session) -> list[Send]:
        return [Send("tools", [each]) for each in state["messages"][-1].tool_calls]

    builder = StateGraph(Session, context_schema=dict).add_node("tools", ToolNode([whoami]))
    builder.add_conditional_edges(START, packets if as_packets else lambda state: "tools", ["tools"])
    graph = builder.compile(store=store)
    asks = asked(call("whoami", {"user": "intruder"}, "7"))
    state = {"messages": [asks], "user": "u1"}
    chunks = lane.stream(graph, state, context={"k": 1}, stream_mode=["custom", "values"])
    assert ("custom", "working") in chunks
    content = chunks[-1][1]["messages"][-1].content
    assert content == "Ada ['messages', 'user'] {'k': 1} 7 tools ['whoami'] default"


def test_what_the_run_does_not_have_is_named(lane, store):
    with pytest.raises(ToolInjectionError, match="'whoami' asks in its parameter 'store' for the store"):
        lane.invoke(in_graph(ToolNode([whoami]), Session), {"messages": [asked(call("whoami"))], "user": "u1"})
    with pytest.raises(ToolInjectionError, match="'user' of the state, which has messages"):
        lane.invoke(ToolNode([whoami]), {"messages": [asked(call("whoami"))]}, store=store)


def test_a_tool_is_in_the_run_of_its_node(lane):
    @task
    def part(n: int) -> int:
        return n * 2

    @tool
    def work() -> str:
        """Use the run."""
        assert get_config()["metadata"]["langgraph_node"] == "tools"
        return str([future.result() for future in [part(1), part(2)]])

    chunks = lane.stream(in_graph(ToolNode([work])), {"messages": [asked(call("work"))]}, stream_mode="tasks")
    assert [chunk["name"] for chunk in chunks if "triggers" in chunk] == ["tools", "part", "part"]


def test_a_task_can_be_a_tool_and_keeps_its_policies(lane):
    tried = []

    @task(retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    def flaky(n: int) -> int:
        """Work the second time."""
        tried.append(n)
        if len(tried) == 1:
            raise ConnectionError("no line")
        return n * 2

    @task
    async def later(n: int) -> int:
        """Work later."""
        await asyncio.sleep(0)
        return n * 3

    asks = asked(call("flaky", {"n": "4"}, "1"), call("later", {"n": "4"}, "2"))
    answers = lane.invoke(ToolNode([flaky, later]), [asks])
    assert (shown(answers), tried) == ([("1", "success", "8"), ("2", "success", "12")], [4, 4])


def test_what_a_tool_does_wrong_as_a_program_is_never_told_to_the_model(lane):
    @tool
    def give() -> Command:
        """Give a command without an answer."""
        return Command(goto="other")

    with pytest.raises(InvalidUpdateError, match="has no answer to its call"):
        lane.invoke(ToolNode([give], handle_tool_errors=True), [asked(call("give"))])


def test_streams_show_the_node_and_not_its_calls(lane):
    graph = in_graph(ToolNode([add]))
    state = {"messages": [asked(call("add", SUM, "1"), call("add", SUM, "2"))]}
    chunks = lane.stream(graph, state, stream_mode=["updates", "tasks", "messages"])
    assert [mode for mode, _ in chunks if mode == "updates"] == ["updates"]
    assert {chunk["name"] for mode, chunk in chunks if mode == "tasks"} == {"tools"}
    assert [chunk[0].content for mode, chunk in chunks if mode == "messages"] == ["3", "3"]


# ---------------------------------------------------------------------- questions


def test_tools_of_one_message_ask_together_and_each_answer_reaches_its_own_call(lane, saver):
    ran = []

    @tool
    def pay(to: str) -> str:
        """Pay, when a human agrees."""
        if interrupt("pay?") != "yes":
            return "refused"
        ran.append(to)
        return "paid"

    @tool
    def note(text: str) -> str:
        """Note something."""
        ran.append(text)
        return "noted"

    graph = in_graph(ToolNode([pay, note], handle_tool_errors=True), checkpointer=saver)
    asks = asked(call("pay", {"to": "Ada"}, "1"), call("note", {"text": "n"}, "2"), call("pay", {"to": "Ben"}, "3"))
    questions = lane.invoke(graph, {"messages": [asks]}, THREAD)["__interrupt__"]
    assert [question.value for question in questions] == ["pay?", "pay?"]
    left = lane.invoke(graph, Command(resume={questions[1].id: "yes"}), THREAD)["__interrupt__"]
    assert [question.id for question in left] == [questions[0].id]
    answers = lane.invoke(graph, Command(resume="no"), THREAD)["messages"][1:]
    assert [answer.content for answer in answers] == ["refused", "noted", "paid"]
    assert ran == ["n", "Ben"]


def test_alone_a_tool_cannot_ask(lane):
    @tool
    def ask() -> str:
        """Ask."""
        return interrupt("?")

    with pytest.raises(NoCheckpointerError):
        lane.invoke(ToolNode([ask]), [asked(call("ask"))])


# ---------------------------------------------------------------------- commands


def handed(id: str, **command: Any) -> Command:
    return Command(update={"messages": [ToolMessage("done", tool_call_id=id)]}, **command)


@tool
def transfer(id: Annotated[str, InjectedToolCallId]) -> Command:
    """Go to another node."""
    return handed(id, goto="other")


def test_commands_of_tools_update_the_state_and_go_on(lane):
    def other(state: MessagesState) -> dict:
        return {"messages": [f"{len(state['messages'])} so far"]}

    builder = StateGraph(MessagesState).add_node("tools", ToolNode([transfer, add]), destinations=["other"])
    graph = builder.add_node(other).add_edge(START, "tools").compile()
    messages = lane.invoke(graph, {"messages": [asked(call("transfer", id="1"), call("add", SUM, "2"))]})["messages"]
    assert [message.content for message in messages] == ["", "done", "3", "3 so far"]


def test_commands_for_the_parent_leave_together(lane):
    @tool
    def leave(id: Annotated[str, InjectedToolCallId]) -> Command:
        """Go to a node of the graph around."""
        return handed(id, graph=Command.PARENT, goto=Send("outer", {"messages": [id]}))

    inner = StateGraph(MessagesState).add_node("tools", ToolNode([leave])).add_edge(START, "tools").compile()
    builder = StateGraph(MessagesState).add_node("inner", inner, destinations=["outer"])
    graph = builder.add_node("outer", lambda state: state).add_edge(START, "inner").compile()
    messages = lane.invoke(graph, {"messages": [asked(call("leave", id="1"), call("leave", id="2"))]})["messages"]
    assert [message.content for message in messages] == ["", "done", "done", "1", "2"]


@pytest.mark.parametrize(
    ("command", "bare", "says"),
    [
        (Command(update={"messages": []}), False, "has no answer to its call '1'"),
        (Command(update={"messages": [ToolMessage("x", tool_call_id="2")]}), False, "has no answer to its call '1'"),
        (Command(goto="other"), False, "has no answer to its call '1'"),
        (handed("1"), True, "whose update is a dict, but the node was given a list of messages"),
        (Command(update=[ToolMessage("x", tool_call_id="1")]), False, "whose update is a list"),
    ],
)
def test_a_command_that_does_not_answer_its_call_is_refused(lane, command, bare, says):
    @tool
    def give() -> Command:
        """Give a command."""
        return command

    message = asked(call("give"))
    with pytest.raises(InvalidUpdateError, match=says):
        lane.invoke(ToolNode([give]), [message] if bare else {"messages": [message]})


def test_a_command_may_remove_all_messages_instead_of_answering():
    @tool
    def forget() -> Command:
        """Forget everything."""
        return Command(update={"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]})

    assert in_graph(ToolNode([forget])).invoke({"messages": [asked(call("forget"))]}) == {"messages": []}


# ---------------------------------------------------------------------- wrappers


def ten_times(request: ToolCallRequest, handler: Any) -> Any:
    args = {name: value * 10 for name, value in request.tool_call["args"].items()}
    return handler(request.override(tool_call={**request.tool_call, "args": args}))


async def a_hundred_times(request: ToolCallRequest, handler: Any) -> Any:
    args = {name: value * 100 for name, value in request.tool_call["args"].items()}
    return await handler(request.override(tool_call={**request.tool_call, "args": args}))


@pytest.mark.parametrize("name", ["add", "aadd"])
@pytest.mark.parametrize(
    ("wrap", "awrap", "sync_result", "async_result"),
    [(ten_times, None, "30", "30"), (None, a_hundred_times, "300", "300"), (ten_times, a_hundred_times, "30", "300")],
)
def test_a_call_can_be_wrapped(lane, name, wrap, awrap, sync_result, async_result):
    node = ToolNode([add, aadd], wrap_tool_call=wrap, awrap_tool_call=awrap)
    answers = lane.invoke(node, [asked(call(name, SUM))])
    assert answers[0].content == (async_result if lane.is_async else sync_result)


def test_a_wrapper_may_answer_itself_try_again_and_fail(lane):
    tried = []

    def wrap(request: ToolCallRequest, handler: Any) -> Any:
        assert request.state["messages"]
        if request.tool is None:
            return ToolMessage("no such tool here", tool_call_id=request.tool_call["id"])
        if request.tool.name == "add":
            raise ValueError("not today")
        try:
            return handler(request)
        except KeyError:
            tried.append(1)
            args = {"why": "now handled"}
            return ToolMessage(str(args), tool_call_id=request.tool_call["id"])

    node = ToolNode([add, fail], wrap_tool_call=wrap, handle_tool_errors=(ValueError,))
    asks = asked(call("nope", id="1"), call("add", SUM, "2"), call("fail", {"why": "key"}, "3"))
    contents = [answer.content for answer in lane.invoke(node, [asks])]
    error = "Error: ValueError('not today')\n Please fix your mistakes."
    assert contents == ["no such tool here", error, "{'why': 'now handled'}"]
    assert tried == [1]


# ---------------------------------------------------------------------- elsewhere


def test_in_an_entrypoint(lane, saver):
    node = ToolNode([add])

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> Any:
        return node.invoke([asked(call("add", {"a": n, "b": 1}))])[0].content

    @entrypoint(checkpointer=saver)
    async def aflow(n: int) -> Any:
        return (await node.ainvoke([asked(call("add", {"a": n, "b": 1}))]))[0].content

    assert lane.invoke(aflow if lane.is_async else flow, 4, THREAD) == "5"


def test_synchronous_use_under_a_running_loop_as_in_a_notebook():
    asks = asked(call("add", SUM, "1"), call("aadd", SUM, "2"))

    async def cell() -> None:
        assert shown(ToolNode([add, aadd]).invoke([asks])) == [("1", "success", "3"), ("2", "success", "3")]
        assert tool(aadd).invoke(SUM) == 3
        for saver in (None, InMemorySaver()):
            graph = in_graph(ToolNode([add, aadd]), checkpointer=saver)
            assert [message.text for message in graph.invoke({"messages": [asks]}, THREAD)["messages"]] == [
                "",
                "3",
                "3",
            ]

    asyncio.run(cell())

    async def node(state: MessagesState) -> Any:
        return graph.invoke({"messages": [asks]})

    graph = in_graph(ToolNode([add, aadd]))
    found = asyncio.run(in_graph(node).ainvoke({"messages": []}))["messages"]
    assert [message.text for message in found] == ["", "3", "3"]


def test_synchronous_use_in_a_coroutine_of_a_run_is_refused(lane):
    async def node(state: MessagesState) -> Any:
        return ToolNode([add]).invoke(state)

    with pytest.raises(OutsideRunError, match="was invoked in asynchronous code; write `await"):
        lane.invoke(in_graph(node), {"messages": [asked(call("add", SUM))]})


@pytest.mark.parametrize(
    ("state", "chosen"),
    [
        ({"messages": [asked(call("add", SUM))]}, "tools"),
        ([asked(call("add", SUM))], "tools"),
        (Model(messages=[asked(call("add", SUM))]), "tools"),
        ({"messages": [asked(call("add", SUM)), HumanMessage("x")]}, "__end__"),
        ({"messages": [asked()]}, "__end__"),
    ],
)
def test_the_condition_goes_to_the_tools_when_they_are_asked_for(state, chosen):
    assert tools_condition(state) == chosen


@pytest.mark.parametrize("state", [{"messages": []}, {"talk": [1]}, [], 5])
def test_the_condition_needs_messages(state):
    with pytest.raises(InvalidUpdateError, match="no messages found"):
        tools_condition(state)


def test_the_signal_of_a_question_is_no_error():
    assert not issubclass(GraphInterrupt, Exception)
