"""Reading a long thread back: every state is right, whatever skips what, and little has to be read."""

from __future__ import annotations

import operator
import random
from typing import Annotated, Any, TypedDict

import pytest

from twinstep.func import entrypoint
from twinstep.graph import START, StateGraph
from twinstep.pregel import lineage
from twinstep.types import Overwrite


class State(TypedDict, total=False):
    log: Annotated[list[int], operator.add]
    last: list[int] | None
    seen: dict[str, int]


def changes(turn: int, dice: random.Random) -> dict[str, Any]:
    log: Any = Overwrite([turn] * dice.randrange(3)) if dice.random() < 0.1 else [turn]
    update = {"log": log, "last": [turn] if dice.random() < 0.5 else None, "seen": {"turn": turn}}
    return {key: value for key, value in update.items() if dice.random() < 0.6}


@pytest.mark.parametrize("seed", range(6))
def test_every_state_of_a_long_thread_can_be_read(lane, saver, thread, seed, monkeypatch):
    monkeypatch.setattr(lineage, "STRIDE", 5)
    dice = random.Random(seed)
    builder = StateGraph(State).add_node("node", lambda state: changes(len(state.get("log", ())), dice))
    graph = builder.add_edge(START, "node").compile(saver)
    known = {}
    for _ in range(30):
        lane.invoke(graph, {"log": [-1]}, thread)
        state = lane.state(graph, thread)
        known[state.config["configurable"]["checkpoint_id"]] = state.values
        assert len(saver.load("1", "").rows) < 30
    found = {state.config["configurable"]["checkpoint_id"]: state for state in lane.history(graph, thread)}
    assert {id: found[id].values for id in known} == known
    assert any(row.base not in (row.id, row.parent) for row in saver.checkpoints("1", ""))
    fork = found[list(known)[7]]
    lane.update(graph, fork.config, {"log": [-2]}, as_node="node")
    assert lane.state(graph, thread).values == {**fork.values, "log": [*fork.values["log"], -2]}
    saver.delete_for_runs([found[list(known)[n]].metadata["run_id"] for n in (3, 4, 11)])
    left = {state.config["configurable"]["checkpoint_id"]: state.values for state in lane.history(graph, thread)}
    assert {id: known[id] for id in left if id in known} == {id: left[id] for id in left if id in known}
    assert len(set(known) - set(left)) == 3


def test_a_long_list_is_read_from_few_checkpoints(saver, thread):
    @entrypoint(checkpointer=saver)
    def flow(said: int, previous: list[int] | None) -> list[int]:
        return [*(previous or []), said]

    for turn in range(400):
        flow.invoke(turn, thread)
    assert flow.get_state(thread).values == list(range(400))
    assert len(saver.load("1", "").rows) < 2 * lineage.STRIDE
