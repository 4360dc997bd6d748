"""The surprises of the reference in what is stored (behaviour.md, section 11), and what happens here instead."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter, OrderedDict, defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Lane
from tests.warts.kit import one_node, parallel
from twinstep import register_type
from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.checkpoint.sqlite.aio import AsyncSqliteSaver
from twinstep.errors import CheckpointNotFoundError, EncodingError, InvalidConfigError, ThreadConflictError
from twinstep.func import entrypoint
from twinstep.types import interrupt


def test_w10_durability_without_a_checkpointer_is_no_crash(lane: Lane) -> None:
    with pytest.warns(UserWarning, match="durability"):
        assert lane.invoke(one_node(lambda state: {"x": 1}), {"x": 0}, durability="sync")["x"] == 1


def test_w11_secrets_in_configurable_are_not_stored(lane: Lane, tmp_path: Path) -> None:
    file = tmp_path / "threads.sqlite"
    with SqliteSaver(str(file)) as saver:
        graph = one_node(lambda state, config: {"x": len(config["configurable"]["key"])}, checkpointer=saver)
        lane.invoke(graph, {"x": 0}, {"configurable": {"thread_id": "1", "key": "s3cr3t-value"}})
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"s3cr3t-value" not in file.read_bytes()


def test_w24_runs_on_one_thread_lose_nothing_silently(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    graph = one_node(lambda state: None, checkpointer=saver)
    stored: list[int] = []
    refused: list[int] = []

    def run(n: int) -> None:
        try:
            lane.invoke(graph, {"log": [n]}, thread)
            stored.append(n)
        except ThreadConflictError:
            refused.append(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(stored + refused) == [0, 1, 2, 3, 4]
    assert sorted(lane.state(graph, thread).values["log"]) == sorted(stored)


def test_w24_runs_on_one_thread_can_wait_for_each_other(lane: Lane, saver: Any, thread: Any) -> None:
    graph = one_node(lambda state: None, checkpointer=saver, on_conflict="wait")
    threads = [threading.Thread(target=lane.invoke, args=(graph, {"log": [n]}, thread)) for n in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(lane.state(graph, thread).values["log"]) == [0, 1, 2, 3, 4]


def test_w25_a_growing_list_is_stored_as_what_was_added(lane: Lane, tmp_path: Path) -> None:
    file = tmp_path / "threads.sqlite"
    with SqliteSaver(str(file)) as saver:
        graph = one_node(lambda state: {"log": ["b" * 100]}, checkpointer=saver)
        for _ in range(50):
            lane.invoke(graph, {"log": ["a" * 100]}, {"configurable": {"thread_id": "1"}})
    with closing(sqlite3.connect(file)) as conn:
        blobs = conn.execute("SELECT sum(length(blob)) FROM twinstep_checkpoints").fetchone()[0]
    assert blobs < 5 * 50 * 200  # fifty turns of 200 bytes; every turn stored whole would be 25 times the state


@pytest.mark.parametrize("what", ["read", "run", "resume"])
def test_w26_an_unknown_checkpoint_is_an_error(lane: Lane, saver: Any, thread: Any, what: str) -> None:
    graph = one_node(lambda state: None, checkpointer=saver)
    lane.invoke(graph, {"x": 0}, thread)
    lost = {"configurable": {"thread_id": "1", "checkpoint_id": "0199aaaa-0000-7000-8000-000000000000"}}
    method, arguments = {
        "read": ("get_state", (lost,)),
        "run": ("invoke", ({"x": 5}, lost)),
        "resume": ("invoke", (None, lost)),
    }[what]
    with pytest.raises(CheckpointNotFoundError, match="0199aaaa"):
        lane.call(graph, method, *arguments)


class Text(str):
    """A subclass of a builtin."""


VALUES = [
    (1, (2, 3)),
    OrderedDict(b=1, a=2),
    defaultdict(list, a=[1]),
    Counter("aab"),
    {(1, 2): {3}},
    register_type(Text)("t"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_w27_values_keep_their_types(lane: Lane, saver: BaseCheckpointSaver, thread: Any, value: Any) -> None:
    @entrypoint(checkpointer=saver)
    def program(x: int, previous: Any) -> Any:
        return value if previous is None else previous

    lane.invoke(program, 1, thread)
    found = lane.invoke(program, 2, thread)
    assert (type(found), found) == (type(value), value)


def test_w28_classes_inside_functions_come_back_as_themselves(lane: Lane, saver: Any, thread: Any) -> None:
    @dataclass
    class Local:
        a: int

    register_type(Local)

    @entrypoint(checkpointer=saver)
    def program(x: int, previous: Any) -> Any:
        return previous or Local(x)

    lane.invoke(program, 1, thread)
    assert lane.invoke(program, 2, thread) == Local(1)


class Failing:
    """A node that can be mended."""

    broken = True

    def __call__(self, state: Any) -> Any:
        return {"x": 1} if self.broken else {"log": ["mended"]}


def test_w39_a_step_that_cannot_be_applied_wedges_no_thread(lane: Lane, saver: Any, thread: Any) -> None:
    node = Failing()
    graph = parallel({"a": node, "b": lambda state: {"x": 2}}, checkpointer=saver)
    with pytest.raises(ValueError, match="'x'"):
        lane.invoke(graph, {"x": 0}, thread)
    assert lane.state(graph, thread).next == ("a", "b")
    node.broken = False
    assert lane.invoke(graph, None, thread) == {"x": 2, "log": ["mended"]}


def test_w45_a_missing_thread_id_says_what_is_missing(lane: Lane, saver: BaseCheckpointSaver) -> None:
    graph = one_node(lambda state: None, checkpointer=saver)
    configs: tuple[Any, ...] = ({}, {"configurable": {}}, {"configurable": {"user": "a"}})
    for config in configs:
        with pytest.raises(InvalidConfigError, match="thread_id"):
            lane.invoke(graph, {"x": 0}, config)
        with pytest.raises(InvalidConfigError, match="thread_id"):
            lane.state(graph, config)


def test_w51_savers_copy_prune_and_delete_by_run(lane: Lane, saver: BaseCheckpointSaver, thread: Any) -> None:
    graph = one_node(lambda state: {"log": ["n"]}, checkpointer=saver)
    lane.invoke(graph, {"log": []}, thread)
    lane.call(saver, "copy_thread", "1", "9")
    other = {"configurable": {"thread_id": "9"}}
    assert lane.state(graph, other).values == {"log": ["n"]}
    lane.call(saver, "prune", ["9"])
    assert len(lane.history(graph, other)) == 1
    run = lane.state(graph, thread).metadata["run_id"]
    lane.call(saver, "delete_for_runs", [run])
    assert lane.history(graph, thread) == []


def test_w52_one_saver_serves_both_lanes(lane: Lane, tmp_path: Path, thread: Any) -> None:
    assert AsyncSqliteSaver is SqliteSaver
    with SqliteSaver(str(tmp_path / "threads.sqlite")) as saver:
        assert lane.invoke(one_node(lambda state: {"x": 1}, checkpointer=saver), {"x": 0}, thread)["x"] == 1


def test_w53_errors_are_stored_as_themselves(lane: Lane, tmp_path: Path, thread: Any) -> None:
    def node(state: Any) -> None:
        raise ValueError("boom", 3)

    for _ in range(2):  # the second saver reads what the first has stored
        with SqliteSaver(str(tmp_path / "threads.sqlite")) as saver:
            graph = one_node(node, checkpointer=saver)
            if not lane.state(graph, thread).values:
                with pytest.raises(ValueError, match="boom"):
                    lane.invoke(graph, {"x": 0}, thread)
            error = lane.state(graph, thread).tasks[0].error
            assert (type(error), error.args) == (ValueError, ("boom", 3))


class Stranger:
    """A class that nobody has registered."""

    made = 0

    def __init__(self) -> None:
        Stranger.made += 1


def test_w56_nothing_is_made_that_the_program_has_not_registered(lane: Lane, saver: Any, thread: Any) -> None:
    @entrypoint(checkpointer=saver)
    def program(x: int) -> Any:
        return [Stranger()]

    with pytest.raises(EncodingError, match="Stranger"):
        lane.invoke(program, 1, thread)


def test_w33_the_status_of_a_run_tells_a_stop_from_the_end(lane: Lane, saver: Any, thread: Any) -> None:
    @entrypoint(checkpointer=saver)
    def program(x: int) -> Any:
        return interrupt("q")

    lane.invoke(program, 1, thread)
    assert lane.state(program, thread).metadata["status"] == "interrupted"
