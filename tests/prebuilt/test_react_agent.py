"""create_react_agent: the loop of model and tools, and each of its options, in both lanes and both versions."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel

from tests.prebuilt.kit import asked, call, refusal
from twinstep import Command, interrupt
from twinstep.config import get_stream_writer
from twinstep.errors import GraphValidationError, InvalidUpdateError
from twinstep.graph.message import REMOVE_ALL_MESSAGES, add_messages
from twinstep.managed import RemainingSteps
from twinstep.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from twinstep.models import FunctionModel
from twinstep.models.structured import StructuredOutputError
from twinstep.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime, create_react_agent, tool
from twinstep.prebuilt.chat_agent_executor import AgentState, AgentStatePydantic
from twinstep.store import InMemoryStore

THREAD = {"configurable": {"thread_id": "1"}}


class Script:
    """A model that answers from a list, and notes what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[list[Any]] = []
        self.tools: list[list[str]] = []
        self.model = FunctionModel(self.answer, name="script")

    def answer(self, messages: list[Any], tools: Any) -> Any:
        self.requests.append(messages)
        self.tools.append([tool["name"] for tool in tools])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(return_direct=True)
def final(text: str) -> str:
    """Say the last word."""
    return text


class Verdict(BaseModel):
    good: bool


@pytest.fixture(params=["v1", "v2"])
def version(request):
    return request.param


def texts(messages: list[Any]) -> list[str]:
    return [message.text for message in messages]


def start(text: str = "hi", **keys: Any) -> dict[str, Any]:
    return {"messages": [HumanMessage(text)], **keys}


SUM = {"a": 1, "b": 2}


def test_the_model_calls_tools_until_it_has_its_answer(lane, version):
    script = Script(
        asked(call("add", SUM, "1"), call("add", {"a": 3, "b": 4}, "2")), asked(call("add", {"a": 5, "b": 6})), "done"
    )
    agent = create_react_agent(script.model, [add], version=version)
    messages = lane.invoke(agent, start())["messages"]
    assert texts(messages) == ["hi", "", "3", "7", "", "11", "done"]
    assert [len(request) for request in script.requests] == [1, 4, 6]
    assert script.tools == [["add"]] * 3


@pytest.mark.parametrize(("of", "updates"), [("v1", 1), ("v2", 2)])
def test_the_versions_differ_in_how_tools_are_run(lane, of, updates):
    script = Script(asked(call("add", SUM, "1"), call("add", SUM, "2")), "done")
    agent = create_react_agent(script.model, [add], version=of)
    chunks = lane.stream(agent, start())
    assert [list(chunk) for chunk in chunks] == [["agent"], *[["tools"]] * updates, ["agent"]]


def test_a_question_of_one_tool_holds_up_only_that_one(lane, saver, version):
    ran = []

    @tool
    def pay(to: str) -> str:
        """Pay, when a human agrees."""
        answer = interrupt(f"pay {to}?")
        ran.append(to)
        return answer

    script = Script(
        asked(call("pay", {"to": "Ada"}, "1"), call("add", SUM, "2"), call("pay", {"to": "Ben"}, "3")), "ok"
    )
    agent = create_react_agent(script.model, [pay, add], version=version, checkpointer=saver)
    questions = lane.invoke(agent, start(), THREAD)["__interrupt__"]
    assert [question.value for question in questions] == ["pay Ada?", "pay Ben?"]
    assert lane.invoke(agent, Command(resume={questions[1].id: "no"}), THREAD)["__interrupt__"]
    assert texts(lane.invoke(agent, Command(resume="yes"), THREAD)["messages"]) == ["hi", "", "yes", "3", "no", "ok"]
    assert ran == ["Ben", "Ada"]


def test_one_at_a_time_is_enough_for_any_number_of_calls(lane, version):
    script = Script(asked(*(call("add", SUM, str(n)) for n in range(5))), "done")
    agent = create_react_agent(script.model, [add], version=version)
    messages = lane.invoke(agent, start(), {"max_concurrency": 1})["messages"]
    assert texts(messages) == ["hi", "", *["3"] * 5, "done"]


# ---------------------------------------------------------------------- prompts


class Template:
    """As other libraries make prompts: a runnable that returns an object which knows its messages."""

    def invoke(self, state: Any, config: Any = None) -> Any:
        return self

    async def ainvoke(self, state: Any, config: Any = None) -> Any:
        return self

    def to_messages(self) -> list[Any]:
        return [SystemMessage("from a template")]


