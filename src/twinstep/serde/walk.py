"""The slow way to store a value, taken when the fast one failed: it repairs what it can and names what it cannot."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

from twinstep.errors import EncodingError
from twinstep.serde.failures import FAILURE, failure_parts
from twinstep.serde.kinds import ENCODERS, FINDERS, KINDS, SCALARS, Encoder, Parts, parts_of
from twinstep.serde.registry import OBJECT
from twinstep.serde.values import TEXT

# The parts of an object that map names of attributes: its own, and a pydantic model's extra and private ones.
_ATTRIBUTES: Final = (1, 3, 4)
_BUFFERS: Final = frozenset({bytearray, memoryview})
_ITEM, _ATTRIBUTE, _KEY = "[{}]", ".{}", ".keys()[{}]"


def storable(obj: Any, at: str = "") -> Any:
    """Return a value that packs and is read back as an equal of `obj`.

    Args:
        obj: a value that did not pack, or packs to something else.
        at: what messages call it.

    Raises:
        EncodingError: part of it cannot be stored; the message holds the path and what to do.
    """
    walk = Walk(at)
    try:
        return walk.visit("", None, obj)
    except RecursionError:
        raise walk.refusal("the value is nested too deeply; flatten it") from None


def holds_buffer(obj: Any) -> bool:
    """Tell whether a bytearray or memoryview is anywhere in a value that has been packed."""
    level: list[Any] = [obj]  # as deep in the value as each other
    while True:
        classes: set[type[Any]] = set(map(type, level))
        if classes & _BUFFERS:
            return True
        below: list[Any] = []
        for cls in classes - SCALARS:
            items = [item for item in level if type(item) is cls]
            below += chain.from_iterable(items if cls is dict or cls is list else map(parts_of, items))
            if cls is dict:
                below += chain.from_iterable(item.values() for item in items)
        if not below:
            return False
        level = below


class Walk:
    """One walk over a value, which replaces what MessagePack would refuse or get wrong.

    Bytearrays, which it takes for bytes, and text with lone surrogates become values of their own kinds. Anything that
    cannot be stored raises with its path; among the arguments of an exception it becomes its repr, and an attribute of
    an exception that cannot be stored is left out, so that a failure can always be recorded.
    """

    def __init__(self, at: str = "") -> None:
        self._at = at
        self._path: list[tuple[str, Any]] = []
        self._open: set[int] = set()
        self._lenient = False

    def visit(self, label: str, key: Any, obj: Any) -> Any:
        """Return the value to pack for `obj`, which is found under `key` in what is being visited."""
        depth = len(self._path)
        self._path.append((label, key))
        try:
            stored = self._stored(obj)
        except (EncodingError, RecursionError):
            if not self._lenient:
                raise  # with the path as it is
            stored = _show(obj)
        del self._path[depth:]
        return stored

    def refusal(self, reason: str) -> EncodingError:
        """Return the error for the value that is being visited."""
        steps = [_step(label, key) for label, key in self._path]
        if len(steps) > 16:
            steps[10:-4] = [" ... "]
        path = f"{self._at}{''.join(steps)}"
        return EncodingError(f"Cannot store {path or 'the value'}: {reason}.")

    def _stored(self, obj: Any) -> Any:
        cls = type(obj)
        if cls is str and not _is_unicode(obj):
            return [TEXT.mark, obj.encode("utf-8", "surrogatepass")]
        if cls in SCALARS:
            return obj
        if id(obj) in self._open:
            raise self.refusal("the value contains itself")
        self._open.add(id(obj))
        try:
            if cls is list:
                return [self.visit(_ITEM, index, item) for index, item in enumerate(obj)]
            if cls is dict:
                return self._mapping(obj, _ITEM)
            return self._failure(obj) if isinstance(obj, BaseException) else self._parts(obj)
        finally:
            self._open.discard(id(obj))

    def _mapping(self, obj: dict[Any, Any], label: str) -> dict[Any, Any]:
        stored = {}
        for index, (key, value) in enumerate(list(obj.items())):
            new = self.visit(_KEY, index, key)
            stored[_Key(new) if type(new) is list else new] = self.visit(label, key, value)
        return stored

    def _parts(self, obj: Any) -> Parts:
        try:
            mark, *parts = parts_of(obj)
        except EncodingError as error:
            raise self.refusal(str(error)) from error
        except Exception as error:  # a property or an odd class of the program
            raise self.refusal(f"reading the {type(obj).__name__} raised {error!r}") from error
        kind = KINDS[mark.data]
        stored = [mark]
        for index, part in enumerate(parts):
            if kind is OBJECT and index in _ATTRIBUTES and type(part) is dict:
                stored.append(self._mapping(part, _ATTRIBUTE))
            else:
                stored.append(self.visit(kind.label, index, part))
        return stored

    def _failure(self, error: BaseException) -> Parts:
        name, text, args, attributes = failure_parts(error)
        outside, self._lenient = self._lenient, True
        stored = [FAILURE.mark, name, self.visit("", None, text), self.visit(".args", None, args)]
        self._lenient = False
        kept = {
            key: value for key, each in attributes.items() if (value := self._attribute(key, each)) is not _LEFT_OUT
        }
        self._lenient = outside
        return [*stored, kept] if kept else stored

    def _attribute(self, name: str, value: Any) -> Any:
        try:
            return self.visit(_ATTRIBUTE, name, value)
        except (EncodingError, RecursionError):  # the visit of the exception itself puts the path right
            return _LEFT_OUT


_LEFT_OUT: Final = object()


class _Key:
    """Parts that stand for a key of a mapping, where a list could not be."""

    __slots__ = ("parts",)

    def __init__(self, parts: Parts) -> None:
        self.parts = parts


def _key_parts(key: _Key) -> Parts:
    return key.parts


def _encode_failure(error: BaseException) -> Parts:
    parts: Parts = Walk().visit("", None, error)
    return parts


def _find_failure(cls: type) -> Encoder | None:
    return _encode_failure if issubclass(cls, BaseException) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _step(label: str, key: Any) -> str:
    return label.format(key if label is _ATTRIBUTE else _show(key)) if label else ""


def _show(obj: Any) -> str:
    """Return the repr of anything, cut off, or its type when that fails."""
    try:
        text = repr(obj)
    except Exception:
        text = f"<{type(obj).__qualname__}>"
    text = text if len(text) <= 200 else f"{text[:197]}..."
    return text.encode("utf-8", "backslashreplace").decode()


ENCODERS[_Key] = _key_parts
FINDERS.append(_find_failure)
