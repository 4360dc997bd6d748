"""State schemas: from a class with annotations to channels, and between its instances and writes."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Set
from operator import add, methodcaller, or_
from types import FrameType
from typing import Annotated, Any, ClassVar, NotRequired, Required, get_args, get_origin, get_type_hints, is_typeddict

from twinstep.channels import BaseChannel, BinaryOperatorAggregate, LastValue
from twinstep.constants import ROOT
from twinstep.errors import GraphValidationError, InvalidUpdateError
from twinstep.graph.validation import Check, checks_of
from twinstep.managed import ManagedValue
from twinstep.messages.conversation import Conversation, is_add_messages
from twinstep.pregel.futures import is_handle
from twinstep.pregel.spec import View
from twinstep.stream.events import Write

AnyChannel = BaseChannel[Any, Any]
Reader = Callable[[View], Any]
"""Makes what a node, a path function or a caller is given from the state."""


class Schema:
    """One schema of a graph: which keys it has, and how an instance is made from them.

    Args:
        type: TypedDict, dataclass, pydantic model, any class with annotations; or a bare type, whose values are then
            the only key, `"__root__"`.

    Attributes:
        channels: the keys' channels (templates).
        managed: the keys that the engine fills in; filled: the same as pairs.
        build: makes an instance from the values of the available keys.
        coerce: makes one from the payload of a `Send`; None when any mapping is one.
    """

    def __init__(self, type: Any) -> None:
        self.type = type
        self.channels: dict[str, AnyChannel] = {}
        self.managed: dict[str, ManagedValue] = {}
        hints = hints_of(type)
        for name, annotation in hints.items():
            found = channel_of(annotation, name)
            if isinstance(found, ManagedValue):
                self.managed[name] = found
            else:
                self.channels[name] = found
        if not hints:
            root = channel_of(type, ROOT)
            assert isinstance(root, BaseChannel)
            self.channels[ROOT] = root
        self.keys: tuple[str, ...] = tuple(self.channels)
        self.filled: tuple[tuple[str, ManagedValue], ...] = tuple(self.managed.items())
        self.is_root: bool = ROOT in self.channels
        self.build: Callable[[dict[str, Any]], Any] = _builder(type)
        self.coerce: Callable[[Any], Any] | None = None if self.build is _same else self._coerced

    @property
    def name(self) -> str:
        """The name of the type."""
        return getattr(self.type, "__name__", str(self.type))

    def reader(self, all_keys: Set[str]) -> Reader:
        """Return the function that makes an instance from a state with `all_keys`."""
        if self.is_root:
            return lambda view: view.value(ROOT)
        keys, build = (*self.keys, *self.managed), self.build
        if build is _same:
            return methodcaller("whole") if all_keys <= frozenset(keys) else methodcaller("pick", keys)
        return lambda view: build(view.pick(keys))

    def checks(self) -> dict[str, Check]:
        """Return what validates the values written to its keys."""
        talks = {key: channel.check for key, channel in self.channels.items() if isinstance(channel, Conversation)}
        return {**talks, **checks_of(self.type, self.channels)}

    def _coerced(self, payload: Any) -> Any:
        return self.build(dict(payload)) if isinstance(payload, Mapping) else payload


def _builder(type: Any) -> Callable[[dict[str, Any]], Any]:
    """Return what makes an instance from the values of state keys, which are the names of its fields."""
    if not is_structured(get_origin(type) or type):
        return _same
    fields: Any = getattr(type, "model_fields", None) or {}
    aliases = {
        name: field.validation_alias for name, field in fields.items() if isinstance(field.validation_alias, str)
    }
    if aliases:
        return lambda values: type(**{aliases.get(name, name): value for name, value in values.items()})
    return lambda values: type(**values)


def _same(values: dict[str, Any]) -> Any:
    return values


def is_structured(type: Any) -> bool:
    """Tell whether instances of a type are objects with fields: a dataclass or a pydantic model."""
    return inspect.isclass(type) and (dataclasses.is_dataclass(type) or hasattr(type, "model_fields"))


def hints_of(type: Any) -> dict[str, Any]:
    """Return the annotations of a state class, also of one with type arguments; empty for a bare type.

    Raises:
        GraphValidationError: an annotation names something that does not exist.
    """
    origin = get_origin(type)
    if inspect.isclass(origin):
        given = dict(zip(getattr(origin, "__parameters__", ()), get_args(type), strict=False))
        return {name: _filled(hint, given) for name, hint in hints_of(origin).items()}
    if not inspect.isclass(type) or not (is_typeddict(type) or is_structured(type) or _own_annotations(type)):
        return {}
    try:
        return _given(type, get_type_hints(type, include_extras=True))
    except NameError as error:
        # a class made inside a function may refer to names of that function: look where the graph is being built
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            try:
                return _given(type, get_type_hints(type, localns=frame.f_locals, include_extras=True))
            except NameError:
                frame = frame.f_back
        raise GraphValidationError(
            f"Schema {type.__name__}: {error}, which an annotation refers to; define or import it before the graph is "
            "built (an import under TYPE_CHECKING is not enough)."
        ) from error


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """Return an annotation with type arguments in the place of type variables."""
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(p, p) for p in parameters)] if parameters else given.get(hint, hint)


def _given(type: Any, hints: dict[str, Any]) -> dict[str, Any]:
    """Return the annotations of what the constructor takes."""
    if dataclasses.is_dataclass(type):
        return {f.name: hints[f.name] for f in dataclasses.fields(type) if f.init}
    fields = getattr(type, "model_fields", None)
    named = hints if fields is None else {name: hints[name] for name in fields if name in hints}
    return {name: hint for name, hint in named.items() if get_origin(hint) is not ClassVar and hint is not ClassVar}


def _own_annotations(type: Any) -> bool:
    return type.__module__ != "builtins" and bool(inspect.get_annotations(type))


def channel_of(annotation: Any, key: str) -> AnyChannel | ManagedValue:
    """Return the channel that an annotation describes.

    Raises:
        GraphValidationError: the annotation holds a function that is no reducer.
    """
    while get_origin(annotation) in (Required, NotRequired):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is not Annotated:
        return LastValue(annotation, key)
    typ, *metadata = get_args(annotation)
    for item in metadata:
        if isinstance(item, ManagedValue):
            return item
    for item in reversed(metadata):  # texts and constraints may stand behind a reducer
        if isinstance(item, BaseChannel):
            channel = item.blank()
            channel.typ = typ if item.typ is Any else item.typ
            return channel
        if inspect.isclass(item) and issubclass(item, BaseChannel):
            return item(typ)
        if callable(item) and not inspect.isclass(item):
            make = Conversation if is_add_messages(item) else BinaryOperatorAggregate
            return make(typ, checked_reducer(item, key), key)
    return LastValue(typ, key)


def checked_reducer(reducer: Callable[..., Any], key: str) -> Callable[[Any, Any], Any]:
    """Return a reducer that takes two values.

    Raises:
        GraphValidationError: it does not.
    """
    if reducer is add or reducer is or_:  # a builtin's signature is parsed from a text, which is slow
        return reducer
    try:
        parameters = inspect.signature(reducer).parameters.values()
    except ValueError:  # a builtin without a signature, such as operator.add in some versions
        return reducer
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters) or len(required) <= 2 <= len(positional):
        return reducer
    names = ", ".join(p.name for p in positional)
    raise GraphValidationError(f"Invalid reducer signature for '{key}'. Expected (a, b) -> c. Got ({names}).")


def field_names(instance: Any) -> Iterable[str]:
    """Return the names of the fields of a dataclass or model instance; none for any other value."""
    fields = getattr(type(instance), "model_fields", None)
    if fields is None and dataclasses.is_dataclass(instance):
        fields = [field.name for field in dataclasses.fields(instance)]
    return fields or ()


def writes_of(update: Any, keys: Mapping[str, AnyChannel], *, defaults: bool = False) -> list[Write]:
    """Return the writes that an update stands for.

    Args:
        update: None, a mapping, a list of pairs, or an instance of a state class, of which the fields are taken that
            are not None and, in a pydantic model, were set.
        defaults: take those fields of a model too that were not set but have a default.

    Raises:
        InvalidUpdateError: it is something else.
    """
    if update is None:
        return []
    if ROOT in keys:
        return [(ROOT, update)]
    if type(update) is dict or isinstance(update, Mapping):
        return list(update.items())
    if isinstance(update, list | tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in update):
        return [(key, value) for key, value in update]
    named = [(name, getattr(update, name)) for name in field_names(update) if name in keys]
    if named:
        chosen = getattr(update, "model_fields_set", None)
        if chosen is not None and not defaults:
            return [(name, value) for name, value in named if name in chosen]
        return [(name, value) for name, value in named if value is not None or name in (chosen or ())]
    if is_handle(update):
        raise InvalidUpdateError("Expected dict, got the handle of a task: call .result() on it, or await it.")
    raise InvalidUpdateError(
        f"Expected dict, got {update!r}. A node returns None, a mapping of state keys, an instance of the state class, "
        "a Command, or a list of these. (INVALID_GRAPH_NODE_RETURN_VALUE)"
    )