async def later(state: AgentState) -> list[Any]:
    await asyncio.sleep(0)
    return [SystemMessage("later"), *state["messages"]]


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        (None, ["hi"]),
        ("be brief", ["be brief", "hi"]),
        (SystemMessage("be kind"), ["be kind", "hi"]),
        (lambda state: [*state["messages"], ("user", state["remaining_steps"] > 1 and "?")], ["hi", "?"]),
        (later, ["later", "hi"]),
        (Template(), ["from a template"]),
    ],
)
def test_prompts(lane, prompt, seen):
    script = Script("done")
    lane.invoke(create_react_agent(script.model, [add], prompt=prompt), start())
    assert texts(script.requests[0]) == seen


# ---------------------------------------------------------------------- models


def test_the_model_can_be_chosen_for_each_turn(lane, colour):
    first, second = Script(asked(call("add", SUM))), Script("done")
    seen = []

    @colour
    def choose(state, runtime):
        seen.append((len(state["messages"]), runtime.context))
        return (first if len(state["messages"]) == 1 else second).model.bind_tools([add])

    agent = create_react_agent(choose, [add], context_schema=dict)
    assert lane.invoke(agent, start(), context={"user": "Ada"})["messages"][-1].text == "done"
    assert seen == [(1, {"user": "Ada"}), (3, {"user": "Ada"})]


def test_a_model_may_be_bound_to_its_tools_already():
    script = Script("done")
    provided = {"name": "web_search", "description": "The provider's own.", "parameters": {}}
    create_react_agent(script.model.bind_tools([add]), [add]).invoke(start())
    with pytest.raises(GraphValidationError, match="bound to the tools add, and the agent is given add, final"):
        create_react_agent(script.model.bind_tools([add]), [add, final])
    script.answers.append("found")
    agent = create_react_agent(script.model, [add, provided])
    agent.invoke(start())
    assert script.tools[-1] == ["add", "web_search"]


def test_without_tools_the_agent_is_its_model(lane):
    agent = create_react_agent(Script("done").model, [])
    assert [list(chunk) for chunk in lane.stream(agent, start())] == [["agent"]]
    assert set(agent.nodes) == {"__start__", "agent"}


def test_the_agent_has_a_name(lane):
    agent = create_react_agent(Script("done").model, [add], name="helper")
    assert agent.name == "helper"
    assert lane.invoke(agent, start())["messages"][-1].name == "helper"


# ---------------------------------------------------------------------- what ends it


def test_a_tool_that_returns_directly_ends_the_run(lane, version):
    script = Script(asked(call("final", {"text": "bye"}, "1"), call("add", SUM, "2")))
    agent = create_react_agent(script.model, [final, add], version=version)
    assert texts(lane.invoke(agent, start())["messages"]) == ["hi", "", "bye", "3"]


@pytest.mark.parametrize(
    ("limit", "options", "runs"),
    [
        (3, {}, True),
        (2, {}, False),
        (4, {"post_model_hook": lambda state: {}}, False),
        (5, {"post_model_hook": lambda state: {}}, True),
    ],
)
def test_the_agent_ends_with_words_when_the_limit_leaves_no_steps(lane, version, limit, options, runs):
    script = Script(asked(call("add", SUM)), "done")
    agent = create_react_agent(script.model, [add], version=version, **options)
    messages = lane.invoke(agent, start(), {"recursion_limit": limit})["messages"]
    sorry = "Sorry, need more steps to process this request."
    assert texts(messages) == (["hi", "", "3", "done"] if runs else ["hi", sorry])
    assert not messages[-1].tool_calls


def test_a_direct_tool_needs_fewer_steps(lane):
    script = Script(asked(call("final", {"text": "bye"})))
    messages = lane.invoke(create_react_agent(script.model, [final]), start(), {"recursion_limit": 2})["messages"]
    assert texts(messages) == ["hi", "", "bye"]


# ---------------------------------------------------------------------- structured responses


