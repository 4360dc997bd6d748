"""`entrypoint`: input, output, what is injected, what a thread remembers, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_config, get_store, get_stream_writer
from twinstep.errors import (
    EmptyInputError,
    GraphValidationError,
    InvalidConfigError,
    InvalidUpdateError,
    OutsideRunError,
)
from twinstep.func import entrypoint, task
from twinstep.runtime import ExecutionInfo, Runtime, get_runtime
from twinstep.store.memory import InMemoryStore
from twinstep.types import Command, GraphOutput, interrupt

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


# ---------------------------------------------------------------------- input and output


@pytest.mark.parametrize("value", [0, "", False, [], {}, (1, 2), {"a": [1]}])
def test_any_value_but_none_goes_in_and_any_value_comes_out(lane: Lane, colour: Colour, value: Any) -> None:
    program = entrypoint()(colour(lambda x: x))
    assert lane.invoke(program, value) == value


def test_none_may_be_returned(lane: Lane) -> None:
    program = entrypoint()(lambda x: None)
    assert lane.invoke(program, 1) is None
    assert lane.stream(program, 1) == [{"<lambda>": None}]


def test_none_is_no_input(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    ran: list[Any] = []
    for program, config in (
        (entrypoint()(ran.append), {}),
        (entrypoint(checkpointer=saver)(ran.append), thread),
    ):
        with pytest.raises(EmptyInputError, match="received no input"):
            lane.invoke(program, None, config)
    assert ran == []


def test_only_the_first_parameter_is_the_input() -> None:
    def two(x: int, extra: int) -> int:
        return x + extra

    def misspelt(x: int, *, previuos: int) -> int:
        return x

    with pytest.raises(GraphValidationError, match=r"takes one input, 'x'; nothing would fill 'extra'\. Take one"):
        entrypoint()(two)
    with pytest.raises(GraphValidationError, match=r"'previuos'.*Did you mean 'previous'"):
        entrypoint()(misspelt)


def test_variable_parameters_and_builtins_can_be_entrypoints(lane: Lane) -> None:
    assert lane.invoke(entrypoint()(lambda *args, **kwargs: (args, kwargs)), 1) == ((1,), {})
    assert lane.invoke(entrypoint()(int), "3") == 3


def test_a_default_of_a_further_parameter_is_used(lane: Lane, colour: Colour) -> None:
    program = entrypoint()(colour(lambda x, extra=5: x + extra))
    assert lane.invoke(program, 1) == 6


def test_one_step_is_enough_for_a_recursion_limit_of_one(lane: Lane) -> None:
    program = entrypoint()(lambda x: x + 1)
    assert lane.invoke(program, 1, {"recursion_limit": 1}) == 2


def test_methods_and_callable_objects_can_be_entrypoints(lane: Lane) -> None:
    class Shop:
        price = 3

        def cost(self, n: int) -> int:
            return self.price * n

        def __call__(self, n: int) -> int:
            return -self.cost(n)

    assert lane.invoke(entrypoint()(Shop().cost), 2) == 6
    assert lane.invoke(entrypoint()(Shop()), 2) == -6


def test_version_2_returns_a_graph_output(lane: Lane) -> None:
    assert lane.invoke(entrypoint()(lambda x: x + 1), 1, version="v2") == GraphOutput(2)


def test_batch_runs_each_input(lane: Lane) -> None:
    assert lane.call(entrypoint()(lambda x: x + 1), "batch", [1, 2, 3]) == [2, 3, 4]


def test_w22_a_program_has_the_name_and_the_docstring_of_its_function() -> None:
    @entrypoint()
    def program(x: int) -> int:
        """Do it."""
        return x

    assert (program.name, program.__doc__) == ("program", "Do it.")


# ---------------------------------------------------------------------- refused


def test_a_function_without_parameters_is_refused() -> None:
    with pytest.raises(GraphValidationError, match="at least one parameter"):
        entrypoint()(lambda: 1)  # type: ignore[arg-type, misc]


def test_generators_are_refused() -> None:
    def steps(x: int) -> Any:
        yield x

    async def asteps(x: int) -> Any:
        yield x

    for fn in (steps, asteps):
        with pytest.raises(GraphValidationError, match="generator"):
            entrypoint()(fn)


def test_a_decorator_without_brackets_is_refused() -> None:
    with pytest.raises(GraphValidationError, match=r"@entrypoint\(\)"):
        entrypoint(lambda x: x)  # type: ignore[arg-type]


def test_final_is_annotated_with_two_types() -> None:
    with pytest.raises((GraphValidationError, TypeError)):

        @entrypoint()
        def program(x: int) -> entrypoint.final[int]:  # type: ignore[type-arg]
            return entrypoint.final(value=x, save=x)


def test_what_is_no_checkpointer_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="str"):
        entrypoint(checkpointer="memory")(lambda x: x)  # type: ignore[arg-type]


def test_w45_a_thread_id_is_needed_with_a_checkpointer(lane: Lane) -> None:
    with pytest.raises(InvalidConfigError, match="thread_id"):
        lane.invoke(entrypoint(checkpointer=InMemorySaver())(lambda x: x), 1)


def test_an_inherited_checkpointer_needs_a_caller(lane: Lane, thread: Any) -> None:
    with pytest.raises(InvalidConfigError, match="checkpointer=True"):
        lane.invoke(entrypoint(checkpointer=True)(lambda x: x), 1, thread)


# ---------------------------------------------------------------------- injection


@dataclass
class Settings:
    name: str


def test_parameters_are_filled_by_name(lane: Lane, colour: Colour) -> None:
    store = InMemoryStore()

    def body(x: int, config, previous, *, store, writer, runtime):
        writer("hello")
        return [config["configurable"]["user"], previous, store, runtime.context.name, x]

    program = entrypoint(store=store, context_schema=Settings)(colour(body))
    config = {"configurable": {"user": "u"}}
    chunks = lane.stream(program, 1, config, context=Settings("Ada"), stream_mode=["custom", "values"])
    assert chunks == [("custom", "hello"), ("values", ["u", None, store, "Ada", 1])]


def test_the_annotation_of_an_injected_parameter_does_not_matter(lane: Lane) -> None:
    @entrypoint()
    def program(x: int, config: dict, writer: Any, runtime: Runtime[Any] | None) -> bool:
        writer(None)
        return "configurable" in config and runtime is not None

    assert lane.invoke(program, 1) is True


def test_helpers_find_the_run_they_are_called_in(lane: Lane, colour: Colour) -> None:
    store = InMemoryStore()

    def inside(_: Any) -> Any:
        get_stream_writer()("hi")
        return get_store() is store, get_config()["configurable"]["user"], get_runtime().context["a"]

    work = task(inside, name="work")
    program = entrypoint(store=store)(colour(lambda x: [inside(x)]))
    nested = entrypoint(store=store)(lambda x: [work(x).result()])
    config = {"configurable": {"user": "u"}}
    for one in (program, nested):
        chunks = lane.stream(one, 1, config, context={"a": 5}, stream_mode=["custom", "values"])
        assert chunks == [("custom", "hi"), ("values", [(True, "u", 5)])]


@pytest.mark.parametrize("helper", [get_config, get_store, get_stream_writer, get_runtime, lambda: interrupt("?")])
def test_helpers_refuse_to_work_outside_of_a_run(helper: Callable[[], Any]) -> None:
    with pytest.raises(OutsideRunError, match="outside of a run"):
        helper()


def test_a_store_that_was_not_given_is_none_or_an_error(lane: Lane) -> None:
    @entrypoint()
    def program(x: int, store: Any) -> Any:
        with pytest.raises(OutsideRunError, match="no store"):
            get_store()
        return store

    assert lane.invoke(program, 1) is None


def test_execution_info_tells_where_the_code_runs(lane: Lane, thread: Any) -> None:
    @task
    def work(runtime: Any = None) -> ExecutionInfo:
        info: ExecutionInfo = runtime.execution_info
        return info

    @entrypoint(checkpointer=InMemorySaver())
    def program(x: int, runtime: Any) -> Any:
        inner, info = work().result(), runtime.execution_info
        return [info.thread_id, info.node_attempt, info.run_id == inner.run_id, info.task_id != inner.task_id]

    assert lane.invoke(program, 1, thread) == ["1", 1, True, True]


def test_the_context_is_made_the_schema_or_refused(lane: Lane) -> None:
    program = entrypoint(context_schema=Settings)(lambda x, runtime: runtime.context)
    assert lane.invoke(program, 1, context={"name": "Ada"}) == Settings("Ada")
    with pytest.raises(InvalidConfigError, match="Settings"):
        lane.invoke(program, 1, context={"nom": "Ada"})


# ---------------------------------------------------------------------- what a thread remembers


def test_previous_is_the_last_result_of_the_thread(lane: Lane, saver: BaseCheckpointSaver, colour: Colour) -> None:
    program = entrypoint(checkpointer=saver)(colour(lambda x, previous: x + (previous or 0)))
    one, other = ({"configurable": {"thread_id": name}} for name in ("one", "other"))
    assert [lane.invoke(program, x, one) for x in (1, 2, 3)] == [1, 3, 6]
    assert lane.invoke(program, 5, other) == 5


def test_previous_is_none_without_a_checkpointer(lane: Lane) -> None:
    program = entrypoint()(lambda x, previous: previous)
    assert [lane.invoke(program, 1), lane.invoke(program, 1)] == [None, None]


def accumulate(saver: BaseCheckpointSaver, colour: Colour) -> Any:
    def body(number: int, *, previous: Any = None) -> entrypoint.final[int, int]:
        previous = previous or 0
        return entrypoint.final(value=previous, save=previous + number)

    return entrypoint(checkpointer=saver)(colour(body))


def test_final_returns_one_value_and_saves_another(
    lane: Lane, saver: BaseCheckpointSaver, colour: Colour, thread: Any
) -> None:
    program = accumulate(saver, colour)
    assert [lane.invoke(program, n, thread) for n in (1, 2, 3)] == [0, 1, 3]
    assert lane.state(program, thread).values == 3  # what was returned, not what was saved
    assert lane.stream(program, 4, thread) == [{"body": 6}]


def test_saving_none_makes_the_next_run_the_first(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    @entrypoint(checkpointer=saver)
    def program(x: int, previous: Any) -> Any:
        return entrypoint.final(value=previous, save=x or None)

    assert [lane.invoke(program, x, thread) for x in (1, 0, 2, 3)] == [None, 1, None, 2]


def test_a_failed_run_leaves_previous_as_it_was(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    @entrypoint(checkpointer=saver)
    def program(x: int, previous: Any) -> Any:
        if x < 0:
            raise ValueError(x)
        return [previous, x]

    lane.invoke(program, 1, thread)
    with pytest.raises(ValueError, match="-1"):
        lane.invoke(program, -1, thread)
    assert lane.invoke(program, 2, thread) == [[None, 1], 2]


def test_a_run_makes_two_checkpoints(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    program = entrypoint(checkpointer=saver)(lambda x: x + 1)
    lane.invoke(program, 1, thread)
    history = lane.history(program, thread)
    assert [(s.metadata["source"], s.metadata["step"], s.values, s.next) for s in history] == [
        ("loop", 0, 2, ()),
        ("input", -1, None, ("<lambda>",)),
    ]
    assert lane.state(program, thread).metadata["status"] == "done"


def test_the_state_is_the_returned_value(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    program = entrypoint(checkpointer=saver)(lambda x: {"n": x})
    assert lane.state(program, thread).values == {}  # nothing is known of the thread
    lane.invoke(program, 1, thread)
    assert lane.state(program, thread).values == {"n": 1}


def test_update_state_replaces_the_result_and_what_is_remembered(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any
) -> None:
    program = entrypoint(checkpointer=saver)(lambda x, previous: [previous, x])
    lane.invoke(program, 1, thread)
    lane.update(program, thread, "changed")
    assert lane.state(program, thread).values == "changed"
    assert lane.invoke(program, 2, thread) == ["changed", 2]


def test_none_on_a_finished_thread_returns_the_result_again(
    lane: Lane, saver: BaseCheckpointSaver, thread: Any
) -> None:
    ran: list[int] = []

    @entrypoint(checkpointer=saver)
    def program(x: int) -> list[int]:
        ran.append(x)
        return [x]

    lane.invoke(program, 1, thread)
    assert lane.invoke(program, None, thread) == [1]
    assert ran == [1]


def test_a_thread_id_may_be_a_number(lane: Lane) -> None:
    program = entrypoint(checkpointer=InMemorySaver())(lambda x, previous: [previous, x])
    lane.invoke(program, 1, {"configurable": {"thread_id": 7}})
    assert lane.invoke(program, 2, {"configurable": {"thread_id": "7"}}) == [[None, 1], 2]


def test_what_a_caller_does_to_a_result_is_not_remembered(lane: Lane, saver: Any, thread: Any) -> None:
    program = entrypoint(checkpointer=saver)(lambda x, previous: [*(previous or []), x])
    lane.invoke(program, 1, thread).append("mine")
    lane.state(program, thread).values.append("mine too")
    assert lane.invoke(program, 2, thread) == [1, 2]


def test_what_a_failed_run_does_to_previous_is_not_remembered(lane: Lane, saver: Any, thread: Any) -> None:
    @entrypoint(checkpointer=saver)
    def program(x: int, previous: Any) -> Any:
        seen = [*(previous or [])]
        if previous:
            previous.append("changed")
        if x < 0:
            raise ValueError(x)
        return [*seen, x]

    lane.invoke(program, 1, thread)
    with pytest.raises(ValueError, match="-2"):
        lane.invoke(program, -2, thread)
    assert lane.invoke(program, 3, thread) == [1, 3]


def test_update_state_ends_a_run_that_waits_for_an_answer(lane: Lane, saver: Any, thread: Any) -> None:
    program = entrypoint(checkpointer=saver)(lambda x, previous: [previous, interrupt("?")])
    lane.invoke(program, 1, thread)
    lane.update(program, thread, "decided")
    state = lane.state(program, thread)
    assert (state.values, state.next, state.interrupts) == ("decided", (), ())
    assert lane.invoke(program, None, thread) == "decided"
    lane.invoke(program, 2, thread)
    assert lane.invoke(program, Command(resume="a"), thread) == ["decided", "a"]


@pytest.mark.parametrize(
    "command", [Command(update={"a": 1}), Command(goto="x"), Command(resume=1, update=3)], ids=repr
)
def test_a_command_for_graphs_is_refused_and_changes_nothing(
    lane: Lane, saver: Any, thread: Any, command: Command[Any]
) -> None:
    program = entrypoint(checkpointer=saver)(lambda x: interrupt("?"))
    lane.invoke(program, 1, thread)
    with pytest.raises(InvalidUpdateError, match="an entrypoint has no"):
        lane.invoke(program, command, thread)
    assert lane.invoke(program, Command(resume="a"), thread) == "a"


# ---------------------------------------------------------------------- long-term memory


def test_a_store_is_shared_by_threads(lane: Lane, colour: Colour, saver: BaseCheckpointSaver) -> None:
    def body(text: str, store: Any, config: Any) -> list[str]:
        namespace = ("memories", config["configurable"]["user"])
        known = [item.value["text"] for item in store.search(namespace)]
        store.put(namespace, text, {"text": text})
        return known

    program = entrypoint(checkpointer=saver, store=InMemoryStore())(colour(body))

    def say(text: str, thread: str, user: str) -> Any:
        return lane.invoke(program, text, {"configurable": {"thread_id": thread, "user": user}})

    assert say("likes tea", "1", "ada") == []
    assert say("is here", "2", "ada") == ["likes tea"]
    assert say("hello", "3", "bob") == []


def test_a_chatbot_remembers_the_messages_of_its_thread(lane: Lane, saver: BaseCheckpointSaver) -> None:
    @task
    def answer(messages: list[dict[str, str]]) -> dict[str, str]:
        names = [m["content"].removeprefix("I am ") for m in messages if m["content"].startswith("I am ")]
        return {"role": "assistant", "content": f"Hello {names[-1]}" if names else "Who are you?"}

    @entrypoint(checkpointer=saver)
    def chat(messages: list[dict[str, str]], *, previous: Any = None) -> Any:
        messages = [*(previous or []), *messages]
        reply = answer(messages).result()
        return entrypoint.final(value=reply["content"], save=[*messages, reply])

    def say(text: str, thread: str) -> Any:
        return lane.invoke(chat, [{"role": "user", "content": text}], {"configurable": {"thread_id": thread}})

    assert say("I am Bob", "1") == "Hello Bob"
    assert say("What is my name?", "1") == "Hello Bob"
    assert say("What is my name?", "2") == "Who are you?"


def test_the_default_of_previous_holds_until_something_is_saved(lane: Lane, saver: Any, thread: dict[str, Any]) -> None:
    @entrypoint(checkpointer=saver)
    def count(step: int, previous: int = 5) -> int:
        return previous + step

    assert [lane.invoke(count, 1, thread), lane.invoke(count, 1, thread)] == [6, 7]
    assert lane.invoke(entrypoint()(count.func), 1) == 6


@pytest.mark.parametrize("pack", [lambda h: [h], lambda h: (1, h), lambda h: {"a": h}, lambda h: h])
@pytest.mark.parametrize("final", [False, True])
def test_handles_that_were_not_waited_for_are_no_result(pack: Any, final: bool, lane: Lane) -> None:
    @task
    def one() -> int:
        return 1

    @entrypoint()
    def flow(x: int) -> Any:
        return entrypoint.final(value=1, save=pack(one())) if final else pack(one())

    with pytest.raises(InvalidUpdateError, match=r"An entrypoint returned .*handle.*call \.result\(\) on it"):
        lane.invoke(flow, 1)
