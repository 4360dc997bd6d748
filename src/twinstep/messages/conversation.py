"""A conversation as a state key: `add_messages` appends, replaces and removes by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from operator import attrgetter
from typing import Any, Final, Literal, Self, overload

from twinstep.channels import MISSING, BinaryOperatorAggregate
from twinstep.errors import InvalidMessageError, InvalidUpdateError, did_you_mean
from twinstep.ids import new_id, path_id
from twinstep.messages.base import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from twinstep.messages.convert import MessageLike, as_messages
from twinstep.messages.openai import openai_content
from twinstep.neighbours import meet_neighbours
from twinstep.scope import current_scope

REMOVE_ALL_MESSAGES = "__remove_all__"
"""`RemoveMessage(id=REMOVE_ALL_MESSAGES)` drops everything before it."""
Format = Literal["langchain-openai"]
Messages = MessageLike | list[MessageLike]
_WHOLE: Final = frozenset({HumanMessage, AIMessage, SystemMessage, ToolMessage, RemoveMessage})
_id_of: Final = attrgetter("id")


@overload
def add_messages(left: Messages, right: Messages, *, format: Format | None = None) -> list[Any]: ...
@overload
def add_messages(*, format: Format | None = None) -> Callable[[Messages, Messages], list[Any]]: ...
def add_messages(left: Any = None, right: Any = None, *, format: Any = None) -> Any:
    """Return a conversation with messages added: a message whose id is known replaces the old one in its place.

    Messages without an id are given one; in a run the same one when the code runs again. `RemoveMessage` takes
    a message out. Called without arguments, it returns the reducer with the options bound. As the reducer of a state
    key, adding takes the same time however long the conversation is.

    Args:
        left: the conversation so far: one message-like value or a list of them.
        right: what to add: the same.
        format: `langchain-openai` gives the added messages contents in the shape of the OpenAI API.

    Raises:
        InvalidUpdateError: only one argument is given, a value is no message, an id to remove does not exist, or the
            format is unknown.

    Example:
        >>> from twinstep.graph import add_messages
        >>> from twinstep.messages import HumanMessage
        >>> add_messages([HumanMessage("Hi", id="1")], {"role": "assistant", "content": "Hello!", "id": "2"})
        [HumanMessage(content='Hi', id='1'), AIMessage(content='Hello!', id='2')]
    """
    if format not in (None, "langchain-openai"):
        raise InvalidUpdateError(
            f"Unrecognized format={format!r}; it is 'langchain-openai' or None."
            + did_you_mean(format, ["langchain-openai"])
        )
    if left is None and right is None:
        return partial(add_messages, format=format)
    if left is None or right is None:
        given = "right" if left is None else "left"
        raise InvalidUpdateError(f"add_messages needs both 'left' and 'right'; only '{given}' was given.")
    talk = Talk(identified(left, id_of=_stable([])))
    talk.add(identified(right, format, _stable(talk.messages)))
    return talk.messages


def _stable(before: Sequence[Any]) -> Callable[[Any], str]:
    """Return what gives ids to messages that are added after others.

    In a run the id comes from the place in the code, so that a resumed entrypoint calls its tasks with equal messages.
    """
    scope = current_scope()
    if scope is None:
        return lambda message: new_id()
    place = ("message", len(before), before[-1].id if before else None)

    def id_of(message: Any) -> str:
        key = (*place, message.type, repr(message.content))
        return path_id((*scope.path, *key, scope.occurrence(key)))

    return id_of


def identified(
    value: Messages, format: str | None = None, id_of: Callable[[Any], str] = lambda message: new_id()
) -> list[Any]:
    """Return one message-like value or several as messages that have ids; those without one are given one.

    Raises:
        InvalidMessageError: a value is no message.
    """
    several = value if isinstance(value, list) else [value]
    if format is None and _WHOLE.issuperset(map(type, several)) and None not in map(_id_of, several):
        return list(several)  # a long conversation that was read: nothing is missing
    return [_finished(message, format, id_of) for item in several for message in as_messages(item)]


def _finished(message: Any, format: str | None, id_of: Callable[[Any], str]) -> Any:
    changes: dict[str, Any] = {} if message.id is not None else {"id": id_of(message)}
    if format is not None and not isinstance(message.content, str):
        changes["content"] = openai_content(message.content)
    if not changes:
        return message
    if isinstance(message, BaseMessage):
        changed = copy(message)
        for name, value in changes.items():
            setattr(changed, name, value)
        return changed
    if hasattr(message, "model_copy"):  # the caller's message stays as it is: it may be returned again
        return message.model_copy(update=changes)
    raise InvalidMessageError(f"A message of another library needs an id: {message!r}.")


class Talk:
    """Messages in order, and the place of each by its id."""

    __slots__ = ("messages", "places")

    def __init__(self, messages: list[Any], places: dict[str, int] | None = None) -> None:
        self.messages: list[Any] = messages
        self.places: dict[str, int] = places if places is not None else _places(messages)

    def copy(self) -> Talk:
        """Return another one about the same list of messages."""
        return Talk(self.messages, self.places.copy())

    def add(self, added: Sequence[Any]) -> None:
        """Add messages that have ids: append them, replace those of the same id, or take them out.

        Raises:
            InvalidUpdateError: an id to remove does not exist.
        """
        if any(message.id == REMOVE_ALL_MESSAGES for message in added):
            last = max(n for n, message in enumerate(added) if message.id == REMOVE_ALL_MESSAGES)
            self.messages, self.places = [], {}
            added = added[last + 1 :]
        gone: set[str] = set()
        for message in added:
            place = self.places.get(message.id)
            if message.type == "remove":
                if place is None:
                    raise InvalidUpdateError(
                        f"Attempting to delete a message with an ID that doesn't exist ('{message.id}')"
                    )
                gone.add(message.id)
            elif place is None:
                self.places[message.id] = len(self.messages)
                self.messages.append(message)
            else:
                gone.discard(message.id)
                self.messages[place] = message
        if gone:
            self.messages = [message for message in self.messages if message.id not in gone]
            self.places = _places(self.messages)


def _talk_of(messages: Any) -> Talk:
    """Return a conversation that was read: mostly messages that have ids."""
    if type(messages) is list and _WHOLE.issuperset(map(type, messages)):
        places = _places(messages)
        if None not in places:
            return Talk(messages, places)
    return Talk(identified(messages))


def _places(messages: Sequence[Any]) -> dict[str, int]:
    return dict(zip(map(_id_of, messages), range(len(messages)), strict=True))


class Conversation(BinaryOperatorAggregate[Any, Any]):
    """A state key that holds messages; what `add_messages` does, without looking at all of them each time.

    Attributes:
        format: of the contents of added messages.
    """

    __slots__ = ("_talk", "format")
    value: Any

    def __init__(self, typ: Any, operator: Callable[..., Any] = add_messages, key: str = "") -> None:
        super().__init__(typ, operator, key)
        self.format: str | None = operator.keywords["format"] if isinstance(operator, partial) else None
        self._talk: Talk | None = None

    @property
    def keeps_items(self) -> bool:
        return True

    @property
    def holds_objects(self) -> bool:
        return self._talk is not None and self._talk.messages is self.value

    def blank(self) -> Self:
        new = super().blank()
        new.format, new._talk = self.format, None
        meet_neighbours()  # a program with a conversation may hand it to another library's model
        return new

    def copy(self) -> Self:
        new = super().copy()
        new._talk = self._known()
        return new

    def _kind(self) -> tuple[Any, ...]:
        return (self.format,)  # whatever class of messages the annotation names

    def check(self, value: Any) -> Any:
        """Return a write as it is put on record: messages that have ids, one or a list as it was given."""
        messages = identified(value, self.format)
        return messages[0] if len(messages) == 1 and not isinstance(value, list) else messages

    def fold(self, values: Sequence[Any]) -> None:
        # a list that was handed out stays as it is; copying it costs little beside looking at each message
        talk = self._known() or _talk_of(self.value if self.value is not MISSING else [])
        talk.messages = list(talk.messages)
        for value in values:
            talk.add(identified(value, self.format))
        self.value, self._talk = talk.messages, talk

    def _known(self) -> Talk | None:
        """Return what is known of the messages, if they are still those of the last fold."""
        return self._talk.copy() if self._talk is not None and self.holds_objects else None


def is_add_messages(reducer: Any) -> bool:
    """Tell whether a reducer is `add_messages`, with or without options."""
    return reducer is add_messages or (isinstance(reducer, partial) and reducer.func is add_messages)