@pytest.mark.parametrize("format", [Verdict, ("Judge.", Verdict)], ids=["schema", "prompt and schema"])
def test_a_structured_response(lane, version, format):
    script = Script(asked(call("add", SUM)), "fine", asked(call("Verdict", {"good": "true"})))
    agent = create_react_agent(script.model, [add], response_format=format, version=version)
    state = lane.invoke(agent, start())
    assert state["structured_response"] == Verdict(good=True)
    assert texts(state["messages"]) == ["hi", "", "3", "fine"]
    assert texts(script.requests[-1])[0] == ("Judge." if isinstance(format, tuple) else "hi")
    assert script.tools[-1] == ["Verdict"]


def test_a_structured_response_that_does_not_fit_is_an_error_and_can_be_had_again(lane, saver):
    script = Script("fine", asked(call("Verdict", {"good": "perhaps"})), asked(call("Verdict", {"good": False})))
    agent = create_react_agent(script.model, [add], response_format=Verdict, checkpointer=saver)
    with pytest.raises(StructuredOutputError):
        lane.invoke(agent, start(), THREAD)
    assert lane.invoke(agent, None, THREAD)["structured_response"] == Verdict(good=False)


# ---------------------------------------------------------------------- hooks


def test_the_hook_before_the_model_prepares_what_it_is_given(lane, version, colour):
    script = Script(asked(call("add", SUM)), "done", "again")

    @colour
    def last_only(state):
        return {"llm_input_messages": state["messages"][-1:]} if len(script.requests) != 1 else {}

    agent = create_react_agent(script.model, [add], pre_model_hook=last_only, version=version, prompt="p")
    state = lane.invoke(agent, start())
    assert [texts(request) for request in script.requests] == [["p", "hi"], ["p", "hi", "", "3"]]
    assert state.keys() == {"messages"}


def test_the_hook_before_the_model_may_change_the_conversation(lane):
    def forget(state):
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), HumanMessage("summary")]}

    script = Script("done")
    agent = create_react_agent(script.model, [], pre_model_hook=forget)
    assert texts(lane.invoke(agent, start())["messages"]) == ["summary", "done"]


def test_the_hook_after_the_model_sees_and_may_stop_its_calls(lane, version):
    def guard(state):
        calls = state["messages"][-1].tool_calls
        if any(each["args"].get("a") == 13 for each in calls):
            return {"messages": [ToolMessage("not with 13", tool_call_id=each["id"], status="error") for each in calls]}
        return {}

    script = Script(asked(call("add", {"a": 13, "b": 0})), asked(call("add", SUM)), "done")
    agent = create_react_agent(script.model, [add], post_model_hook=guard, version=version)
    assert texts(lane.invoke(agent, start())["messages"]) == ["hi", "", "not with 13", "", "3", "done"]
    nodes = [
        next(iter(chunk))
        for chunk in lane.stream(create_react_agent(Script("x").model, [add], post_model_hook=guard), start())
    ]
    assert nodes == ["agent", "post_model_hook"]


def test_hooks_and_a_structured_response_together(lane, version):
    script = Script(asked(call("add", SUM)), "done", asked(call("Verdict", {"good": True})))
    order = []

    def before(state):
        order.append("before")
        return {"llm_input_messages": state["messages"]}

    def after(state):
        order.append("after")
        return {}

    agent = create_react_agent(
        script.model, [add], pre_model_hook=before, post_model_hook=after, response_format=Verdict, version=version
    )
    assert lane.invoke(agent, start(), {"recursion_limit": 8})["structured_response"] == Verdict(good=True)
    assert order == ["before", "after"] * 2


# ---------------------------------------------------------------------- state, context, store


class Session(AgentState):
    user: str


@dataclass
class DataState:
    messages: Annotated[list, add_messages] = field(default_factory=list)
    remaining_steps: RemainingSteps = 10
    user: str = ""


class ModelState(AgentStatePydantic):
    user: str = ""


@pytest.mark.parametrize("schema", [Session, DataState, ModelState])
@pytest.mark.parametrize("hook", [False, True])
def test_the_state_may_have_more_keys_and_be_of_any_kind(lane, version, schema, hook):
    @tool
    def greet(
        user: Annotated[str, InjectedState("user")], store: Annotated[Any, InjectedStore()], run: ToolRuntime
    ) -> str:
        """Greet the user."""
        get_stream_writer()("greeting")
        return f"Hello {user} of {run.context['city']}, {store.get(('n',), 'k').value['v']}"

    store = InMemoryStore()
    store.put(("n",), "k", {"v": "stored"})
    agent = create_react_agent(
        Script(asked(call("greet")), "done").model,
        [greet],
        state_schema=schema,
        context_schema=dict,
        store=store,
        version=version,
        pre_model_hook=(lambda state: {"llm_input_messages": ["seen"]}) if hook else None,
    )
    modes = lane.stream(agent, start(user="Ada"), context={"city": "Rome"}, stream_mode=["custom", "values"])
    assert ("custom", "greeting") in modes
    assert texts(modes[-1][1]["messages"])[2:] == ["Hello Ada of Rome, stored", "done"]


