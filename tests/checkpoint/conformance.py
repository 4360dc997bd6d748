"""What every saver must do, as test classes: subclass them and give a fixture `saver`.

`test_savers.py` runs them on the savers of this library, each with its synchronous and its asynchronous methods.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.checkpoint.writer import Lane, Run, put, thread
from twinstep.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from twinstep.checkpoint.format import EXTEND, Place, TaskWrites, encode_checkpoint, encode_record
from twinstep.checkpoint.format import Checkpoint as Link
from twinstep.checkpoint.format import Record as Entry
from twinstep.checkpoint.rows import CheckpointRow, Commit, Edit, Head, Loaded
from twinstep.errors import (
    CheckpointCorruptError,
    CheckpointNotFoundError,
    EncodingError,
    InvalidConfigError,
    ThreadConflictError,
)
from twinstep.ids import new_id
from twinstep.types import Interrupt

HOSTILE_IDS = [
    "x' OR '1'='1",
    '"; DROP TABLE twinstep_threads; --',
    "%",
    "_",
    "*",
    " ",
    "täglich \U0001f600",
    "a|b:c",
    "x" * 2048,
]


class Conformance:
    """Base of the suites: runs each test in both lanes."""

    @pytest.fixture
    def saver(self) -> BaseCheckpointSaver:
        raise NotImplementedError

    @pytest.fixture(params=["sync", "async"])
    def lane(self, request: pytest.FixtureRequest, saver: BaseCheckpointSaver) -> Any:
        """The saver, called in one of the two ways."""
        return saver if request.param == "sync" else Lane(saver)


class JournalConformance(Conformance):
    """The contract between engine and saver: `twinstep.checkpoint.journal`."""

    def test_unknown_thread_is_empty(self, lane: Any) -> None:
        assert lane.load("t", "") == lane.load("t", "", new_id()) == Loaded(0, None, None, (), ())
        assert list(lane.checkpoints("t", "")) == list(lane.threads()) == []

    def test_lineage_comes_back_as_it_was_written(self, lane: Any) -> None:
        run = Run(lane)
        rows = [run.step(bytes([i]) * 5000, status="running" if i == 0 else None, info=b"\0\xff") for i in range(3)]
        loaded = lane.load("t", "")
        assert loaded == Loaded(1, run.id, Head(rows[2].id, run.id, "running", b"\0\xff"), tuple(rows), ())
        assert lane.load("t", "", rows[1].id).rows == tuple(rows[:2])
        assert lane.load("t", "", new_id()).rows == lane.load("t", "", "bogus").rows == ()
        assert [type(part) for part in loaded.rows[0]] == [str, type(None), str, bytes]

    def test_lineage_starts_at_the_nearest_whole_state(self, lane: Any) -> None:
        run = Run(lane)
        run.step()
        rows = [run.step(whole=True), run.step(), run.step()]
        assert lane.load("t", "").rows == tuple(rows)

    def test_fork_has_its_own_lineage(self, lane: Any) -> None:
        run = Run(lane)
        root, left = run.step(), run.step()
        right = run.step(parent=root.id)
        assert lane.load("t", "").rows == (root, right)
        assert lane.load("t", "", left.id).rows == (root, left)

    def test_lineage_with_a_gap_or_a_circle_ends(self, lane: Any) -> None:
        run = Run(lane)
        a, b, c = run.step(), run.step(), run.step()
        circle = (CheckpointRow(a.id, b.id, new_id(), b"a"), CheckpointRow(b.id, a.id, a.id, b"b"))
        lane.edit("t", 1, [Edit("", c.id, lane.load("t", "").head, circle)])
        assert lane.load("t", "").rows == (*circle, c)
        lane.edit("t", 1, [Edit("", c.id, lane.load("t", "").head, drop=(a.id,))])
        assert lane.load("t", "").rows == (circle[1], c)

    def test_status_and_info_stay_until_they_are_given(self, lane: Any) -> None:
        run = Run(lane)
        run.write(status="running", info=b"lost: there is no head yet")
        row = run.step(status="interrupted", info=b"1")
        run.write(status="failed")
        assert lane.load("t", "").head == Head(row.id, run.id, "failed", b"1")
        row = run.step(info=b"")
        assert lane.load("t", "").head == Head(row.id, run.id, "failed", b"")

    def test_claim_fences_the_run_before(self, lane: Any) -> None:
        old = Run(lane)
        row = old.step()
        new = Run(lane)
        for parts in ({}, {"claim": True}, {"status": "done"}, {"expect": row.id, "checkpoint": row}):
            with pytest.raises(ThreadConflictError, match=f"run '{new.id}' has taken the thread over") as caught:
                old.write(**parts)
            assert (caught.value.thread_id, caught.value.ours, caught.value.theirs) == ("t", old.id, new.id)
        with pytest.raises(ThreadConflictError):
            old.record("late")
        loaded = lane.load("t", "")
        assert (loaded.epoch, loaded.holder, loaded.head.run, loaded.records) == (2, new.id, old.id, ())

    def test_only_the_holder_writes(self, lane: Any) -> None:
        run = Run(lane)
        run.step()
        with pytest.raises(ThreadConflictError):
            lane.commit(Commit("t", "", new_id(), run.epoch, status="done"))
        with pytest.raises(ThreadConflictError, match="deleted"):
            lane.commit(Commit("never claimed", "", new_id(), 0, status="done"))

    @pytest.mark.parametrize("expect", [None, "older", "unknown"])
    def test_head_is_compared_and_set(self, lane: Any, expect: str | None) -> None:
        run = Run(lane)
        older, head = run.step(), run.step()
        before = lane.load("t", "")
        wrong = {"older": older.id, "unknown": new_id(), None: None}[expect]
        with pytest.raises(ThreadConflictError):
            run.write(
                claim=True, expect=wrong, checkpoint=CheckpointRow(new_id(), head.id, older.id, b"x"), status="done"
            )
        assert lane.load("t", "") == before
        assert len(lane.checkpoints("t", "")) == 2

    def test_records_belong_to_run_and_checkpoint(self, lane: Any) -> None:
        run = Run(lane)
        first = run.step()
        run.record("b", b"old")
        records = [run.record("a"), run.record("b", b"new")]
        assert lane.load("t", "").records == tuple(records)
        run.step()
        assert lane.load("t", "").records == ()
        assert lane.load("t", "", first.id).records == tuple(records)

    def test_fork_does_not_see_the_records_of_the_run_it_left(self, lane: Any) -> None:
        run = Run(lane)
        first = run.step()
        run.record("a")
        fork = Run(lane)
        fork.head = None
        fork.write(expect=first.id, checkpoint=CheckpointRow(first.id, None, first.id, b"state"))
        assert lane.load("t", "").records == (), "same checkpoint, other run"
        fork.head = first.id
        mine = fork.record("z")
        fork.step()
        assert lane.load("t", "", first.id).records == (mine,), "the last run that started from it"
        resumed = Run(lane, run=run.id)
        resumed.write(records=(late := mine._replace(run=run.id, id="late"),))
        assert [row.id for row in lane.load("t", "", first.id).records] == ["a", late.id], "it is the last now"

    def test_forget(self, lane: Any) -> None:
        run = Run(lane)
        at = run.step().id
        for id in ("a", "b", "c"):
            run.record(id)
        run.write(forget=("a", "unknown"), forget_at=at)
        assert [row.id for row in lane.load("t", "").records] == ["b", "c"]
        run.step(forget="*", forget_at=at)
        assert lane.load("t", "", at).records == ()

    def test_records_come_after_forgetting(self, lane: Any) -> None:
        run = Run(lane)
        at = run.step().id
        run.record("a", b"old")
        new = run.record("a", b"new", forget="*", forget_at=at)
        assert lane.load("t", "").records == (new,)

    def test_many_records_in_one_commit(self, lane: Any) -> None:
        run = Run(lane)
        at = run.step().id
        rows = tuple(run.record(f"{i:03}")._replace(blob=bytes([i])) for i in range(100))
        run.write(records=rows, forget=tuple(row.id for row in rows), forget_at=at)
        assert lane.load("t", "").records == rows

    def test_record_without_a_checkpoint_is_refused(self, lane: Any) -> None:
        run = Run(lane)
        with pytest.raises(ThreadConflictError):
            run.record("a")

    def test_namespaces_share_the_claim_and_nothing_else(self, lane: Any) -> None:
        run = Run(lane)
        root = run.step()
        child = Run(lane, ns="a:1", run=run.id)
        inner = child.step()
        child.record("x")
        assert (lane.load("t", "").rows, lane.load("t", "").records) == ((root,), ())
        assert lane.load("t", "a:1").rows == (inner,)
        assert dict(lane.threads()) == {"t": ["", "a:1"]}
        with pytest.raises(ThreadConflictError):
            run.step()

    def test_checkpoints_are_listed_newest_first(self, lane: Any) -> None:
        run = Run(lane)
        rows = [run.step(bytes([i])) for i in range(5)][::-1]
        assert list(lane.checkpoints("t", "")) == rows
        assert list(lane.checkpoints("t", "", before=rows[1].id, limit=2)) == rows[2:4]
        assert list(lane.checkpoints("t", "", limit=0)) == list(lane.checkpoints("t", "", before=rows[4].id)) == []

    @pytest.mark.parametrize("thread_id", HOSTILE_IDS)
    def test_any_id_names_one_thread_only(self, lane: Any, thread_id: str) -> None:
        Run(lane, "other").step()
        row = Run(lane, thread_id, ns=thread_id, run=thread_id).step(status="done")
        assert lane.load(thread_id, thread_id).head == Head(row.id, thread_id, "done", b"")
        lane.delete(thread_id)
        assert dict(lane.threads()) == {"other": [""]}

    def test_edit_is_all_or_nothing(self, lane: Any) -> None:
        run = Run(lane)
        rows = [run.step(), run.step()]
        head, new = lane.load("t", "").head, CheckpointRow(rows[1].id, None, rows[1].id, b"whole")
        stale = Edit("a:1", new_id(), head, (new,))
        for epoch, edits in (
            (0, [Edit("", head.checkpoint, head, (new,))]),
            (1, [Edit("", head.checkpoint, None), stale]),
        ):
            with pytest.raises(ThreadConflictError):
                lane.edit("t", epoch, edits)
        assert lane.load("t", "").rows == tuple(rows)
        lane.edit("t", 1, [Edit("", head.checkpoint, head, (new,), "*")])
        assert list(lane.checkpoints("t", "")) == [new]
        assert run.step(), "the run goes on"

    def test_edit_drops_records_with_their_checkpoint(self, lane: Any) -> None:
        run = Run(lane)
        first = run.step()
        run.record("a")
        last = run.step()
        kept = run.record("b")
        lane.edit("t", 1, [Edit("", last.id, lane.load("t", "").head, drop=(first.id,))])
        run.write(expect=last.id, checkpoint=first._replace(parent=last.id))
        assert lane.load("t", "", first.id).records == ()
        assert lane.load("t", "", last.id).records == (kept,)
        lane.edit("t", 1, [Edit("", first.id, lane.load("t", "").head, runs=(run.id,))])
        assert lane.load("t", "", last.id).records == ()

    def test_edit_without_head_removes_the_namespace(self, lane: Any) -> None:
        run = Run(lane)
        head = run.step().id
        child = Run(lane, ns="a:1").step().id
        lane.edit("t", 2, [Edit("a:1", child, None)])
        assert dict(lane.threads()) == {"t": [""]}
        lane.edit("t", 2, [Edit("", head, None)])
        assert lane.load("t", "") == Loaded(0, None, None, (), ())
        assert not list(lane.threads())

    def test_deleted_thread_starts_again_and_its_run_is_refused(self, lane: Any) -> None:
        run = Run(lane)
        row = run.step()
        run.record("a")
        lane.delete("t")
        assert lane.load("t", "", row.id) == Loaded(0, None, None, (), ())
        with pytest.raises(ThreadConflictError, match="deleted"):
            run.step()
        new = Run(lane)
        assert new.epoch == run.epoch
        with pytest.raises(ThreadConflictError, match=new.id):
            run.record("a")
        assert lane.load("t", "").rows == ()

    def test_threads_that_race_lose_nothing(self, saver: BaseCheckpointSaver) -> None:
        acknowledged: list[str] = []

        def worker() -> None:
            won = 0
            while won < 5:
                try:
                    row = Run(saver).step()
                except ThreadConflictError:
                    continue
                acknowledged.append(row.id)
                won += 1

        with ThreadPoolExecutor(8) as pool:
            for each in [pool.submit(worker) for _ in range(8)]:
                each.result()
        lineage = [row.id for row in saver.load("t", "").rows]
        assert len(lineage) == 40
        assert sorted(lineage) == sorted(acknowledged)

    def test_many_threads_commit_at_once(self, saver: BaseCheckpointSaver) -> None:
        start = threading.Barrier(8)

        def worker(name: int) -> None:
            run = Run(saver, f"t{name}")
            start.wait()
            for i in range(25):
                run.step(bytes([i]))
                run.record("r", bytes([i]))
            if name % 2:  # a refused commit must not take those of others along
                with pytest.raises(ThreadConflictError):
                    run.write(expect=new_id(), checkpoint=CheckpointRow(new_id(), None, new_id(), b""))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(worker, range(8)))
        for name in range(8):
            loaded = saver.load(f"t{name}", "")
            assert [row.blob[0] for row in loaded.rows] == list(range(25))
            assert loaded.records[0].blob == bytes([24])

    def test_one_run_of_a_process_works_on_a_thread(self, saver: BaseCheckpointSaver) -> None:
        saver.enter("t", "run 1")
        saver.enter("t", "run 1")
        saver.enter("u", "run 2")
        with pytest.raises(ThreadConflictError, match="busy: run 'run 1'"):
            saver.enter("t", "run 2")
        saver.leave("t", "run 2")
        with pytest.raises(ThreadConflictError):
            saver.enter("t", "run 2")
        saver.leave("t", "run 1")
        saver.enter("t", "run 2")


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
        base, place, id = config["configurable"]["checkpoint_id"], Place("1", ""), new_id()
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
            "id a": Entry("result", "a", b"", 1),
            "questions:id b": Entry("questions", "b", b"", [(question, ("position",))]),
            "answer:" + question.id: Entry("answer", question.id, b"", (("position",), "!")),
            "id c": Entry("writes", "c", b"", [("x", 2), ("y", 3)]),
            "id d": Entry("error", "d", b"", ValueError("wrong")),
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
            "parent": {"parent": first["configurable"]["checkpoint_id"]},
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
