"""Learn to do many things at once, in both styles: tasks that are not waited for yet, and `Send` packets of a graph.

Either way the results come in the order of the inputs, whichever finishes first, and `max_concurrency` limits how many
run at a time.

Output:
    tasks: [0, 1, 4, 9, 16, 25], at once: 6
    tasks, at most 2 at a time: [0, 1, 4, 9, 16, 25], at once: 2
    packets: [0, 1, 4, 9, 16, 25], at once: 6
"""

import operator
import time
from collections.abc import Callable
from typing import Annotated, TypedDict

from twinstep import START, Send, StateGraph, entrypoint, task

working: set[int] = set()
crowds: list[int] = []


def slow_square(n: int) -> int:
    """Square a number, the first ones most slowly, and note how many are at it."""
    working.add(n)
    crowds.append(len(working))
    time.sleep(0.25 - n / 50)
    working.discard(n)
    return n * n


square = task(slow_square)


@entrypoint()
def squares(numbers: list[int]) -> list[int]:
    """Square numbers in parallel tasks."""
    return [future.result() for future in [square(n) for n in numbers]]


class State(TypedDict, total=False):
    """Numbers and their squares."""

    numbers: list[int]
    squares: Annotated[list[int], operator.add]


graph = (
    StateGraph(State)
    .add_node("square", lambda n: {"squares": [slow_square(n)]})
    .add_conditional_edges(START, lambda state: [Send("square", n) for n in state["numbers"]], ["square"])
    .compile()
)

numbers = list(range(6))
ways: dict[str, Callable[[], list[int]]] = {
    "tasks": lambda: squares.invoke(numbers),
    "tasks, at most 2 at a time": lambda: squares.invoke(numbers, {"max_concurrency": 2}),
    "packets": lambda: graph.invoke({"numbers": numbers})["squares"],
}
for name, run in ways.items():
    crowds.clear()
    print(f"{name}: {run()}, at once: {max(crowds)}")
