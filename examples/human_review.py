"""Learn to stop for a human: `interrupt` asks, `Command(resume=...)` answers, also days later in another process.

The node runs again from its start when it is resumed, and the question then returns its answer. With `response_schema`
an answer that does not fit is refused before anything happens, so it can be given again.

Output:
    waiting for: Pay 120 EUR to Ada?
    status: interrupted, next: ('pay',)
    refused: 1 validation error for Verdict
    paid 100 EUR to Ada
    status: done, payments: 1
"""

from dataclasses import dataclass
from typing import TypedDict

from twinstep import START, Command, StateGraph, interrupt
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import is_invalid_resume
from twinstep.types import RunnableConfig

payments: list[str] = []


@dataclass
class Verdict:
    """What the human may say."""

    approved: bool
    limit: int


class State(TypedDict, total=False):
    """A payment and what came of it."""

    to: str
    amount: int
    result: str


def pay(state: State) -> State:
    """Ask, then pay: what has an effect comes after the question."""
    verdict = interrupt(f"Pay {state['amount']} EUR to {state['to']}?", response_schema=Verdict)
    if not verdict.approved:
        return {"result": "not paid"}
    amount = min(state["amount"], verdict.limit)
    payments.append(state["to"])
    return {"result": f"paid {amount} EUR to {state['to']}"}


graph = StateGraph(State).add_node(pay).add_edge(START, "pay").compile(checkpointer=InMemorySaver())
config: RunnableConfig = {"configurable": {"thread_id": "invoice 7"}}

graph.invoke({"to": "Ada", "amount": 120}, config)
snapshot = graph.get_state(config)
print("waiting for:", snapshot.interrupts[0].value)
print(f"status: {(snapshot.metadata or {})['status']}, next: {snapshot.next}")
try:
    graph.invoke(Command(resume={"approved": "perhaps", "limit": 100}), config)
except ValueError as error:
    print("refused:" if is_invalid_resume(error) else "failed:", str(error).splitlines()[0])
print(graph.invoke(Command(resume={"approved": True, "limit": 100}), config)["result"])
print(f"status: {(graph.get_state(config).metadata or {})['status']}, payments: {len(payments)}")
