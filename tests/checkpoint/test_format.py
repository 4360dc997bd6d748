"""The format: changes rebuild the state, and nothing that was changed, cut off or moved is taken for it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twinstep.checkpoint import format as checkpoint_format
from twinstep.checkpoint.format import (
    EXTEND,
    LAST,
    SAME,
    SET,
    SPLICE,
    UNSET,
    Checkpoint,
    Place,
    Record,
    TaskWrites,
    decode_checkpoint,
    decode_info,
    decode_record,
    encode_checkpoint,
    encode_info,
    encode_record,
    replay,
)
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.errors import CheckpointCorruptError
from twinstep.ids import new_id
from twinstep.serde import Serializer
from twinstep.testing.conformance.writer import Run
from twinstep.types import Interrupt

SERDE = Serializer()
PLACE = Place("thread 1", "a:1")
ID, PARENT, BASE = new_id(), new_id(), new_id()
LINK = Checkpoint(ID, PARENT, BASE, 3, "loop", "run", ("x",), {"x": [SET, (1, {2})]}, [], {"k": None})
ROW = encode_checkpoint(SERDE, PLACE, LINK)
RECORD = encode_record(SERDE, PLACE, (ID, "run", "task"), Record("result", "name", "digest", [1.5, "x"]))
INFO = encode_info(SERDE, PLACE, {"input": 1})


def read(kind: str, blob: bytes, place: Place = PLACE, **keys: Any) -> Any:
    if kind == "checkpoint":
        return decode_checkpoint(SERDE, place, ROW._replace(blob=blob, **keys))
    if kind == "record":
        return decode_record(SERDE, place, RECORD._replace(blob=blob, **keys))
    return decode_info(SERDE, place, blob)


KINDS = [("checkpoint", ROW.blob), ("record", RECORD.blob), ("info", INFO)]


@pytest.mark.parametrize(("kind", "blob"), KINDS, ids=["checkpoint", "record", "info"])
def test_every_flipped_bit_is_found(kind: str, blob: bytes) -> None:
    assert read(kind, blob)
    for i in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[i // 8] ^= 1 << i % 8
        with pytest.raises(CheckpointCorruptError, match="thread 'thread 1', namespace 'a:1'"):
            read(kind, bytes(flipped))


@pytest.mark.parametrize(("kind", "blob"), KINDS, ids=["checkpoint", "record", "info"])
def test_every_truncation_is_found(kind: str, blob: bytes) -> None:
    for end in range(len(blob)):
        with pytest.raises(CheckpointCorruptError):
            read(kind, blob[:end])
    with pytest.raises(CheckpointCorruptError):
        read(kind, blob + b"\0")


@pytest.mark.parametrize(("kind", "blob"), KINDS, ids=["checkpoint", "record", "info"])
@pytest.mark.parametrize("place", [Place("thread 2", "a:1"), Place("thread 1", "")])
def test_rows_of_another_place_are_refused(kind: str, blob: bytes, place: Place) -> None:
    with pytest.raises(CheckpointCorruptError, match="does not belong there"):
        read(kind, blob, place)


@pytest.mark.parametrize(
    ("kind", "key"), [("checkpoint", key) for key in ROW._fields[:3]] + [("record", key) for key in RECORD._fields[:3]]
)
def test_rows_under_another_key_are_refused(kind: str, key: str) -> None:
    with pytest.raises(CheckpointCorruptError):
        read(kind, dict(KINDS)[kind], PLACE, **{key: new_id()})


def test_blobs_of_another_kind_are_refused() -> None:
    for kind, _ in KINDS:
        for other, blob in KINDS:
            if kind != other:
                with pytest.raises(CheckpointCorruptError):
                    read(kind, blob)


POSITION = ("pull", "ask", "nested", "0", 1, "pull", "inner", ("at", "inner", "ab12", 0))
QUESTIONS = [
    (Interrupt((1, ["how many?"]), "a" * 32, response_schema={"type": "integer"}), POSITION),
    (Interrupt(["why", None]), ()),
]


@pytest.mark.parametrize("stored", ["plain", "as at first"])
@pytest.mark.parametrize(("kind", "value"), [("questions", QUESTIONS), ("answer", (POSITION, [(1,)]))])
def test_questions_and_answers_are_read_in_both_forms(
    monkeypatch: pytest.MonkeyPatch, stored: str, kind: Any, value: Any
) -> None:
    record = Record(kind, "ask", "", value, shown="how many?")
    if stored == "as at first":
        monkeypatch.setattr(checkpoint_format, "_PLAIN", {})
    row = encode_record(SERDE, PLACE, (ID, "run", "task"), record)
    monkeypatch.undo()
    assert decode_record(SERDE, PLACE, row) == record
    assert (b"twinstep:Interrupt" in row.blob) == (stored != "plain" and kind == "questions")


# ---------------------------------------------------------------------- changes

NAMES = st.sampled_from(["a", "b", "c"])
ITEMS = st.lists(st.integers(0, 9), max_size=3)
CHANGES = st.one_of(
    st.tuples(st.just(SET), ITEMS | st.integers()),
    st.tuples(st.just(SPLICE), st.integers(0, 4), ITEMS),
    st.tuples(st.just(EXTEND), st.integers(0, 4), st.lists(ITEMS, max_size=2)),
    st.tuples(st.just(LAST), st.lists(ITEMS | st.integers(), min_size=1, max_size=2)),
    st.tuples(st.just(SAME), NAMES),
    st.tuples(st.just(UNSET)),
)
STEPS = st.lists(st.tuples(st.booleans(), st.dictionaries(NAMES, CHANGES, max_size=3)), min_size=1, max_size=8)


def applied(
    state: dict[str, Any], step: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, list[Any]], list[TaskWrites]]:
    """Return the state after a step, computed plainly on copies, and the changes and writes that tell it."""
    after, changes, tasks = deepcopy(state), {}, []
    for name, (op, *arguments) in step.items():
        before = state.get(name, [])
        if op == SAME or (op in (SPLICE, EXTEND) and type(before) is not list):
            continue
        if op == SET:
            after[name] = arguments[0]
        elif op == SPLICE:
            after[name] = [*before[: arguments[0]], *arguments[1]]
        elif op == EXTEND:
            after[name] = [*before[: arguments[0]], *(item for items in arguments[1] for item in items)]
        elif op == LAST:
            after[name] = arguments[0][-1]
        else:
            after.pop(name, None)
        if op in (EXTEND, LAST):
            tasks += [TaskWrites(str(i), name, [(name, value)]) for i, value in enumerate(arguments[-1])]
        changes[name] = [op, *arguments[:-1]] if op in (EXTEND, LAST) else [op, *arguments]
    for name, (op, *arguments) in step.items():
        if op == SAME and arguments[0] in after and step.get(arguments[0], "?")[0] != SAME:
            changes[name], after[name] = [SAME, arguments[0]], deepcopy(after[arguments[0]])
    return after, changes, tasks


@given(STEPS)
@example(
    [(False, {"a": (SET, [])}), (False, {"a": (SPLICE, 0, [1]), "b": (SAME, "a")}), (False, {"a": (SPLICE, 1, [2])})]
)
@settings(max_examples=150, deadline=None)
def test_changes_rebuild_every_state(steps: list[tuple[bool, dict[str, Any]]]) -> None:
    saver, place = InMemorySaver(serde=SERDE), Place("t", "")
    run, states, parent = Run(saver), {}, None
    state: dict[str, Any] = {}
    for whole, step in steps:
        state, changes, tasks = applied(state, step)
        id = new_id()
        base = id if whole or parent is None else parent
        if base == id:
            changes = {name: [SET, value] for name, value in state.items()}
        link = Checkpoint(id, parent, base, 0, "loop", run.id, (), changes, tasks)
        run.write(expect=parent, checkpoint=encode_checkpoint(SERDE, place, link))
        states[id], parent = deepcopy(state), id
    for id, expected in states.items():
        chain = [decode_checkpoint(SERDE, place, row) for row in saver.load("t", "", id).rows]
        assert replay(place, chain) == expected


@pytest.mark.parametrize("missing", [0, 1])
def test_replay_refuses_a_chain_with_a_gap(missing: int) -> None:
    ids = [new_id() for _ in range(3)]
    chain = [Checkpoint(id, base, base, 0, "loop", "r") for base, id in zip([ids[0], *ids], ids, strict=False)]
    del chain[missing]
    with pytest.raises(CheckpointCorruptError, match=f"builds on '{ids[missing]}', which is missing"):
        replay(PLACE, chain)
