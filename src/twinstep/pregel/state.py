"""The channels of one run, and how the writes of a superstep change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from twinstep.channels import MISSING, BaseChannel
from twinstep.errors import InvalidUpdateError, did_you_mean
from twinstep.pregel.isolation import Contents
from twinstep.pregel.spec import Preview, ProgramSpec, View
from twinstep.stream.events import Write


class Channels(dict[str, BaseChannel[Any, Any]]):
    """The channels of one run by name, each made from its template when it is first needed."""

    __slots__ = ("_templates",)

    def __init__(self, templates: Mapping[str, BaseChannel[Any, Any]]) -> None:
        self._templates = templates

    def __missing__(self, name: str) -> BaseChannel[Any, Any]:
        channel = self[name] = self._templates[name].from_checkpoint(MISSING)
        return channel

    def with_copies(self, names: Iterable[str]) -> Channels:
        """Return the same channels, but of some of them copies."""
        new = Channels(self._templates)
        new.update(self)
        new.update((name, self[name].copy()) for name in names if name in self)
        return new


class State:
    """The state of a run between two supersteps.

    Attributes:
        channels: this run's own; those that were not needed yet have no value.
        view: the values of the available state keys, kept in step with the channels.
        updated: channels whose update may start a node in the next superstep, in the order of their update.
        dirty: channels that changed since the last checkpoint.
        armed: transient channels that are available, hence cleared by the next superstep unless written again.
        kept: of the lists that have only grown since the last checkpoint, how many items are on record.
    """

    __slots__ = ("armed", "channels", "dirty", "kept", "spec", "updated", "view")

    def __init__(
        self,
        spec: ProgramSpec,
        stored: dict[str, Any],
        updated: Sequence[str] = (),
        contents: Mapping[str, Contents] | None = None,
    ) -> None:
        self.spec: ProgramSpec = spec
        self.channels: Channels = Channels(spec.channels)
        self.view: View = View()
        self.armed: set[str] = set()
        self.dirty: set[str] = set()
        self.updated: list[str] = [name for name in updated if name in spec.triggers]
        self.kept: dict[str, int] = {name: len(value) for name, value in stored.items() if type(value) is list}
        known = contents or {}
        begun = [name for name in spec.channels if name in stored or name in spec.initial] if stored else spec.initial
        for name in begun:
            channel = self.channels[name] = spec.channels[name].from_checkpoint(stored.get(name, MISSING))
            value = channel.peek()
            if value is not MISSING:
                self._show(name, channel, value, known.get(name))

    def _show(self, name: str, channel: BaseChannel[Any, Any], value: Any, begins: Contents | None = None) -> None:
        if name in self.spec.shared:
            if begins is None and type(value) is list and channel.holds_objects:
                begins = Contents(len(value))
            self.view.put(name, value, begins)
        if channel.transient:
            self.armed.add(name)

    def _note(self, name: str, channel: BaseChannel[Any, Any], begins: Contents | None = None) -> None:
        """Take note that a channel changed; of a list that has only grown, `begins` is what was known of it."""
        self.dirty.add(name)
        if begins is None and self.kept:
            self.kept.pop(name, None)
        value = channel.peek()
        if value is MISSING:
            self.view.drop(name)
            return
        self._show(name, channel, value, begins)
        if name in self.spec.triggers:
            self.updated.append(name)

    def apply(self, writes: Iterable[Sequence[Write]], consumed: Iterable[str] = ()) -> None:
        """Apply the writes of a superstep, task by task in the given order.

        Args:
            writes: for each task its writes.
            consumed: channels that started the tasks and take note of it.

        Raises:
            InvalidUpdateError: writes that do not fit the channels; the state is then no longer usable.
        """
        channels, growing = self.channels, self.spec.growing
        self.updated = []
        for name in consumed:
            if channels[name].consume():
                self._note(name, channels[name])
        grouped: dict[str, list[Any]] = {}
        for task in writes:
            for name, value in task:
                if name in grouped:
                    grouped[name].append(value)
                else:
                    grouped[name] = [value]
        cleared: Iterable[str] = ()
        if self.armed:
            cleared, self.armed = self.armed, set()
        for name, values in grouped.items():
            channel = channels.get(name)
            if channel is None:
                if name not in self.spec.channels:
                    raise unknown_key(name, self.spec)
                channel = channels[name]
            begins = self._beginning(name, values) if name in growing else None
            try:
                changed = channel.update(values)
            except Exception as error:
                held = f", which holds a value of type {type(self.view[name]).__name__}" if name in self.view else ""
                error.add_note(f"While applying {len(values)} write(s) to key '{name}' of '{self.spec.name}'{held}")
                raise
            if changed:
                self._note(name, channel, begins)
            elif channel.transient and channel.is_available():
                self.armed.add(name)
        for name in cleared:
            if name not in grouped and channels[name].update(()):
                self._note(name, channels[name])
            elif name not in grouped:
                self.armed.add(name)
        if not self.updated:
            self.finish()

    def _beginning(self, name: str, values: Sequence[Any]) -> Contents | None:
        """Return what is known of the list of a growing channel, if an update with these values only adds to it."""
        return self.view.contents.get(name) if self.channels[name].only_grows(values) else None

    def has_plain(self, name: str) -> bool:
        """Tell whether a channel holds a list of which nobody else has, or had, any part that can be changed."""
        known = self.view.contents.get(name) if name in self.spec.growing else None
        value = self.channels[name].value
        return known is not None and type(value) is list and known.is_plain(value)

    def stored(self) -> None:
        """Take note that the state is on record as it is."""
        for name in self.spec.growing & self.dirty:
            value = self.channels[name].value
            if type(value) is list:
                self.kept[name] = len(value)
        self.dirty = set()

    def spare(self, writes: Iterable[Sequence[Write]], consumed: Iterable[str]) -> State:
        """Return a copy that `apply` with these arguments will leave alone."""
        touched = {*consumed, *self.armed, *self.spec.late, *(name for task in writes for name, _ in task)}
        new = copy(self)
        new.channels = self.channels.with_copies(touched)
        new.view, new.armed, new.dirty = self.view.copy(), set(self.armed), set(self.dirty)
        new.updated, new.kept = list(self.updated), self.kept.copy()
        return new

    def add(self, writes: Sequence[Write]) -> None:
        """Apply writes on top of what is due: nothing that waits for the next superstep is lost."""
        due, armed = self.updated, self.armed
        self.armed = set()
        self.apply((writes,))
        self.armed |= armed
        self.updated = [*due, *(name for name in self.updated if name not in due)]

    def finish(self) -> None:
        """Make the channels available that waited for the moment when nothing else is due."""
        for name in self.spec.late:
            if self.channels[name].finish():
                self._note(name, self.channels[name])

    def drop_pending(self) -> None:
        """Forget what was due: a new input starts over."""
        self.updated = []
        for name in self.spec.consumable:
            if self.channels[name].checkpoint() is not MISSING:
                self.channels[name] = self.channels[name].blank()
                self._note(name, self.channels[name])
        self.updated = []

    def preview(self, writes: Sequence[Write]) -> View:
        """Return the view as it would be with one task's writes applied, leaving the state as it is."""
        touched: dict[str, list[Any]] = {}
        for name, value in writes:
            if name in self.spec.shared:
                touched.setdefault(name, []).append(value)
        view = Preview(self.view)
        for name, values in touched.items():
            value = self.channels[name].preview(values)
            if value is not MISSING:
                view.put(name, value, self._beginning(name, values) if name in self.spec.growing else None)
        return view


def unknown_key(name: str, spec: ProgramSpec) -> InvalidUpdateError:
    """Return the error of a write to a key that does not exist."""
    keys = ", ".join(spec.keys)
    return InvalidUpdateError(
        f"'{name}' is not a key of the state of '{spec.name}' (keys: {keys})." + did_you_mean(name, spec.keys)
    )
