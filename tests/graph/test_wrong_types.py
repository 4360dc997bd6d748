"""Arguments of the wrong type are refused at once, by an error that names them and says what to give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.graph.kit import S, build, one, row, says
from twinstep.channels import EphemeralValue, LastValue
from twinstep.errors import GraphValidationError, InvalidArgumentError, InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.prebuilt import ToolNode, ValidationNode, create_react_agent
from twinstep.pregel import NodeBuilder, Pregel
from twinstep.store.memory import InMemoryStore
from twinstep.types import TimeoutPolicy, TracePolicy, interrupt


def compiled(**options: Any) -> Any:
    return row({"n": says("n")}).compile(**options)


def program(**options: Any) -> Any:
    return entrypoint(**options)(lambda x: x)


def node(**options: Any) -> Any:
    return one(says("n"), **options)


def by_hand(**options: Any) -> Any:
    copies = NodeBuilder().subscribe_only("i").do(lambda x: x).write_to("o")
    parts = {"nodes": {"n": copies}, "channels": {"i": EphemeralValue(int), "o": LastValue(int)}}
    return Pregel(**{**parts, "input_channels": "i", "output_channels": "o", **options})


def agent(**options: Any) -> Any:
    return create_react_agent("openai:gpt-4o", **{"tools": [], **options})


OPTIONS: list[tuple[Callable[..., Any], str, tuple[Any, ...]]] = [
    *((make, name, (5, "x", [])) for make in (compiled, program) for name in ("renamed", "migrations")),
    *((make, "version", ("x", [])) for make in (compiled, program)),
    *((make, "on_mismatch", (5, "x")) for make in (compiled, program)),
    *((make, "conflict_timeout", ("x", -1, True)) for make in (compiled, program)),
    (compiled, "name", (5,)),
    (compiled, "transformers", (5, "x", [5])),
    (program, "context_schema", (5, "x")),
    (lambda context_schema: StateGraph(S, context_schema), "context_schema", (5, "x", [])),
    (node, "metadata", (5, "x", [])),
    (node, "trace_policy", (5,)),
    (node, "destinations", (5, "x")),
    *((lambda **options: task(**options)(math.sqrt), name, (5, [])) for name in ("name", "key")),
    *((TracePolicy, name, (5,)) for name in ("process_inputs", "process_outputs")),
    (TimeoutPolicy, "refresh_on", (5, "x")),
    *((by_hand, f"{what}_channels", (5,)) for what in ("input", "output", "stream")),
    *((by_hand, name, (5, "x")) for name in ("nodes", "channels", "cache_policy", "stream_mode")),
    (by_hand, "step_timeout", ("x", -1)),
    (by_hand, "interrupt_before_nodes", (5,)),
    (InMemoryStore, "index", (5, [])),
    (InMemoryStore, "ttl", (5,)),
    (lambda batch: InMemoryStore().batch(batch), "batch", (5, None)),
    (lambda inputs: compiled().batch(inputs), "inputs", (5, "x")),
    (lambda copy: compiled().copy(copy), "copy", (5,)),
    (agent, "tools", (5, None)),
    (agent, "prompt", (5, [])),
    (agent, "response_format", (5,)),
    (agent, "state_schema", (5, "x")),
    (agent, "name", (5,)),
    (lambda tools: ToolNode(tools), "tools", (5, None)),
    *((lambda **options: ToolNode([], **options), name, (5,)) for name in ("name", "messages_key", "wrap_tool_call")),
    (lambda schemas: ValidationNode(schemas), "schemas", (5, None)),
    (lambda format_error: ValidationNode([], format_error=format_error), "format_error", (5,)),
    (lambda response_schema: interrupt(1, response_schema=response_schema), "response_schema", (5, "x", [])),
    (lambda key: interrupt(1, key=key), "key", (5, [])),
]
CASES = [(make, name, value) for make, name, values in OPTIONS for value in values]


@pytest.mark.parametrize(("make", "name", "value"), CASES, ids=lambda part: str(part)[:20])
def test_an_argument_of_the_wrong_type_is_refused_at_once(make: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        make(**{name: value})
    assert name.split("_")[0].rstrip("s") in str(caught.value)
    assert repr(value).strip("[]") in str(caught.value)


def test_such_an_error_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match=r"add_node\('n', metadata=\.\.\.\) takes a mapping, got 5\."):
        node(metadata=5)
    assert issubclass(InvalidArgumentError, ValueError)


@pytest.mark.parametrize("given", [{"renamed": {"q": 5}}, {"migrations": {"a": says("n")}}, {"migrations": {0: 5}}])
def test_what_is_in_a_mapping_is_looked_at_too(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"renamed=|migrations="):
        compiled(**given)


@task
def helper() -> None:
    """Do nothing."""


def test_what_things_are_called_now_has_to_exist() -> None:
    with pytest.raises(InvalidConfigError, match=r"called 'lgo' now.*\(x, log, n\).*mean 'log'"):
        compiled(renamed={"q": "lgo"})
    builder = build({"n": lambda state: helper().result()}, [(START, "n")])
    assert builder.compile(renamed={"a": "n", "b": "log", "c": "helper", "d": None})


def test_a_sequence_and_a_source_are_what_they_are_called() -> None:
    with pytest.raises(InvalidArgumentError, match=r"add_sequence\(\.\.\.\) takes a list of functions"):
        StateGraph(S).add_sequence(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="takes the name of a node"):
        StateGraph(S).add_conditional_edges([], says("n"))  # type: ignore[arg-type]


def test_a_function_of_the_standard_library_can_run_in_another_process() -> None:
    root = task(executor="process")(math.sqrt)

    @entrypoint()
    def flow(x: float) -> float:
        return root(x).result()

    assert flow.invoke(9.0) == 3.0
    with pytest.raises(GraphValidationError, match="only a function at the top level"):
        task(executor="process")([].append)
