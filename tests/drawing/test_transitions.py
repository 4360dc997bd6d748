"""Which nodes and edges a drawing shows."""

import operator
from typing import Annotated, Any, Literal, TypedDict

import pytest

from tests.drawing.kit import arrows, choose, idle, loop, nodes, wide
from tests.graph.kit import S, build
from twinstep.channels import EphemeralValue, LastValue
from twinstep.drawing import Node
from twinstep.errors import NodeError
from twinstep.func import entrypoint
from twinstep.graph import END, START, StateGraph
from twinstep.pregel import NodeBuilder, Pregel
from twinstep.types import Command, Send


def chain():
    return build(nodes("a b"), [(START, "a"), ("a", "b")])


def jumping(target):
    def jump(state: S) -> Any:
        return Command(goto="b")

    command: Any = Command
    jump.__annotations__["return"] = command[target]
    return jump


def test_nodes_carry_what_they_run():
    graph = chain().compile().get_graph()
    assert graph.nodes == {
        "__start__": Node("__start__", "__start__"),
        "a": Node("a", "a", idle),
        "b": Node("b", "b", idle),
        "__end__": Node("__end__", "__end__"),
    }
    assert graph.first_node() == graph.nodes["__start__"]
    assert graph.last_node() == graph.nodes["__end__"]


@pytest.mark.parametrize(
    ("builder", "shown"),
    [
        (chain(), ["__start__>a", "a>b", "b>__end__"]),
        (wide(), ["__start__>s1", "__start__>s2", "s1>__end__", "s2>__end__"]),
        (loop(), ["__start__>agent", "agent?__end__=answer", "agent?tools=call", "tools>agent"]),
        (chain().add_conditional_edges("b", choose), ["__start__>a", "a>b", "b?__end__", "b?b"]),
        (
            build(nodes("a b"), [(START, "a")]).add_conditional_edges("a", lambda s: END),
            ["__start__>a", "a?__end__", "a?b", "b>__end__"],
        ),
        (
            build(nodes("a b"), [(START, "a")]).add_conditional_edges("a", lambda s: 1, {1: "b", 2: "b"}),
            ["__start__>a", "a?b=1, 2", "b>__end__"],
        ),
        (
            build(nodes("a b"), [(START, "a"), ("a", "b")]).add_conditional_edges("a", lambda s: 1, {1: "b"}),
            ["__start__>a", "a>b", "b>__end__"],
        ),
        (
            build(nodes("a b"), [(START, "a")]).add_conditional_edges("a", lambda s: [Send("b", {})], ["b"]),
            ["__start__>a", "a?b", "b>__end__"],
        ),
        (
            build({"a": jumping(Literal["b", "__end__"]), "b": idle}, [(START, "a")]),
            ["__start__>a", "a?__end__", "a?b", "b>__end__"],
        ),
        (
            build({"a": (idle, {"destinations": {"b": "go"}}), "b": idle}, [(START, "a")]),
            ["__start__>a", "a?b=go", "b>__end__"],
        ),
        (build({"a": jumping(Literal["__parent__"])}, [(START, "a")]), ["__start__>a", "a?__end__=parent"]),
        (
            build(nodes("a b c"), [(START, "a"), (START, "b"), (["a", "b"], "c")]),
            ["__start__>a", "__start__>b", "a>c", "b>c", "c>__end__"],
        ),
    ],
    ids=[
        *("chain", "wide", "loop", "literal", "open", "labels", "static"),
        *("send", "command", "destinations", "parent", "join"),
    ],
)
def test_edges_are_those_that_are_declared(builder, shown):
    assert arrows(builder.compile().get_graph()) == shown


def test_a_join_of_some_says_how_many():
    graph = build(nodes("a b c d"), [(START, name) for name in "abc"])
    assert arrows(graph.add_edge(["a", "b", "c"], "d", join=2).compile().get_graph())[3:6] == [
        "a>d=2 of 3",
        "b>d=2 of 3",
        "c>d=2 of 3",
    ]


def test_an_error_handler_shows_where_it_leads():
    def rescue(state: S, error: NodeError) -> Command[Literal["b"]]:
        return Command(goto="b")

    graph = build({"a": (idle, {"error_handler": rescue}), "b": idle}, [(START, "a"), ("a", END)])
    graph.add_edge("b", END)
    assert "a?b=error" in arrows(graph.compile().get_graph())


def test_w38_a_deferred_node_has_no_edges_that_do_not_exist():
    graph = build(
        {**nodes("a b"), "c": (idle, {"defer": True})},
        [(START, "a"), (START, "b"), (["b", "c"], END), ("a", "c")],
    )
    assert arrows(graph.compile().get_graph()) == ["__start__>a", "__start__>b", "a>c", "b>__end__", "c>__end__"]