class NoSteps(TypedDict):
    messages: Annotated[list, add_messages]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"version": "v3"}, "Invalid version 'v3'"),
        ({"state_schema": NoSteps}, "Missing required key(s) remaining_steps in state_schema NoSteps"),
        ({"state_schema": AgentState, "response_format": Verdict}, "Missing required key(s) structured_response"),
        ({"interrupt_before": ["toools"]}, "toools"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, says):
    said = refusal(lambda: create_react_agent(Script().model, [add], **options))
    assert said.startswith("GraphValidationError")
    assert says in said


def test_a_conversation_with_unanswered_calls_is_refused_before_the_model_is_asked(lane):
    script = Script()
    agent = create_react_agent(script.model, [add])
    with pytest.raises(InvalidUpdateError, match="INVALID_CHAT_HISTORY"):
        lane.invoke(agent, {"messages": [asked(call("add", SUM)), HumanMessage("hello?")]})
    assert script.requests == []


def test_breakpoints(lane, saver, version):
    script = Script(asked(call("add", SUM)), "done")
    agent = create_react_agent(script.model, [add], interrupt_before=["tools"], checkpointer=saver, version=version)
    lane.invoke(agent, start(), THREAD)
    assert lane.state(agent, THREAD).next == ("tools",)
    assert texts(lane.invoke(agent, None, THREAD)["messages"])[-2:] == ["3", "done"]


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("error", [TimeoutError("the model is slow"), ConnectionError("no line")])
def test_a_thread_goes_on_after_the_model_has_failed(lane, saver, version, error):
    script = Script(asked(call("add", SUM)), error, "done", "and on")
    agent = create_react_agent(script.model, [add], checkpointer=saver, version=version)
    with pytest.raises(type(error)):
        lane.invoke(agent, start(), THREAD)
    assert texts(lane.invoke(agent, None, THREAD)["messages"]) == ["hi", "", "3", "done"]
    assert texts(lane.invoke(agent, start("more"), THREAD)["messages"])[-2:] == ["more", "and on"]


def test_a_model_hears_of_its_mistakes_and_mends_them(lane, version):
    bad = AIMessage(invalid_tool_calls=[{"name": "add", "args": "{", "id": "0", "error": "no JSON"}])
    script = Script(
        asked(call("sub", SUM, "1"), call("add", {"a": "x"}, "2")), bad, asked(call("add", SUM, "3")), "done"
    )
    messages = lane.invoke(create_react_agent(script.model, [add], version=version), start())["messages"]
    assert [m.status for m in messages if isinstance(m, ToolMessage)] == ["error", "error", "error", "success"]
    assert messages[-1].text == "done"


def test_a_tool_that_raises_fails_the_run_or_is_told_to_the_model(lane, saver):
    def fail() -> str:
        """Fail."""
        raise RuntimeError("broken")

    script = Script(asked(call("fail")), asked(call("fail")), "I see")
    with pytest.raises(RuntimeError, match="broken"):
        lane.invoke(create_react_agent(script.model, [fail]), start())
    forgiving = create_react_agent(script.model, ToolNode([fail], handle_tool_errors=True), checkpointer=saver)
    assert texts(lane.invoke(forgiving, start(), THREAD)["messages"])[-2:] == [
        "Error: RuntimeError('broken')\n Please fix your mistakes.",
        "I see",
    ]


def test_tokens_of_the_model_are_streamed(lane):
    def words(messages):
        yield from ["one ", "two"]

    agent = create_react_agent(FunctionModel(words), [add])
    chunks = lane.stream(agent, start(), stream_mode="messages")
    assert [(chunk.text, about["langgraph_node"]) for chunk, about in chunks] == [("one ", "agent"), ("two", "agent")]
