"""The contract between engine and saver, as a test class: rows, claims, heads, records and edits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from twinstep.checkpoint.base import BaseCheckpointSaver
from twinstep.checkpoint.rows import CheckpointRow, Commit, Edit, Head, Known, Loaded
from twinstep.errors import ThreadConflictError
from twinstep.ids import new_id
from twinstep.testing.conformance.writer import Conformance, Run

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

    def test_head_is_what_was_stored_last_whatever_its_id(self, lane: Any) -> None:
        """Ids of a machine whose clock is behind sort before those that are there."""
        run, ids = Run(lane), [new_id() for _ in range(6)]
        for n in (2, 3, 0, 1, 4, 5):
            run.write(expect=run.head, checkpoint=CheckpointRow(ids[n], run.head, ids[n], b"state"))
            run.head = ids[n]
            assert lane.load("t", "").head.checkpoint == ids[n]
            with pytest.raises(ThreadConflictError):
                run.write(expect=ids[n - 1], checkpoint=CheckpointRow(new_id(), None, ids[n], b"state"))

    def test_lineage_with_a_gap_or_a_circle_ends(self, lane: Any) -> None:
        run = Run(lane)
        a, b, c = run.step(), run.step(), run.step()
        circle = (CheckpointRow(a.id, b.id, new_id(), b"a"), CheckpointRow(b.id, a.id, a.id, b"b"))
        lane.edit("t", 1, [Edit("", c.id, lane.load("t", "").head, circle)])
        assert lane.load("t", "").rows == (*circle, c)
        lane.edit("t", 1, [Edit("", c.id, lane.load("t", "").head, drop=(a.id,))])
        assert lane.load("t", "").rows == (circle[1], c)

    def test_rows_before_a_known_checkpoint_may_be_left_out(self, lane: Any) -> None:
        run = Run(lane)
        rows = [run.step() for _ in range(5)]
        joint = rows[0].id
        branch = run.step(parent=rows[1].id)
        for known, near in ((rows[3], rows[3:]), (rows[4], rows[4:]), (branch, None)):
            loaded = lane.load("t", "", rows[4].id, Known(known.id, joint))
            assert loaded.rows == (tuple(near or ()) if loaded.since else tuple(rows))
        assert lane.load("t", "", None, Known(branch.id, joint)).rows[-1] == branch
        assert lane.load("t", "", None, Known(new_id(), joint)).rows == (*rows[:2], branch)
        assert lane.load("t", "", None, Known(branch.id, new_id())).rows == (*rows[:2], branch)
        assert lane.load("t", "", new_id(), Known(branch.id, joint)).rows == ()

    def test_joint_on_a_checkpoint_that_is_gone_is_refused(self, lane: Any) -> None:
        run = Run(lane)
        first, _, last = run.step(), run.step(), run.step()
        joint = CheckpointRow(new_id(), last.id, first.id, b"joint")
        whole = CheckpointRow(last.id, None, last.id, b"whole")
        lane.edit("t", 1, [Edit("", last.id, lane.load("t", "").head, (whole,), "*")])
        with pytest.raises(ThreadConflictError):
            run.write(expect=last.id, checkpoint=joint)
        assert lane.load("t", "").rows == (whole,)
        assert run.step().parent == last.id

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

    def test_claim_fences_the_run_before_in_every_namespace(self, lane: Any) -> None:
        old = Run(lane)
        old.step()
        children = [Run(lane, ns=f"a:{n}", run=old.id) for n in range(3)]
        for child in children:
            child.epoch = children[-1].epoch
            child.step()
            child.step()
        last = children[0].head
        new = Run(lane)
        for child in children:
            with pytest.raises(ThreadConflictError, match=f"run '{new.id}' has taken the thread over"):
                child.step()
            with pytest.raises(ThreadConflictError):
                child.record("late")
        new.step()
        assert lane.load("t", "a:0").head.checkpoint == last

    def test_claim_that_names_an_older_head_is_refused(self, lane: Any) -> None:
        """What the claiming run has read is no longer how the thread stands: it must not begin."""
        old = Run(lane)
        seen, now = old.step(), old.step()
        late = Commit("t", "", new_id(), old.epoch, claim=True, expect=seen.id)
        with pytest.raises(ThreadConflictError):
            lane.commit(late)
        assert (lane.load("t", "").epoch, lane.load("t", "").holder) == (1, old.id)
        lane.commit(replace(late, expect=now.id))
        assert lane.load("t", "").epoch == 2

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
