"""What users call on a saver, as a test class: reading, writing and tidying threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from twinstep.checkpoint.format import EXTEND, Place, TaskWrites, encode_checkpoint, encode_record
from twinstep.checkpoint.format import Checkpoint as Link
from twinstep.checkpoint.format import Record as Entry
from twinstep.checkpoint.rows import Commit, Edit
from twinstep.errors import (
    CheckpointCorruptError,
    CheckpointNotFoundError,
    EncodingError,
    InvalidConfigError,
    ThreadConflictError,
)
from twinstep.ids import new_id
from twinstep.testing.conformance.writer import Conformance, Run, id_of, put, thread
from twinstep.types import Interrupt


class AccessConformance(Conformance):
    """What users call: `twinstep.checkpoint.access`."""

    def test_put_and_get(self, lane: Any) -> None:
        first = put(lane, thread(), x=1)
        values = {"x": (1, {"y": {3}}), "messages": ["a"]}
        checkpoint = {**empty_checkpoint(), "channel_values": values, "updated_channels": ["x"]}
        config = lane.put(first, checkpoint, {"source": "loop", "step": 7, "run_id": "r", "note": None}, {})
        found = lane.get_tuple(thread())
        assert found.config == config == thread("1", checkpoint_ns="", checkpoint_id=checkpoint["id"])
        assert found.parent_config == first
        assert found.metadata == {"source": "loop", "step": 7, "run_id": "r", "note": None, "status": "done"}
        versions = dict.fromkeys(values, checkpoint["id"])
        assert found.checkpoint == {**checkpoint, "channel_versions": versions}
        assert type(found.checkpoint["channel_values"]["x"]) is tuple
        assert found.pending_writes == []
        assert lane.get(first)["channel_values"] == {"x": 1}
        assert "status" not in lane.get_tuple(first).metadata
        assert lane.get(thread("2")) is lane.get_tuple(thread("1", checkpoint_id=new_id())) is None

    def test_thread_ids_that_look_the_same_are_the_same(self, lane: Any) -> None:
        put(lane, thread(7), x=1)
        assert lane.get(thread("7"))["channel_values"] == {"x": 1}

    def test_values_are_copies(self, lane: Any) -> None:
        values: dict[str, Any] = {"x": [1]}
        put(lane, thread(), **values)
        values["x"].append(2)
        lane.get(thread())["channel_values"]["x"].append(3)
        assert lane.get(thread())["channel_values"]["x"] == [1]

    def test_changes_are_put_together(self, lane: Any, saver: BaseCheckpointSaver) -> None:
        config = put(lane, thread(), log=["a"], x=1)
        base, place, id = id_of(config), Place("1", ""), new_id()
        link = Link(
            id, base, base, 1, "loop", "r", ("log",), {"log": [EXTEND, 1]}, [TaskWrites("t", "n", [("log", ["b"])])]
        )
        lane.commit(Commit("1", "", "r", 1, True, base, encode_checkpoint(saver.serde, place, link), status="running"))
        checkpoint = lane.get(thread())
        assert checkpoint["channel_values"] == {"log": ["a", "b"], "x": 1}
        assert checkpoint["channel_versions"] == {"log": id, "x": base}
        assert lane.get_tuple(thread()).metadata["status"] == "running"

    def test_pending_writes(self, lane: Any) -> None:
        config = put(lane, thread(), x=1)
        lane.put_writes(config, [("x", 1), ("y", 2)], "task b", "0")
        lane.put_writes(thread(), [("x", 9), ("y", 9), ("z", 3)], "task b", "0")
        lane.put_writes(config, [("__error__", "old"), ("x", 1)], "task a", "1")
        lane.put_writes(config, [("__error__", "new")], "task a", "1")
        b, a = [("x", 1), ("y", 2), ("z", 3)], [("x", 1), ("__error__", "new")]
        expected = [("task b", *write) for write in b] + [("task a", *write) for write in a]
        assert lane.get_tuple(config).pending_writes == expected
        later = put(lane, config, x=2)
        assert lane.get_tuple(later).pending_writes == []
        assert lane.get_tuple(config).pending_writes == expected
        lane.put_writes(config, [("x", 5)], "task c", "2")
        assert lane.get_tuple(config).pending_writes == [*expected, ("task c", "x", 5)]

    def test_records_of_the_engine_are_pending_writes(self, lane: Any, saver: BaseCheckpointSaver) -> None:
        put(lane, thread(), {"run_id": "r"}, x=1)
        run = Run(lane, "1", run="r")
        question = Interrupt("?", "1" * 32)
        entries = {
            "id a": Entry("result", "a", "", 1),
            "questions:id b": Entry("questions", "b", "", [(question, ("position",))]),
            "answer:" + question.id: Entry("answer", question.id, "", (("position",), "!")),
            "id c": Entry("writes", "c", "", [("x", 2), ("y", 3)]),
            "id d": Entry("error", "d", "", ValueError("wrong")),
        }
        rows = [encode_record(saver.serde, Place("1", ""), (run.head or "", "r", id), e) for id, e in entries.items()]
        run.write(records=tuple(rows))
        *found, error = lane.get_tuple(thread()).pending_writes
        assert found == [
            (question.id, "__resume__", "!"),
            ("id a", "__return__", 1),
            ("id b", "__interrupt__", (question,)),
            ("id c", "x", 2),
            ("id c", "y", 3),
        ]
        assert (error[:2], repr(error[2])) == (("id d", "__error__"), "ValueError('wrong')")

    def test_tasks_that_write_at_once_lose_nothing(self, saver: BaseCheckpointSaver) -> None:
        config = put(saver, thread(), x=1)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: saver.put_writes(config, [("x", i)], f"task {i}"), range(24)))
        found = saver.get_tuple(config)
        assert found is not None
        assert sorted(value for _, _, value in found.pending_writes or ()) == list(range(24))

    def test_ids_too_long_for_a_key_are_refused(self, lane: Any) -> None:
        config = put(lane, thread(), {"run_id": "r" * 1024}, x=1)
        lane.put_writes(config, [("x", 2)], "t" * 1024)
        with pytest.raises(InvalidConfigError, match=r"run_id .* 1,025 bytes"):
            put(lane, thread(), {"run_id": "r" * 1025}, x=1)
        with pytest.raises(InvalidConfigError, match=r"run_id .* 1,025 bytes"):
            lane.delete_for_runs(["r" * 1025])
        with pytest.raises(InvalidConfigError, match=r"task_id .* 1,025 bytes"):
            lane.put_writes(config, [("x", 2)], "t" * 1025)

    def test_put_takes_the_thread_from_a_run(self, lane: Any) -> None:
        put(lane, thread(), x=1)
        run = Run(lane, "1")
        put(lane, thread(), x=2)
        with pytest.raises(ThreadConflictError):
            run.step()

    def test_list(self, lane: Any) -> None:
        configs = [put(lane, thread(), {"step": i, "even": i % 2 == 0}, x=i) for i in range(70)]
        child = put(lane, thread("1", checkpoint_ns="a:1"), {"step": 1}, y=1)
        other = put(lane, thread("2"), {"step": 0, "even": None}, x=0)

        def steps(*args: Any, **options: Any) -> list[int]:
            return [each.metadata["step"] for each in lane.list(*args, **options)]

        root = thread("1", checkpoint_ns="")
        assert steps(root) == list(range(69, -1, -1))
        assert [each.config for each in lane.list(None, limit=3)] == [other, child, configs[-1]]
        assert [each.config for each in lane.list(thread(), limit=2)] == [child, configs[-1]]
        assert steps(root, before=configs[3]) == [2, 1, 0]
        assert steps(root, filter={"even": True, "step": 4}) == [4]
        assert steps(None, filter={"even": None}) == [0], "a missing key equals nothing"
        assert steps(root, filter={"even": True}, limit=2, before=configs[60]) == [58, 56]
        assert steps(configs[5]) == [5]
        assert steps(configs[5], before=configs[5]) == steps(thread("3")) == steps(root, limit=0) == []

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (None, "needs config="),
            ({}, "needs config="),
            ({"configurable": {}}, "needs config="),
            ({"configurable": {"thread": 1}}, "got 'configurable' with keys \\['thread'\\]"),
            ({"configurable": {"thread_id": ""}}, "must not be empty"),
            ({"configurable": {"thread_id": 1.5}}, "must be a string"),
            ({"configurable": {"thread_id": True}}, "must be a string"),
            ({"configurable": {"thread_id": 10**5000}}, "up to 128 bits"),
            ({"configurable": {"thread_id": "a\0b"}}, "NUL"),
            ({"configurable": {"thread_id": "\ud800"}}, "surrogate"),
            ({"configurable": {"thread_id": "x" * 1_000_000}}, "1,000,000 bytes long; 2,048"),
            ({"configurable": {"thread_id": "1", "checkpoint_ns": 5}}, "checkpoint_ns must be a string"),
            ({"configurable": {"thread_id": "1", "checkpoint_id": ""}}, "checkpoint_id must not be empty"),
        ],
    )
    def test_configs_that_point_nowhere_are_refused(self, lane: Any, config: Any, message: str) -> None:
        for call in (
            lambda: lane.get_tuple(config),
            lambda: put(lane, config),
            lambda: lane.put_writes(config, [], "t"),
        ):
            with pytest.raises(InvalidConfigError, match=message) as caught:
                call()
            assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        "options",
        [
            {"limit": -1}, {"limit": "1"}, {"limit": True}, {"limit": 1.0}, {"limit": 2**63},
            {"filter": {"a' OR 1": 1}}, {"filter": {"": 1}}, {"filter": {1: 1}}, {"filter": "a"},
            {"filter": {"\ud800": 1}},
            {"before": {}}, {"before": thread()}, {"before": thread(checkpoint_id="bogus")},
        ],
    )  # fmt: skip
    def test_options_of_list_are_checked_at_once(self, saver: BaseCheckpointSaver, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidConfigError):
            saver.list(None, **options)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"id": "1"}, "new_id"),
            ({"id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}, "new_id"),
            ({"status": "finished"}, "running, interrupted, failed, done"),
            ({"source": "lopp"}, "Did you mean 'loop'"),
        ],
    )
    def test_put_checks_what_it_is_given(self, lane: Any, change: dict[str, str], message: str) -> None:
        checkpoint = {**empty_checkpoint(), **{key: value for key, value in change.items() if key == "id"}}
        metadata = {key: value for key, value in change.items() if key != "id"}
        with pytest.raises(InvalidConfigError, match=message):
            lane.put(thread(), checkpoint, metadata, {})
        assert lane.get(thread()) is None

    def test_value_that_cannot_be_stored_stores_nothing(self, lane: Any) -> None:
        put(lane, thread(), x=1)
        with pytest.raises(EncodingError):
            put(lane, thread(), x=2, y=object())
        assert lane.get(thread())["channel_values"] == {"x": 1}

    def test_writes_to_a_missing_checkpoint_are_refused(self, lane: Any) -> None:
        put(lane, thread(), x=1)
        for config in (thread("2"), thread("1", checkpoint_id=new_id())):
            with pytest.raises(CheckpointNotFoundError, match="does not exist"):
                lane.put_writes(config, [("x", 1)], "task")

    @pytest.mark.parametrize("part", ["blob", "parent", "base", "id"])
    def test_changed_row_is_refused(self, lane: Any, part: str) -> None:
        first, config = put(lane, thread(), x=1), put(lane, thread(), x=2)
        loaded = lane.load("1", "")
        row = loaded.rows[-1]
        changes: dict[str, dict[str, Any]] = {
            "blob": {"blob": row.blob[:-1] + bytes([row.blob[-1] ^ 1])},
            "parent": {"parent": id_of(first)},
            "base": {"base": new_id()},
            "id": {"id": (id := new_id()), "base": id},
        }
        damaged = row._replace(**changes[part])
        lane.edit("1", loaded.epoch, [Edit("", row.id, loaded.head._replace(checkpoint=damaged.id), (damaged,))])
        with pytest.raises(CheckpointCorruptError, match="thread '1', namespace ''"):
            lane.get(thread())
        assert lane.get(first)["channel_values"] == {"x": 1}, "earlier checkpoints still load"
        assert part != "id" or lane.get(config)["channel_values"] == {"x": 2}

    def test_row_from_another_thread_is_refused(self, lane: Any) -> None:
        put(lane, thread("1"), x="secret of 1")
        loaded = lane.load("1", "")
        for target, ns in (("2", ""), ("1", "a:1")):
            lane.edit(target, lane.load(target, ns).epoch, [Edit(ns, None, loaded.head, loaded.rows)])
            with pytest.raises(CheckpointCorruptError, match="does not belong there"):
                lane.get(thread(target, checkpoint_ns=ns))

    def history(self, lane: Any, thread_id: str) -> list[Any]:
        """Return all that can be seen of a thread, apart from its name."""
        everything = [
            (each.config, each.checkpoint, each.metadata, each.parent_config, each.pending_writes)
            for each in lane.list(thread(thread_id))
        ]
        for config, _, _, parent, _ in everything:
            assert config["configurable"].pop("thread_id") == thread_id
            assert parent is None or parent["configurable"].pop("thread_id") == thread_id
        return everything

    def test_copy_thread(self, lane: Any) -> None:
        config = put(lane, thread("1"), {"run_id": "r"}, x=[1])
        lane.put_writes(config, [("x", 2)], "task 1")
        put(lane, config, {"status": "interrupted"}, x=[1, 2])
        put(lane, thread("1", checkpoint_ns="a:1"), y=1)
        lane.put_writes(thread("1", checkpoint_ns="a:1"), [("y", 2)], "task 2")
        lane.copy_thread("1", "2")
        assert self.history(lane, "2") == self.history(lane, "1")
        assert len(self.history(lane, "1")) == 3
        put(lane, thread("2"), x="changed")
        assert lane.get(thread("1"))["channel_values"] == {"x": [1, 2]}
        with pytest.raises(InvalidConfigError, match="'2' exists already"):
            lane.copy_thread("1", "2")
        with pytest.raises(CheckpointNotFoundError, match="'9'"):
            lane.copy_thread("9", "3")

    def test_prune_keeps_the_latest(self, lane: Any) -> None:
        for i in range(4):
            put(lane, thread("1"), {"status": "interrupted"}, x=i)
        lane.put_writes(thread("1"), [("x", 9)], "task")
        put(lane, thread("1", checkpoint_ns="a:1"), y=1)
        put(lane, thread("2"), z=1)
        latest = lane.get_tuple(thread("1"))
        lane.prune(["1", "unknown"])
        assert lane.get_tuple(thread("1")) == latest
        assert [each.checkpoint["channel_values"] for each in lane.list(thread("1"))] == [{"y": 1}, {"x": 3}]
        lane.prune([2], strategy="delete")
        assert [name for name, _ in lane.threads()] == ["1"]

    @pytest.mark.parametrize(
        ("ids", "strategy"), [(["1"], "keep_all"), ("1", "delete"), ([None], "delete"), (5, "delete")]
    )
    def test_prune_checks_what_it_is_given(self, lane: Any, ids: Any, strategy: Any) -> None:
        put(lane, thread("1"), x=1)
        with pytest.raises(InvalidConfigError):
            lane.prune(ids, strategy=strategy)
        assert lane.get(thread("1"))

    def test_prune_makes_changes_whole(self, lane: Any, saver: BaseCheckpointSaver) -> None:
        place, ids = Place("1", ""), [new_id() for _ in range(3)]
        run = Run(lane, "1", run="r")
        for before, id in zip([None, *ids], ids, strict=False):
            tasks = [TaskWrites("t", "n", [("log", [id])])]
            link = Link(id, before, before or id, 0, "loop", "r", (), {"log": [EXTEND, 99]}, tasks)
            run.write(expect=before, checkpoint=encode_checkpoint(saver.serde, place, link))
        lane.prune(["1"])
        assert lane.get(thread("1"))["channel_values"] == {"log": ids}
        assert len(lane.load("1", "").rows) == 1
        run.write(status="done")  # the run that holds the thread goes on

    @pytest.mark.parametrize("gone", [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}])
    def test_delete_for_runs(self, lane: Any, saver: BaseCheckpointSaver, gone: set[int]) -> None:
        place, ids = Place("1", ""), [new_id() for _ in range(6)]
        for i, (before, id) in enumerate(zip([None, *ids], ids, strict=False)):
            run = Run(lane, "1", run=f"run {i // 2}")
            tasks = [TaskWrites("t", "n", [("log", [i])])]
            link = Link(id, before, before or id, i, "loop", run.id, (), {"log": [EXTEND, i]}, tasks)
            run.write(expect=before, checkpoint=encode_checkpoint(saver.serde, place, link), status="failed")
        put(lane, thread("2"), {"run_id": "run 9"}, x=1)
        lane.delete_for_runs([f"run {i}" for i in gone])
        left = [i for i in range(6) if i // 2 not in gone]
        found = list(lane.list(thread("1")))[::-1]
        assert [each.checkpoint["id"] for each in found] == [ids[i] for i in left]
        assert [each.checkpoint["channel_values"] for each in found] == [{"log": list(range(i + 1))} for i in left]
        parents = [each.parent_config["configurable"]["checkpoint_id"] for each in found[1:] if each.parent_config]
        assert parents == [each.checkpoint["id"] for each in found[:-1]]
        assert (lane.get_tuple(thread("1")) or (None,))[0] == (found[-1].config if left else None)
        assert lane.get(thread("2"))

    def test_delete_thread(self, lane: Any) -> None:
        put(lane, thread("1"), x=1)
        lane.delete_thread(1)
        lane.delete_thread("unknown")
        assert lane.get(thread("1")) is None
