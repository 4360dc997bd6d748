"""`task`: names, arguments, what is injected, and what can be a task."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Lane
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import EncodingError, GraphValidationError
from twinstep.func import entrypoint, task

Colour = Callable[[Callable[..., Any]], Callable[..., Any]]


def calls(work: Any, *args: Any, **kwargs: Any) -> Any:
    """Make an entrypoint that makes one call of a task."""

    @entrypoint()
    def program(x: Any) -> Any:
        return work(*args, **kwargs).result()

    return program


def test_arguments_are_passed_as_they_are_given(lane: Lane, colour: Colour) -> None:
    def collect(a: int, b: int = 2, *rest: int, c: int, d: int = 4, **more: int) -> list[Any]:
        return [a, b, rest, c, d, more]

    work = task(colour(collect))
    assert lane.invoke(calls(work, 1, c=3), 0) == [1, 2, (), 3, 4, {}]
    assert lane.invoke(calls(work, 1, 5, 6, 7, c=3, e=9), 0) == [1, 5, (6, 7), 3, 4, {"e": 9}]


def test_wrong_arguments_are_a_type_error(lane: Lane) -> None:
    with pytest.raises(TypeError, match="missing"):
        lane.invoke(calls(task(lambda a, b: None), 1), 0)


@pytest.mark.parametrize(
    "fn",
    [
        lambda config, writer, store, runtime: [config, writer, store, runtime],
        lambda x=0, *, config, writer, store, runtime: [config, writer, store, runtime],
    ],
    ids=["positional", "keyword only"],
)
def test_parameters_are_injected_by_name(lane: Lane, colour: Colour, fn: Any) -> None:
    def shape(*args: Any, **kwargs: Any) -> list[bool]:
        config, writer, store, runtime = fn(*args, **kwargs)
        return ["configurable" in config, callable(writer), store is None, runtime.context is None]

    work = task(colour(functools.wraps(fn)(shape)))
    assert lane.invoke(calls(work), 0, {"configurable": {}}) == [True] * 4


def test_a_given_argument_wins_over_an_injected_one(lane: Lane) -> None:
    work = task(lambda store, config=None: [store, config])
    assert lane.invoke(calls(work, "mine", config="too"), 0) == ["mine", "too"]


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    def after(self, n: int) -> int:
        return self.start + n

    @task
    def later(self, n: int) -> int:
        return self.start + n

    async def __call__(self, n: int) -> int:
        return self.start * n


@pytest.mark.parametrize(
    ("make", "name", "result"),
    [
        (lambda: task(Counter(10).after), "after", 12),
        (lambda: task(Counter(10)), "Counter", 20),
        (lambda: task(lambda n: n), "<lambda>", 2),
        (lambda: task(functools.partial(pow, 3)), "pow", 9),
        (lambda: task(functools.partial(Counter(1).after)), "after", 3),
        (lambda: task(abs), "abs", 2),
        (lambda: task(name="other")(abs), "other", 2),
    ],
)
def test_any_callable_can_be_a_task(lane: Lane, make: Callable[[], Any], name: str, result: int) -> None:
    chunks = lane.stream(calls(make(), 2), 0)
    assert chunks == [{name: result}, {"program": result}]


def test_a_task_defined_in_a_class_is_bound_to_its_instance(lane: Lane) -> None:
    assert lane.invoke(calls(Counter(10).later, 5), 0) == 15


def test_w48_a_name_leaves_the_function_as_it_is() -> None:
    def work(x: int) -> int:
        """Work."""
        return x

    named = task(name="other")(work)
    assert (work.__name__, named.name, named.func, named.__doc__) == ("work", "other", work, "Work.")


def test_w57_generators_are_refused() -> None:
    def steps(x: int) -> Any:
        yield x

    async def asteps(x: int) -> Any:
        yield x

    for fn in (steps, asteps):
        with pytest.raises(GraphValidationError, match="generator"):
            task(fn)


class Opaque:
    """Cannot be stored."""

    __slots__ = ("lock",)


def test_a_result_that_cannot_be_stored_is_an_error_that_names_it(lane: Lane, colour: Colour, thread: Any) -> None:
    work = task(colour(lambda: {"a": [Opaque()]}))

    @entrypoint(checkpointer=InMemorySaver())
    def program(x: int) -> None:
        work().result()

    with pytest.raises(EncodingError, match=r"a.*0.*Opaque"):
        lane.invoke(program, 1, thread)


def test_an_argument_need_not_be_storable(lane: Lane, thread: Any) -> None:
    work = task(lambda thing: type(thing).__name__)
    program = entrypoint(checkpointer=InMemorySaver())(lambda x: work(Opaque()).result())
    assert lane.invoke(program, 1, thread) == "Opaque"


def test_without_a_checkpointer_anything_may_be_passed(lane: Lane) -> None:
    marker = object()
    assert lane.invoke(calls(task(lambda x: x), marker), 0) is marker


@task
def at_the_top(x: int) -> int:
    """Double a number."""
    return 2 * x


def test_a_task_is_copied_and_pickled_as_a_function_is() -> None:
    assert copy.deepcopy({"run": [at_the_top]})["run"][0] is at_the_top
    assert copy.copy(at_the_top) is at_the_top
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top


def test_a_task_that_no_module_has_by_name_cannot_be_pickled() -> None:
    def local(x: int) -> int:
        return x

    for lost in (task(local), task(at_the_top.func)):
        with pytest.raises(EncodingError, match=r"cannot be pickled: that is done by name.*at the top of a module"):
            pickle.dumps(lost)
        assert copy.deepcopy(lost) is lost


@pytest.mark.parametrize("colours", ["plain", "coroutine", "turns"])
def test_tasks_may_call_tasks_two_hundred_levels_deep(colours: str, lane: Lane) -> None:
    def plain(n: int) -> int:
        return 0 if n == 0 else 1 + chosen(n - 1).result()

    async def coroutine(n: int) -> int:
        return 0 if n == 0 else 1 + await chosen(n - 1)

    tasks = {"plain": [task(plain)] * 2, "coroutine": [task(coroutine)] * 2, "turns": [task(plain), task(coroutine)]}

    def chosen(n: int) -> Any:
        return tasks[colours][n % 2](n)

    @entrypoint()
    def flow(n: int) -> int:
        return int(chosen(n).result())

    depth = 200 if colours != "turns" else 20
    assert lane.invoke(flow, depth) == depth
