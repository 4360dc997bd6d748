"""Learn to do many things at once, in both styles: tasks that are not waited for yet, and `Send` packets of a graph.

Either way the results come in the order of the inputs, whichever finishes first, and `max_concurrency` limits how many
run at a time.

Output:
    tasks: [0, 1, 4, 9, 16, 25, 36, 49], at once: 8
    tasks, at most 2 at a time: [0, 1, 4, 9, 16, 25, 36, 49], at once: 2
    packets: [0, 1, 4, 9, 16, 25, 36, 49], at once: 8
"""

import operator
import threading
import time
from typing import Annotated, TypedDict

from twinstep import START, Send, StateGraph, entrypoint, task


class Meter:
    """Counts how many are at work at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def square(self, n: int) -> int:
        """Square a number slowly; the first takes longest."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.2 - n / 100)
        with self.lock:
            self.now -= 1
        return n * n


meter = Meter()
square = task(meter.square)


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
    .add_node("square", lambda n: {"squares": [meter.square(n)]})
    .add_conditional_edges(START, lambda state: [Send("square", n) for n in state["numbers"]], ["square"])
    .compile()
)

print(f"tasks: {squares.invoke(list(range(8)))}, at once: {meter.most}")
meter.most = 0
print(f"tasks, at most 2 at a time: {squares.invoke(list(range(8)), {'max_concurrency': 2})}, at once: {meter.most}")
meter.most = 0
print(f"packets: {graph.invoke({'numbers': list(range(8))})['squares']}, at once: {meter.most}")
