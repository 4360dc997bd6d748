"""What a state key is: a value with a rule for how the writes of a superstep change it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

from twinstep.errors import EmptyChannelError, InvalidUpdateError
from twinstep.types import Overwrite

Value = TypeVar("Value")
Update = TypeVar("Update")


class _Missing:
    """The type of `MISSING`, which stands for the value of a channel that has none."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Any = _Missing()


def replacement(key: str, values: Sequence[Any]) -> Overwrite | None:
    """Return the `Overwrite` among the writes of a superstep, if there is one.

    Raises:
        InvalidUpdateError: there are several.
    """
    if len(values) == 1:
        return values[0] if type(values[0]) is Overwrite else None
    marks = [value for value in values if type(value) is Overwrite]
    if len(marks) > 1:
        raise InvalidUpdateError(f"At key '{key}': only one Overwrite can be applied in a superstep.")
    return marks[0] if marks else None


class BaseChannel(ABC, Generic[Value, Update]):
    """One key of a running graph.

    A channel is a template in the compiled graph; every run works on copies of its own. The engine calls `update` once
    per superstep with all values written in it, in the order of the tasks.

    Args:
        typ: type of the value, as annotated.
        key: name of the channel; set by the graph.
    """

    __slots__ = ("key", "typ", "value")

    transient: ClassVar[bool] = False
    """Whether a superstep without writes changes the value (`update(())` is called while it is available)."""
    consumable: ClassVar[bool] = False
    """Whether reading it as a trigger changes it (`consume`)."""
    late: ClassVar[bool] = False
    """Whether it becomes available only when nothing else is due (`finish`)."""
    saved: ClassVar[bool] = True
    """Whether checkpoints hold it."""

    typ: Any
    key: str
    value: Any

    def __init__(self, typ: Any = Any, key: str = "") -> None:
        self.typ, self.key = typ, key
        self.value = MISSING

    @property
    def keeps_items(self) -> bool:
        """Whether `update` runs no code of the user, and leaves the items of a list as they are."""
        return False

    @property
    def holds_objects(self) -> bool:
        """Whether the value is known to be a list of objects, none of which is a list, dict or set."""
        return False

    def only_grows(self, values: Sequence[Update]) -> bool:
        """Tell whether an update with these values adds items to a list and leaves those it has where they are."""
        return False

    @property
    def ValueType(self) -> Any:
        """The type of the value."""
        return self.typ

    @property
    def UpdateType(self) -> Any:
        """The type of what may be written."""
        return self.typ

    @abstractmethod
    def update(self, values: Sequence[Update]) -> bool:
        """Take the writes of a superstep and tell whether the channel changed.

        Raises:
            InvalidUpdateError: the values cannot be combined.
        """

    def peek(self) -> Any:
        """Return the value, or MISSING."""
        return self.value

    def preview(self, values: Sequence[Update]) -> Any:
        """Return what `peek` would after an update, which is not made."""
        new = self.copy()
        new.update(values)
        return new.peek()

    def is_available(self) -> bool:
        """Tell whether the channel has a value."""
        return self.peek() is not MISSING

    def get(self) -> Value:
        """Return the value.

        Raises:
            EmptyChannelError: it has none.
        """
        value = self.peek()
        if value is MISSING:
            raise EmptyChannelError(f"Channel '{self.key}' was read before anything was written to it.")
        found: Value = value
        return found

    def copy(self) -> Self:
        """Return an independent channel with the same value."""
        return self.from_checkpoint(self.checkpoint())

    def blank(self) -> Self:
        """Return a channel of the same kind without a value."""
        new = object.__new__(type(self))
        new.typ, new.key, new.value = self.typ, self.key, MISSING
        return new

    def checkpoint(self) -> Any:
        """Return what a checkpoint has to hold, or MISSING."""
        return self.value

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Return a channel of the same kind with what a checkpoint held (MISSING: the initial value)."""
        new = self.blank()
        if checkpoint is not MISSING:
            new.value = checkpoint
        return new

    def consume(self) -> bool:
        """Take note that a node was started by this channel; tell whether that changed it."""
        return False

    def finish(self) -> bool:
        """Take note that nothing else is due; tell whether that made the channel available."""
        return False

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._kind() == other._kind()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # compared by kind, changed by updates

    def _kind(self) -> tuple[Any, ...]:
        """Return what tells two channels of one class apart."""
        return (self.typ,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r}, {self.value!r})"
