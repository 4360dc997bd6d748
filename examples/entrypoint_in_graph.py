"""Learn to use entrypoints in a graph: as a node of their own, or called by the function of a node.

An entrypoint that is a node gets the state and returns an update. One that is called in a node takes and returns what
it likes, and its tasks are recorded like any other.

Output:
    {'text': 'the engine runs the engine of the town', 'words': 8, 'common': ['the', 'engine'], 'shout': 'THE ENGINE'}
"""

from collections import Counter
from typing import TypedDict

from twinstep import START, StateGraph, entrypoint, task


class State(TypedDict, total=False):
    """A text and what was found in it."""

    text: str
    words: int
    common: list[str]
    shout: str


@task
def split(text: str) -> list[str]:
    """Split a text into words."""
    return text.split()


@entrypoint()
def statistics(state: State) -> State:
    """Find how many words there are, and the two most common."""
    words = split(state["text"]).result()
    return {"words": len(words), "common": [word for word, _ in Counter(words).most_common(2)]}


@task
def louder(word: str) -> str:
    """Write a word in capitals."""
    return word.upper()


@entrypoint()
def loud(words: list[str]) -> str:
    """Write words in capitals, all at once."""
    return " ".join(future.result() for future in [louder(word) for word in words])


def shout(state: State) -> State:
    """Call an entrypoint in the middle of a node."""
    return {"shout": loud.invoke(state["common"])}


graph = (
    StateGraph(State)
    .add_node("statistics", statistics)
    .add_node(shout)
    .add_edge(START, "statistics")
    .add_edge("statistics", "shout")
    .compile()
)
print(graph.invoke({"text": "the engine runs the engine of the town"}))