def test_metadata_breakpoints_and_deferring_are_shown_at_the_node():
    graph = build(
        {"a": (idle, {"metadata": {"k": "v"}}), "b": (idle, {"defer": True}), "c": idle},
        [(START, "a"), ("a", "b"), ("b", "c")],
    )
    drawn = graph.compile(interrupt_before=["a"], interrupt_after="*").get_graph().nodes
    assert drawn["a"].metadata == {"k": "v", "__interrupt": "before,after"}
    assert drawn["b"].metadata == {"defer": True, "__interrupt": "after"}
    assert drawn["c"].metadata == {"__interrupt": "after"}


def test_what_is_added_later_is_not_shown():
    builder = chain()
    graph = builder.compile()
    builder.add_edge("b", "a")
    assert arrows(graph.get_graph()) == ["__start__>a", "a>b", "b>__end__"]


def around(inner, name="b"):
    return build({"a": idle, name: inner, "c": idle}, [(START, "a"), ("a", name), (name, "c")]).compile()


@pytest.mark.parametrize(
    ("inner", "shown"),
    [
        (chain(), "a>b:a b:b>c b:a>b:b"),
        (
            wide(),
            "a>b:__start__ b:__end__>c b:__start__>b:s1 b:__start__>b:s2 b:s1>b:__end__ b:s2>b:__end__",
        ),
        (
            loop(),
            "a>b:__start__ b:__end__>c b:__start__>b:agent b:agent?b:__end__=answer b:agent?b:tools=call "
            "b:tools>b:agent",
        ),
    ],
    ids=["chain", "wide", "loop"],
)
def test_xray_opens_nested_graphs(inner, shown):
    graph = around(inner.compile()).get_graph(xray=True)
    assert sorted(arrows(graph)) == sorted(["__start__>a", "c>__end__", *shown.split()])
    assert all(node.name == id.rpartition(":")[2] for id, node in graph.nodes.items())


def test_xray_goes_as_deep_as_it_is_told():
    outer = around(around(chain().compile()), "n")
    assert "n" in outer.get_graph().nodes
    assert "n:b" in outer.get_graph(xray=1).nodes
    assert "n:b:a" in outer.get_graph(xray=2).nodes
    assert outer.get_graph(xray=2) == outer.get_graph(xray=True)


def test_xray_opens_what_a_function_calls_and_entrypoints():
    inner = chain().compile()

    @entrypoint()
    def work(state: S) -> S:
        return state

    calls = around(lambda state: inner.invoke(state)).get_graph(xray=True)
    assert {"b:a", "b:b"} < calls.nodes.keys()
    assert arrows(around(work).get_graph(xray=True)) == ["__start__>a", "a>b:work", "b:work>c", "c>__end__"]


def test_json_is_plain_data():
    class State(TypedDict):
        log: Annotated[list[str], operator.add]

    graph = StateGraph(State).add_node("a", idle, metadata={"k": 1}).add_node("b", around(idle)).add_edge(START, "a")
    graph.add_conditional_edges("a", lambda s: "yes", {"yes": "b"})
    assert graph.compile().get_graph().to_json() == {
        "nodes": [
            {"id": "__start__"},
            {
                "id": "a",
                "type": "runnable",
                "data": {"id": ["tests", "drawing", "kit", "idle"], "name": "a"},
                "metadata": {"k": 1},
            },
            {
                "id": "b",
                "type": "runnable",
                "data": {"id": ["twinstep", "graph", "state", "CompiledStateGraph"], "name": "b"},
            },
            {"id": "__end__"},
        ],
        "edges": [
            {"source": "__start__", "target": "a"},
            {"source": "a", "target": "b", "data": "yes", "conditional": True},
            {"source": "b", "target": "__end__"},
        ],
    }


def test_a_program_of_channels_shows_who_starts_whom():
    app = Pregel(
        nodes={
            "one": NodeBuilder().subscribe_only("a").do(str.upper).write_to("b", "c"),
            "two": NodeBuilder().subscribe_to("b").do(idle).write_to("d"),
            "three": NodeBuilder().subscribe_to("c", "d").do(idle).write_to("d"),
        },
        channels={"a": EphemeralValue(str), "b": LastValue(str), "c": LastValue(str), "d": LastValue(int)},
        input_channels="a",
        output_channels=["c", "d"],
    )
    assert arrows(app.get_graph()) == [
        "__start__>one",
        *("one>__end__", "one>three", "one>two"),
        *("three>__end__", "three>three"),
        *("two>__end__", "two>three"),
    ]
    assert app.get_input_jsonschema() == {"title": "LangGraphInput", "type": "string"}
    assert app.get_output_jsonschema() == {
        "properties": {"c": {"title": "C", "type": "string"}, "d": {"title": "D", "type": "integer"}},
        "title": "LangGraphOutput",
        "type": "object",
    }
