"""Every channel as a unit: how a superstep's writes change it, what it shows, what a checkpoint keeps of it."""

import operator
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import pytest

from twinstep.channels import (
    MISSING,
    AnyValue,
    BaseChannel,
    BinaryOperatorAggregate,
    DeltaChannel,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
    UntrackedValue,
)
from twinstep.errors import EmptyChannelError, InvalidUpdateError
from twinstep.types import Overwrite

Channel = BaseChannel[Any, Any]
Make = Callable[[], Channel]
NAMES = ("a", "b")


def joined(state: list[Any], writes: list[Any]) -> list[Any]:
    """Take a batch of writes into a list."""
    return [*state, *writes]


MAKERS: dict[str, Make] = {
    "LastValue": lambda: LastValue(int, "k"),
    "LastValueAfterFinish": lambda: LastValueAfterFinish(int, "k"),
    "AnyValue": lambda: AnyValue(int, "k"),
    "EphemeralValue": lambda: EphemeralValue(int, key="k"),
    "UntrackedValue": lambda: UntrackedValue(int, key="k"),
    "Topic": lambda: Topic(int, key="k"),
    "Topic accumulating": lambda: Topic(int, accumulate=True, key="k"),
    "BinaryOperatorAggregate": lambda: BinaryOperatorAggregate(int | None, operator.add, "k"),
    "DeltaChannel": lambda: DeltaChannel(joined, list, key="k"),
    "NamedBarrierValue": lambda: NamedBarrierValue(str, NAMES, "k"),
    "NamedBarrierValueAfterFinish": lambda: NamedBarrierValueAfterFinish(str, NAMES, "k"),
}
every_channel = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def written(make: Make) -> Channel:
    """Return a channel that holds something."""
    channel = make()
    for name in NAMES if isinstance(channel, NamedBarrierValue) else (7,):
        channel.update([name])
    channel.finish()
    return channel


def shown(channel: Channel) -> Any:
    """Return what a channel shows, or MISSING."""
    return channel.get() if channel.is_available() else MISSING


# ---------------------------------------------------------------------- what all of them promise


@every_channel
def test_reading_an_unset_channel_is_an_error_that_names_it(make: Make) -> None:
    channel = make()
    if isinstance(channel, DeltaChannel):  # starts as an empty list
        assert channel.get() == []
        return
    assert not channel.is_available()
    with pytest.raises(EmptyChannelError, match="'k'"):
        channel.get()


@every_channel
def test_nothing_written_to_an_unset_channel_changes_nothing(make: Make) -> None:
    channel = make()
    before = shown(channel)
    assert channel.update([]) is False
    assert shown(channel) == before


@every_channel
@pytest.mark.parametrize("fill", [lambda make: make(), written], ids=["unset", "set"])
def test_a_checkpoint_brings_back_the_same_channel(make: Make, fill: Callable[[Make], Channel]) -> None:
    channel, template = fill(make), make()
    back = template.from_checkpoint(channel.checkpoint())
    if not channel.saved:
        assert channel.checkpoint() is MISSING
        assert not back.is_available()
        return
    assert (shown(back), back.checkpoint(), back.key) == (shown(channel), channel.checkpoint(), "k")
    assert back == channel
    assert shown(template) == shown(make()), "the template is as it was"


@every_channel
def test_a_copy_holds_the_same_and_goes_its_own_way(make: Make) -> None:
    channel = written(make)
    value, twin = shown(channel), channel.copy()
    assert shown(twin) == value
    twin.update(["a"] if isinstance(twin, NamedBarrierValue) else [8])
    twin.consume()
    assert shown(channel) == value


@every_channel
def test_a_blank_is_of_the_same_kind_and_unset(make: Make) -> None:
    channel = written(make)
    blank = channel.blank()
    assert blank == channel
    assert shown(blank) == shown(make())


def test_channels_are_equal_when_they_are_of_one_kind() -> None:
    assert LastValue(int) == LastValue(int)
    assert LastValue(int) != LastValue(str)
    assert LastValue(int) != AnyValue(int)
    assert BinaryOperatorAggregate(list, operator.add) != BinaryOperatorAggregate(list, operator.mul)
    assert Topic(int) != Topic(int, accumulate=True)
    assert NamedBarrierValue(str, ("a",)) != NamedBarrierValue(str, ("b",))
    with pytest.raises(TypeError, match="unhashable"):
        hash(LastValue(int))


# ---------------------------------------------------------------------- one rule each


