"""Learn to look into the past of a thread, and to branch off from it: nothing that was stored is ever changed.

Every superstep leaves a checkpoint. A run that starts from an older one is a fork: it becomes the thread's latest
state, and the branch before it stays in the history. `update_state` writes as if a node had, also into the past.

Output:
    first run: ['tea at 4', 'with milk', 'in the garden']
    history: 5 checkpoints
    before the second node: ['tea at 4'], next: ('taste',)
    again from there: ['tea at 4', 'with milk', 'in the garden'], ran: with milk, in the garden
    changed there: ['tea at 4', 'with lemon', 'in the garden'], ran: in the garden
    history: 10 checkpoints, sources: fork input loop update
    the first end is still there: True
"""

import operator
from collections.abc import Callable
from typing import Annotated, TypedDict

from twinstep import START, StateGraph
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.types import RunnableConfig

ran: list[str] = []


class Plan(TypedDict):
    """What was decided so far."""

    decided: Annotated[list[str], operator.add]


def deciding(what: str) -> Callable[[Plan], Plan]:
    """Make a node that decides something and notes that it ran."""

    def decide(plan: Plan) -> Plan:
        ran.append(what)
        return {"decided": [what]}

    return decide


steps = {"drink": "tea at 4", "taste": "with milk", "place": "in the garden"}
builder = StateGraph(Plan).add_sequence([(name, deciding(what)) for name, what in steps.items()])
graph = builder.add_edge(START, "drink").compile(InMemorySaver())
config: RunnableConfig = {"configurable": {"thread_id": "party"}}

print("first run:", graph.invoke({"decided": []}, config)["decided"])
history = list(graph.get_state_history(config))
print(f"history: {len(history)} checkpoints")
past = next(state for state in history if state.next == ("taste",))
print(f"before the second node: {past.values['decided']}, next: {past.next}")

ran.clear()
print(f"again from there: {graph.invoke(None, past.config)['decided']}, ran: {', '.join(ran)}")
ran.clear()
branch = graph.update_state(past.config, {"decided": ["with lemon"]}, as_node="taste")
print(f"changed there: {graph.invoke(None, branch)['decided']}, ran: {', '.join(ran)}")

sources = sorted({(state.metadata or {})["source"] for state in graph.get_state_history(config)})
print(f"history: {len(list(graph.get_state_history(config)))} checkpoints, sources: {' '.join(sources)}")
print("the first end is still there:", graph.get_state(history[0].config).values == history[0].values)
