"""Mistakes that would otherwise do nothing, or something else than was meant: each is an error that says what to do."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

import pytest

from tests.conftest import Lane
from tests.graph.kit import S, build, one, row, says
from twinstep.errors import GraphValidationError, InvalidUpdateError
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.types import Command


@task
def add(x: int) -> int:
    return x + 1


@dataclasses.dataclass
class Stranger:
    value: int = 1


RETURNED: dict[str, tuple[Any, str]] = {
    "the handle of a task": (lambda s: add(1), r"got the handle of a task: call \.result\(\)"),
    "entrypoint.final": (lambda s: entrypoint.final(value=1, save=2), "Expected dict, got entrypoint.final"),
    "an instance of another class": (lambda s: Stranger(), "Expected dict, got Stranger"),
    "an answer": (lambda s: Command(resume=1), r"Command\(resume=\.\.\.\) was returned by a node"),
    "a set of destinations": (lambda s: Command(goto={"n"}), "several are a list of these"),  # type: ignore[arg-type]
    "no destination": (lambda s: Command(goto=None), "goto None .* a destination is a node's name"),
    "another graph": (lambda s: Command(graph="other"), r"graph is None \(this graph\) or Command\.PARENT"),
    "END in capitals": (lambda s: Command(goto="END"), r"END is a constant: from twinstep\.graph import END"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_a_node_may_not_return_is_explained(name: str, lane: Lane) -> None:
    node, message = RETURNED[name]
    with pytest.raises(InvalidUpdateError, match=message) as caught:
        lane.invoke(one(node), {})
    assert "During task with name 'n'" in caught.value.__notes__[0]


@pytest.mark.parametrize("chosen", [{"n"}, {"n": 1}, 7])
def test_what_a_path_function_may_not_return_is_explained(chosen: Any, lane: Lane) -> None:
    graph = build({"n": says("n")}, []).add_conditional_edges(START, lambda s: chosen).compile()
    with pytest.raises(InvalidUpdateError, match=r"goto .*: a destination is a node's name, END or a Send packet"):
        lane.invoke(graph, {})


def test_an_entrypoint_may_not_return_a_handle(lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match=r"An entrypoint returned the handle of a task and not its result"):
        lane.invoke(entrypoint()(lambda x: add(x)), 1)


def test_a_command_given_as_input_is_for_the_graph_it_is_given_to(lane: Lane) -> None:
    with pytest.raises(InvalidUpdateError, match="graph= has to be left out"):
        lane.invoke(one(says("n")), Command(graph=Command.PARENT, update={"x": 1}))


@pytest.mark.parametrize(
    "schema", [None, "S", 5, [int], {"x": int}, lambda state: state], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("place", ["state_schema", "input_schema", "output_schema"])
def test_what_is_no_schema_is_refused(schema: Any, place: str) -> None:
    if schema is None and place != "state_schema":
        return
    with pytest.raises(GraphValidationError, match="A schema is a class such as a TypedDict, or a type such as int"):
        StateGraph(**{"state_schema": S, place: schema})


def test_a_command_of_an_error_handler_may_go_to_the_graph_around(lane: Lane) -> None:
    def fails(state: Any) -> dict[str, Any]:
        raise ValueError

    def handler(state: Any) -> Command[Any]:
        return Command(graph=Command.PARENT, goto="out", update={"log": ["handled"]})

    inner = row({"n": (fails, {"error_handler": handler})}).compile()
    outer = build({"sub": (inner, {"destinations": ["out"]}), "out": says("out")}, [(START, "sub"), ("out", END)])
    assert lane.invoke(outer.compile(), {})["log"] == ["handled", "out"]


def test_a_nested_graph_may_return_keys_that_its_parent_has_not(lane: Lane) -> None:
    class Wider(S):
        more: int

    inner = row({"n": lambda s: {"log": ["n"], "more": 3}}, Wider).compile()
    program = entrypoint()(lambda state: {"log": ["e"], "more": 3})
    assert lane.invoke(row({"sub": inner, "program": program}).compile(), {"x": 1}) == {"x": 1, "log": ["n", "e"]}


def test_an_annotation_that_names_nothing_is_named() -> None:
    class Lost(TypedDict):
        x: "Nowhere"  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(GraphValidationError, match="Schema Lost: name 'Nowhere' is not defined, which an annotation"):
        StateGraph(Lost)