@pytest.mark.parametrize(
    ("channel", "supersteps", "values"),
    [
        (LastValue(int), [[1], [], [2]], [1, 1, 2]),
        (LastValue(int), [[1], [Overwrite(5)]], [1, 5]),
        (AnyValue(int), [[1, 2], [3], []], [2, 3, MISSING]),
        (EphemeralValue(int), [[1], [], [2]], [1, MISSING, 2]),
        (EphemeralValue(int, guard=False), [[1, 2], []], [2, MISSING]),
        (UntrackedValue(int), [[1], [], [2]], [1, 1, 2]),
        (UntrackedValue(int, guard=False), [[1, 2]], [2]),
        (Topic(int), [[1, [2, 3]], [4], []], [[1, 2, 3], [4], MISSING]),
        (Topic(int), [[[]]], [MISSING]),
        (Topic(int, accumulate=True), [[1], [], [[2, 3]]], [[1], [1], [1, 2, 3]]),
        (BinaryOperatorAggregate(int, operator.add), [[1, 2], [], [3]], [3, 3, 6]),
        (BinaryOperatorAggregate(str, operator.add), [["b", "a"], ["c"]], ["ba", "bac"]),
        (BinaryOperatorAggregate(list, operator.add), [[[1], [2]], [[3]]], [[1, 2], [1, 2, 3]]),
        (DeltaChannel(joined, list), [[1, 2], [], [3]], [[1, 2], [1, 2], [1, 2, 3]]),
    ],
)
def test_values_after_each_superstep(channel: Channel, supersteps: list[list[Any]], values: list[Any]) -> None:
    seen, changed = [], []
    for writes in supersteps:
        changed.append((channel.update(writes), shown(channel)))
        seen.append(shown(channel))
    assert seen == values
    before = [shown(channel.blank()), *values[:-1]]
    for (told, value), earlier in zip(changed, before, strict=True):
        assert told or value == earlier, "a change must be told"


@pytest.mark.parametrize("channel", [LastValue(int, "k"), EphemeralValue(int, key="k"), UntrackedValue(int, key="k")])
def test_two_writes_in_one_superstep_are_refused_where_one_is_expected(channel: Channel) -> None:
    channel.update([1])
    with pytest.raises(InvalidUpdateError, match="At key 'k': 2 values were written in one superstep"):
        channel.update([2, 2])


@pytest.mark.parametrize(
    ("typ", "start"),
    [
        (list, []),
        (list[int], []),
        (int, 0),
        (dict, {}),
        (set, set()),
        (str, ""),
        (Sequence, []),
        (Sequence[int], []),
        (AbstractSet, set()),
        (Mapping[str, int], {}),
        (int | None, MISSING),
        (Callable, MISSING),
    ],
)
def test_a_reducer_starts_from_its_type_when_that_can_be_made_from_nothing(typ: Any, start: Any) -> None:
    assert shown(BinaryOperatorAggregate(typ, operator.or_)) == start


def test_a_reducer_without_a_start_takes_the_first_write_as_it_is() -> None:
    channel: Channel = BinaryOperatorAggregate(int | None, operator.mul)
    channel.update([3, 5])
    assert channel.get() == 15


def test_every_template_starts_afresh() -> None:
    template: Channel = BinaryOperatorAggregate(list, operator.add)
    template.blank().get().append("leak")
    assert template.blank().get() == []


def test_folding_lists_leaves_the_lists_that_were_written_alone() -> None:
    channel: Channel = BinaryOperatorAggregate(list, operator.add)
    first = [1]
    old = channel.get()
    channel.update([first, [2]])
    channel.update([[3]])
    assert (old, first, channel.get()) == ([], [1], [1, 2, 3])


@pytest.mark.parametrize("make", [lambda: BinaryOperatorAggregate(list, operator.add, "k"), MAKERS["DeltaChannel"]])
@pytest.mark.parametrize("writes", [[Overwrite([9]), [1]], [[1], Overwrite([9])], [Overwrite([9])]])
def test_an_overwrite_replaces_the_value_and_drops_its_siblings(make: Make, writes: list[Any]) -> None:
    channel = make()
    channel.update([[0]])
    channel.update(writes)
    assert channel.get() == [9]
    channel.update([[2]] if isinstance(channel, BinaryOperatorAggregate) else [2])
    assert channel.get() == [9, 2]


def test_two_overwrites_in_one_superstep_are_refused() -> None:
    channel: Channel = BinaryOperatorAggregate(list, operator.add, "k")
    with pytest.raises(InvalidUpdateError, match="At key 'k': only one Overwrite"):
        channel.update([Overwrite([1]), Overwrite([2])])


def test_an_overwrite_of_an_unset_reducer_is_unwrapped() -> None:
    channel: Channel = BinaryOperatorAggregate(int | None, operator.add)
    channel.update([Overwrite(4)])
    assert channel.get() == 4


def test_a_delta_channel_sees_all_writes_of_a_superstep_at_once() -> None:
    batches: list[list[Any]] = []

    def reducer(state: list[Any], writes: list[Any]) -> list[Any]:
        batches.append(writes)
        return state + writes

    channel: Channel = DeltaChannel(reducer)
    channel.update([1, 2])
    channel.update([3])
    assert (channel.get(), batches) == ([1, 2, 3], [[1, 2], [3]])


# ---------------------------------------------------------------------- joins and what waits for the end


