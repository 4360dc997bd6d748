"""Learn to call a compiled graph in an entrypoint: plain Python around a graph, one run, one stream.

The graph is called like a function. It uses the entrypoint's checkpointer and thread, and with `subgraphs=True` the
stream shows its steps too, each after the namespace it happened in.

Output:
    () {'gather': ['tea', 'milk', 'tea']}
    ('shopping',) {'count': {'amounts': {'tea': 2, 'milk': 1}}}
    ('shopping',) {'price': {'total': 7.5}}
    () {'shopping': 'milk x1, tea x2: 7.50'}
"""

from typing import TypedDict

from twinstep import START, StateGraph, entrypoint, task

PRICES = {"tea": 3.0, "milk": 1.5}


class Basket(TypedDict, total=False):
    """What is bought, how often, and what it costs."""

    items: list[str]
    amounts: dict[str, int]
    total: float


def count(basket: Basket) -> Basket:
    """Count equal items."""
    return {"amounts": {item: basket["items"].count(item) for item in dict.fromkeys(basket["items"])}}


def price(basket: Basket) -> Basket:
    """Add up the prices."""
    return {"total": sum(PRICES[item] * amount for item, amount in basket["amounts"].items())}


till = StateGraph(Basket).add_sequence([count, price]).add_edge(START, "count").compile()


@task
def gather(wishes: str) -> list[str]:
    """Read a list of wishes."""
    return [wish.strip() for wish in wishes.split(",")]


@entrypoint()
def shopping(wishes: str) -> str:
    """Buy what is wished for."""
    basket = till.invoke({"items": gather(wishes).result()})
    amounts = ", ".join(f"{item} x{amount}" for item, amount in sorted(basket["amounts"].items()))
    return f"{amounts}: {basket['total']:.2f}"


for namespace, update in shopping.stream("tea, milk, tea", subgraphs=True):
    print(tuple(level.partition(":")[0] for level in namespace), update)
