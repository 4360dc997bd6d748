"""Learn what a state graph is: nodes read a shared state and return updates of it, edges say what runs next.

A plain key keeps the last value; a key with a reducer folds in what is written. The loop ends when the path function
returns END. This graph finds a square root by Newton's method.

Output:
    root of 2 = 1.41421356, after 5 steps
    root of 81 = 9.00000000, after 8 steps
    the limit: Recursion limit of 3 reached without hitting a stop condition in 'newton' (due: improve).
"""

import operator
from typing import Annotated, Literal, TypedDict

from twinstep import END, START, StateGraph
from twinstep.errors import GraphRecursionError


class State(TypedDict, total=False):
    """A number, the best guess of its root so far, and all guesses."""

    number: float
    guess: float
    guesses: Annotated[list[float], operator.add]


def begin(state: State) -> State:
    """Guess that the number is its own root."""
    return {"guess": state["number"], "guesses": [state["number"]]}


def improve(state: State) -> State:
    """Take the mean of the guess and the number divided by it."""
    guess = (state["guess"] + state["number"] / state["guess"]) / 2
    return {"guess": guess, "guesses": [guess]}


def good_enough(state: State) -> Literal["improve", "__end__"]:
    """Go on until the square is right."""
    return END if abs(state["guess"] ** 2 - state["number"]) < 1e-9 else "improve"


newton = (
    StateGraph(State)
    .add_node(begin)
    .add_node(improve)
    .add_edge(START, "begin")
    .add_edge("begin", "improve")
    .add_conditional_edges("improve", good_enough)
    .compile(name="newton")
)

for number in (2, 81):
    state = newton.invoke({"number": number})
    print(f"root of {number} = {state['guess']:.8f}, after {len(state['guesses'])} steps")
try:
    newton.invoke({"number": 2}, {"recursion_limit": 3})
except GraphRecursionError as error:
    print("the limit:", str(error).partition(" Check")[0])