@pytest.mark.parametrize("make", [MAKERS["NamedBarrierValue"], MAKERS["NamedBarrierValueAfterFinish"]])
class TestBarrier:
    def test_opens_when_every_name_has_come_in_any_superstep_and_order(self, make: Make) -> None:
        channel = make()
        assert channel.update(["b"]) is True
        channel.finish()
        assert not channel.is_available()
        assert channel.update(["b"]) is False, "a name that comes twice changes nothing"
        channel.update(["a"])
        channel.finish()
        assert channel.is_available()
        assert channel.get() is None

    def test_closes_when_it_was_used_and_can_open_again(self, make: Make) -> None:
        channel = make()
        assert channel.consume() is False, "there is nothing to use yet"
        channel.update(["a", "b"])
        channel.finish()
        assert channel.consume() is True
        assert not channel.is_available()
        channel.update(["a"])
        channel.finish()
        assert not channel.is_available()
        channel.update(["b"])
        channel.finish()
        assert channel.is_available()

    def test_refuses_a_name_it_does_not_wait_for(self, make: Make) -> None:
        with pytest.raises(InvalidUpdateError, match="'c' is not among the names"):
            make().update(["c"])


@pytest.mark.parametrize("make", [MAKERS["LastValueAfterFinish"], MAKERS["NamedBarrierValueAfterFinish"]])
class TestAfterFinish:
    def test_is_hidden_until_nothing_else_is_due(self, make: Make) -> None:
        channel = make()
        assert channel.finish() is False, "there is nothing to show"
        for name in NAMES:
            channel.update([name])
        assert not channel.is_available()
        assert channel.finish() is True
        assert channel.is_available()
        assert channel.finish() is False, "it is shown already"

    def test_is_unset_when_it_was_used(self, make: Make) -> None:
        channel = make()
        channel.update(list(NAMES))
        assert channel.consume() is False, "what is hidden cannot be used"
        channel.finish()
        assert channel.consume() is True
        assert not channel.is_available()
        assert channel.finish() is False

    @pytest.mark.parametrize("finished", [False, True])
    def test_a_checkpoint_knows_whether_it_was_shown(self, make: Make, finished: bool) -> None:
        channel = make()
        channel.update(list(NAMES))
        if finished:
            channel.finish()
        back = make().from_checkpoint(channel.checkpoint())
        assert back.is_available() is finished
        assert back.finish() is not finished


def test_a_write_hides_a_last_value_after_finish_again() -> None:
    channel: Channel = LastValueAfterFinish(int)
    channel.update([1])
    channel.finish()
    channel.update([2])
    assert not channel.is_available()
    channel.finish()
    assert channel.get() == 2


# ---------------------------------------------------------------------- Overwrite


@pytest.mark.parametrize(
    ("channel", "writes", "expected"),
    [
        (LastValue(int), [Overwrite(3)], 3),
        (AnyValue(int), [1, Overwrite(3), 2], 3),
        (EphemeralValue(int), [Overwrite(3)], 3),
        (UntrackedValue(int, guard=False), [Overwrite(3), 2], 3),
        (Topic(int), [1, Overwrite([3]), 2], [3]),
        (Topic(int, accumulate=True), [1, Overwrite([3, 4])], [3, 4]),
        (BinaryOperatorAggregate(list, operator.add), [[1], Overwrite([3])], [3]),
        (BinaryOperatorAggregate(int | None, operator.add), [Overwrite(3)], 3),
        (DeltaChannel(joined), [[1], Overwrite([3])], [3]),
    ],
    ids=lambda part: type(part).__name__,
)
def test_w5_overwrite_is_taken_out_by_every_channel(channel: Channel, writes: list[Any], expected: Any) -> None:
    if isinstance(channel, Topic) and channel.accumulate:
        channel.update([0])
    assert channel.update(writes)
    assert channel.get() == expected


@pytest.mark.parametrize("channel", [AnyValue(int), UntrackedValue(int, guard=False), Topic(int), DeltaChannel(joined)])
def test_no_channel_takes_two_overwrites(channel: Channel) -> None:
    with pytest.raises(InvalidUpdateError, match="only one Overwrite can be applied"):
        channel.update([Overwrite([1]), Overwrite([1])])


# ---------------------------------------------------------------------- joins of some


def test_a_barrier_with_a_quorum_lets_late_names_pass() -> None:
    barrier = NamedBarrierValue(str, ("a", "b", "c"), "k", quorum=2)
    assert not (barrier.update(["a"]) and barrier.is_available())
    assert barrier.update(["b"])
    assert barrier.is_available()
    assert barrier.consume()
    assert not barrier.is_available()
    twin = barrier.from_checkpoint(barrier.checkpoint())
    for each in (barrier, twin):
        each.update(["c"])
        each.update(["a"])
        assert not each.is_available(), "c was of the round before"
        each.update(["c"])
        assert each.is_available()
