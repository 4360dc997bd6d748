"""A graph inside a graph: one with a state of its own, called by a node; one that shares keys, used as a node."""

from typing import Any, TypedDict

from twinstep.graph import START, StateGraph


class Inner(TypedDict, total=False):
    bar: str
    baz: str


class Shared(TypedDict, total=False):
    foo: str
    local: str


class Outer(TypedDict, total=False):
    foo: str


inner = (
    StateGraph(Inner)
    .add_node("one", lambda state: {"baz": "baz"})
    .add_node("two", lambda state: {"bar": state["bar"] + state["baz"]})
    .add_edge(START, "one")
    .add_edge("one", "two")
    .compile()
)

shared = (
    StateGraph(Shared)
    .add_node("note", lambda state: {"local": "!"})
    .add_node("shout", lambda state: {"foo": state["foo"].upper() + state["local"]})
    .add_edge(START, "note")
    .add_edge("note", "shout")
    .compile()
)


def call_inner(state: Outer) -> Outer:
    return {"foo": inner.invoke({"bar": state["foo"]})["bar"]}


def run(lane: Any, saver: Any) -> list[Any]:
    graph = (
        StateGraph(Outer)
        .add_node("call_inner", call_inner)
        .add_node("shared", shared)
        .add_edge(START, "call_inner")
        .add_edge("call_inner", "shared")
        .compile()
    )
    chunks = lane.stream(graph, {"foo": "foo"}, stream_mode="updates", subgraphs=True)
    shown = [([level.partition(":")[0] for level in path], update) for path, update in chunks]
    return [lane.invoke(graph, {"foo": "foo"}), shown]


EXPECTED = [
    {"foo": "FOOBAZ!"},
    [
        (["call_inner"], {"one": {"baz": "baz"}}),
        (["call_inner"], {"two": {"bar": "foobaz"}}),
        ([], {"call_inner": {"foo": "foobaz"}}),
        (["shared"], {"note": {"local": "!"}}),
        (["shared"], {"shout": {"foo": "FOOBAZ!"}}),
        ([], {"shared": {"foo": "FOOBAZ!"}}),
    ],
]
