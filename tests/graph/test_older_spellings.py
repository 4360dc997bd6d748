"""Older spellings work and say so, at the line that uses them."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from tests.conftest import Lane
from tests.graph.kit import S, row, says
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, MessageGraph, StateGraph
from twinstep.messages import AIMessage
from twinstep.runtime import BaseUser, ExecutionInfo, Runtime
from twinstep.types import RetryPolicy
from twinstep.utils.config import ensure_config, patch_configurable
from twinstep.warnings import TwinstepDeprecationWarning, TwinstepWarning

AT_ONCE = RetryPolicy(initial_interval=0, jitter=False)


class X(TypedDict, total=False):
    x: int


@dataclass
class Ctx:
    who: str


def flaky() -> Callable[..., Any]:
    tries: list[int] = []

    def fails_once(state: Any) -> dict[str, Any]:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError
        return {"x": len(tries)}

    return fails_once


def greet(state: S, runtime: Runtime[Ctx]) -> dict[str, Any]:
    return {"log": [runtime.context.who]}


def graph(make: Callable[[], StateGraph[Any, Any, Any, Any]], node: Any = None) -> Any:
    return make().add_node("n", node or says("n")).add_edge(START, "n").compile()


def entrypoint_with_retry() -> Any:
    return entrypoint(retry=AT_ONCE)(flaky())


def entrypoint_with_config_schema() -> Any:
    return entrypoint(config_schema=Ctx)(lambda value, *, runtime: {"x": runtime.context.who})


def entrypoint_with_task() -> Any:
    fails_once = task(retry=AT_ONCE)(flaky())
    return entrypoint()(lambda value: fails_once(value).result())


OLD: dict[str, tuple[Callable[[], Any], str, Any]] = {
    "config_schema": (lambda: graph(lambda: StateGraph(S, config_schema=Ctx), greet), "context_schema=", ["ann"]),
    "input": (lambda: graph(lambda: StateGraph(S, input=X)), "input_schema=", ["n"]),
    "output": (lambda: graph(lambda: StateGraph(S, output=X)), "output_schema=", None),
    "set_entry_point": (
        lambda: StateGraph(S).add_node("n", says("n")).set_entry_point("n").compile(),
        "add_edge",
        ["n"],
    ),
    "set_finish_point": (lambda: row({"n": says("n")}).set_finish_point("n").compile(), "add_edge", ["n"]),
    "set_conditional_entry_point": (
        lambda: StateGraph(S).add_node("n", says("n")).set_conditional_entry_point(lambda s: "n", ["n"]).compile(),
        "add_conditional_edges",
        ["n"],
    ),
    "node retry": (
        lambda: StateGraph(S).add_node("n", flaky(), retry=AT_ONCE).add_edge(START, "n").compile(),
        "retry_policy=",
        2,
    ),
    "node input": (
        lambda: StateGraph(S).add_node("n", lambda s: {"log": [*s]}, input=X).add_edge(START, "n").compile(),
        "input_schema=",
        ["x"],
    ),
    "entrypoint retry": (entrypoint_with_retry, "retry_policy=", 2),
    "entrypoint config_schema": (entrypoint_with_config_schema, "context_schema=", "ann"),
    "task retry": (entrypoint_with_task, "retry_policy=", 2),
}


@pytest.mark.parametrize("name", OLD)
def test_an_older_spelling_works_and_is_warned_of(name: str, lane: Lane) -> None:
    make, newer, expected = OLD[name]
    with pytest.warns(TwinstepDeprecationWarning, match=f"is an older spelling; use .*{newer}") as caught:
        graph = make()
    assert [each.filename for each in caught] == [__file__], "the line of the program"
    out = lane.invoke(graph, {"x": 1}, context={"who": "ann"} if "config_schema" in name else None)
    assert expected in (out.get("log"), out.get("x"))


def test_a_deprecation_tells_since_when_and_until_when() -> None:
    warning = TwinstepDeprecationWarning("a() is old.", since=(0, 1))
    assert (warning.since, warning.expected_removal) == ((0, 1), (1, 0))
    assert str(warning) == "a() is old. Deprecated since twinstep 0.1, to be removed in 1.0."
    assert issubclass(TwinstepWarning, UserWarning)


@pytest.mark.parametrize("name", ["Send", "Interrupt"])
def test_names_that_have_moved_are_found_where_they_were(name: str) -> None:
    constants = import_module("twinstep.constants")
    with pytest.warns(TwinstepDeprecationWarning, match=rf"use twinstep\.types\.{name}"):
        assert getattr(constants, name) is getattr(import_module("twinstep.types"), name)
    with pytest.raises(AttributeError, match=r"'twinstep\.constants' has no attribute 'Sned'"):
        constants.Sned  # noqa: B018


def test_a_message_graph_is_one_list_of_messages(lane: Lane) -> None:
    with pytest.warns(TwinstepDeprecationWarning, match="MessagesState"):
        builder = MessageGraph()
    chat = builder.add_node("n", lambda messages: AIMessage(f"{len(messages)}")).add_edge(START, "n").add_edge("n", END)
    assert [m.content for m in lane.invoke(chat.compile(), "hi")] == ["hi", "1"]


def test_a_thread_id_may_be_a_uuid(saver: BaseCheckpointSaver, lane: Lane) -> None:
    id = uuid.UUID(int=7)
    graph = row({"n": says("n")}).compile(saver)
    lane.invoke(graph, {"log": ["in"]}, {"configurable": {"thread_id": id}})
    assert lane.state(graph, {"configurable": {"thread_id": str(id)}}).values == {"log": ["in", "n"]}


@pytest.mark.parametrize("method", ["stream", "invoke"])
@pytest.mark.parametrize(("during", "stored"), [(True, 4), (False, 1)])
def test_checkpoint_during_is_a_durability(
    during: bool, stored: int, method: str, lane: Lane, thread: dict[str, Any]
) -> None:
    graph = row({"n": says("n"), "m": says("m")}).compile(InMemorySaver())
    with pytest.warns(TwinstepDeprecationWarning, match="checkpoint_during= is an older spelling; use durability="):
        lane.call(graph, method, {}, thread, checkpoint_during=during)
    assert len(lane.history(graph, thread)) == stored


def test_both_spellings_of_the_durability_are_one_too_many(lane: Lane, thread: dict[str, Any]) -> None:
    graph = row({"n": says("n")}).compile(InMemorySaver())
    with pytest.raises(InvalidConfigError, match=r"Both durability= and checkpoint_during="):
        lane.invoke(graph, {}, thread, checkpoint_during=True, durability="sync")
    with pytest.warns(TwinstepDeprecationWarning), pytest.raises(InvalidConfigError, match="checkpoint_during 5"):
        lane.invoke(graph, {}, thread, checkpoint_during=5)


class Who(TypedDict):
    name: str


def test_a_config_schema_shows_the_context() -> None:
    graph = StateGraph(X, Who).add_node("n", says("n")).add_edge(START, "n").compile()
    with pytest.warns(TwinstepDeprecationWarning, match="use get_context_jsonschema"):
        model = graph.config_schema()
    assert model.model_validate({"configurable": {"name": "ann"}}).model_dump() == {"configurable": {"name": "ann"}}
    with pytest.raises(ValueError, match="name"):
        model.model_validate({"configurable": {}})
    with pytest.warns(TwinstepDeprecationWarning):
        assert not row({"n": says("n")}).compile().config_schema().model_fields


def test_a_compiled_graph_has_been_validated() -> None:
    graph = row({"n": says("n")}).compile(name="row")
    assert graph.validate() is graph
    assert graph.get_name() == "row"
    assert graph.get_name("Input") == "rowInput"
    assert issubclass(graph.input_schema, BaseModel)
    assert graph.output_schema.model_validate({"log": ["a"]}).model_dump() == {"log": ["a"]}


def test_warnings_are_filtered_by_the_names_there() -> None:
    for name in ("DeprecationWarning", "DeprecatedSinceV05", "DeprecatedSinceV10", "DeprecatedSinceV11"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", getattr(import_module("twinstep.warnings"), f"LangGraph{name}"))
            row({"n": says("n")}).set_finish_point("n")


def test_configs_are_patched_at_their_older_path() -> None:
    config = patch_configurable({"tags": ["a"], "configurable": {"thread_id": "1"}}, {"user": "b"})
    assert config == {"tags": ["a"], "configurable": {"thread_id": "1", "user": "b"}}
    assert ensure_config({"tags": ["a"]}, None, {"tags": ["b"]}) == {"tags": ["a", "b"]}


def test_what_a_server_tells_of_its_user_and_what_is_patched() -> None:
    info = ExecutionInfo("c", "ns", "task").patch(node_attempt=2)
    assert (info.node_attempt, info.task_id) == (2, "task")
    assert BaseUser("ann") == BaseUser("ann", display_name="", is_authenticated=True, permissions=())
