"""What the type checkers know of graphs. mypy (strict) and pyright read this file; it runs as well."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

import operator
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, assert_type

from twinstep.func import entrypoint
from twinstep.graph import END, START, StateGraph
from twinstep.graph.state import CompiledStateGraph
from twinstep.runtime import Runtime, get_runtime
from twinstep.types import Command, GraphOutput, RunnableConfig, Send, StateSnapshot, StreamWriter, interrupt


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[str], operator.add]


class Given(TypedDict):
    x: int


class Taken(TypedDict):
    log: list[str]


@dataclass
class Context:
    user: str = "nobody"


def plain(state: State) -> State:
    return {"log": ["plain"]}


def other_name(s: State, /) -> dict[str, Any]:
    return {"log": ["other_name"]}


async def coroutine(state: State) -> State:
    return {"log": ["coroutine"]}


def told(state: State, runtime: Runtime[Context]) -> State:
    assert_type(runtime.context, Context)
    return {"log": [runtime.context.user]}


def configured(anything: State, *, config: RunnableConfig) -> State:
    return {"log": [config.get("run_name", "configured")]}


def writes(state: State, writer: StreamWriter) -> None:
    writer("seen")


def private(state: Given) -> Taken:
    return {"log": [str(state["x"])]}


def commands(state: State) -> Command[Literal["plain"]]:
    return Command(update={"log": ["commands"]})


def generates(state: State) -> Iterator[State]:
    yield {"log": ["generates"]}


async def agenerates(state: State) -> AsyncIterator[State]:
    yield {"log": ["agenerates"]}


class Thing:
    def __call__(self, state: State) -> State:
        return {"log": ["thing"]}

    def method(self, state: State) -> State:
        return {"log": ["method"]}


@entrypoint()
def program(state: State) -> State:
    return {"log": ["program"]}


def test_every_kind_of_node_is_accepted() -> None:
    child = StateGraph(State).add_node(plain).add_edge(START, "plain").compile()
    graph = (
        StateGraph(State, Context)
        .add_node(plain)
        .add_node(other_name)
        .add_node(coroutine)
        .add_node(told)
        .add_node("configured", configured)
        .add_node(writes)
        .add_node(private)
        .add_node(commands)
        .add_node(generates)
        .add_node("agenerates", agenerates)
        .add_node("thing", Thing())
        .add_node(Thing().method)
        .add_node("lambda", lambda state: {"log": ["lambda"]})
        .add_node("child", child)
        .add_node("program", program)
    )
    for name in graph.nodes:
        graph.add_edge(START, name)
    result = graph.compile().invoke({"x": 1}, context=Context("me"))
    said = "1 agenerates commands configured coroutine generates lambda me method other_name plain program thing"
    assert sorted(set(result.get("log", []))) == said.split()


def wrong_nodes() -> None:
    def no_parameter() -> State:
        return {}

    StateGraph(State).add_node("n", no_parameter)  # type: ignore[arg-type]
    StateGraph(State).add_node("n", 5)  # type: ignore[arg-type]
    StateGraph(State).add_node(5)  # type: ignore[arg-type]


def test_graphs_keep_their_four_types() -> None:
    graph = (
        StateGraph(State, Context, input_schema=Given, output_schema=Taken)
        .add_node(told)
        .add_edge(START, "told")
        .compile()
    )
    assert_type(graph, CompiledStateGraph[State, Context, Given, Taken])
    assert_type(graph.builder, StateGraph[State, Context, Given, Taken])
    assert_type(graph.invoke({"x": 1}), Taken)
    assert_type(graph.invoke({"x": 1}, version="v2"), GraphOutput[Taken])
    assert_type(graph.invoke({"x": 1}, output_keys="log"), Any)
    assert graph.invoke({"x": 1}, context=Context("me")) == {"log": ["me"]}

    bare = StateGraph(State).add_node(plain).add_edge(START, "plain").compile()
    assert_type(bare, CompiledStateGraph[State, None, State, State])
    assert_type(bare.with_config(run_name="n"), CompiledStateGraph[State, None, State, State])
    assert_type(bare.invoke({"x": 1}), State)

    async def states() -> StateSnapshot:
        assert_type(await bare.ainvoke({"x": 1}), State)
        return await bare.aget_state({})

    assert callable(states)


def wrong_graphs() -> None:
    graph = StateGraph(State, Context, input_schema=Given).add_node(told).add_edge(START, "told").compile()
    graph.invoke({"y": 1})  # type: ignore[call-overload]
    graph.invoke({"x": 1}, context=3)  # type: ignore[call-overload]


def test_paths_are_functions_of_any_kind() -> None:
    def chooses(state: State) -> Literal["plain", "__end__"]:
        return END

    async def sends(state: State) -> list[Send]:
        return [Send("plain", state)]

    graph = StateGraph(State).add_node(plain).add_node(commands)
    graph.add_conditional_edges(START, chooses).add_conditional_edges("commands", sends, ["plain"])
    assert_type(graph, StateGraph[State, None, State, State])


def test_answers_have_the_type_that_was_asked_for() -> None:
    def asks(state: State) -> State:
        assert_type(interrupt("how many?"), Any)
        assert_type(interrupt("how many?", response_schema=int), int)
        assert_type(get_runtime(Context).context, Context)
        return {}

    assert callable(asks)
