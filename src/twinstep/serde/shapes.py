"""How instances of a program's own classes are taken apart and put together again.

Only raw state is read and written (`__dict__`, slots, the builtin value underneath), so that putting together runs no
`__init__`, `__new__`, `__setattr__`, validator or property: an instance comes back exactly as it was.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import Enum, Flag
from types import MemberDescriptorType, NoneType
from typing import Any, Final, NamedTuple

from twinstep.errors import EncodingError, UnknownTypeError
from twinstep.serde.kinds import is_builtin, qualified

Row = tuple[Any, ...]
"""What an instance consists of: texts, bytes and Nones."""


class Bulk(NamedTuple):
    """How instances of some classes are looked at and made by the hundred.

    Attributes:
        row: returns what an instance consists of; None if that cannot be told by texts and bytes.
        make: makes instances of classes from rows.
        differing: returns the places of the instances that do not consist of the very objects in their rows.
        blank: a row that no instance consists of.
    """

    row: Callable[[Any], Row | None]
    make: Callable[[Sequence[type], Sequence[Row]], list[Any]]
    differing: Callable[[Sequence[Any], Sequence[Row]], list[int]]
    blank: Row


class Shape(NamedTuple):
    """How the instances of one class are stored.

    `parts` takes an instance apart and must not hold on to the class; `build` makes an instance from the parts.
    """

    parts: Callable[[Any], tuple[Any, ...]]
    build: Callable[..., Any]
    bulk: Bulk | None = None


class _Base(NamedTuple):
    """How the builtin value inside an instance of a subclass is read, and how an instance is made around one."""

    read: Callable[[Any], Any]
    make: Callable[[type, Any], Any]


def _immutable(base: type, read: Callable[[Any], Any]) -> _Base:
    return _Base(read, lambda cls, plain: base.__new__(cls, plain))


def _filled(base: Any, read: Callable[[Any], Any], fill: Callable[[Any, Any], None]) -> _Base:
    def make(cls: type, plain: Any) -> Any:
        obj = base.__new__(cls)
        fill(obj, plain)
        return obj

    return _Base(read, make)


def _fill_ordered(obj: Any, plain: OrderedDict[Any, Any]) -> None:
    for key, value in plain.items():
        OrderedDict.__setitem__(obj, key, value)


def _fill_default(obj: Any, plain: defaultdict[Any, Any]) -> None:
    defaultdict.__init__(obj, plain.default_factory)
    dict.update(obj, plain)


# The methods are those of the builtin, so that what a subclass overrides is never called.
_BASES: Final[dict[type, _Base]] = {
    int: _immutable(int, int.__int__),
    float: _immutable(float, float.__float__),
    complex: _immutable(complex, complex.__complex__),
    str: _immutable(str, lambda obj: str.__getitem__(obj, slice(None))),
    bytes: _immutable(bytes, lambda obj: bytes.__getitem__(obj, slice(None))),
    tuple: _immutable(tuple, lambda obj: tuple.__getitem__(obj, slice(None))),
    frozenset: _immutable(frozenset, frozenset),
    Decimal: _immutable(Decimal, Decimal),
    list: _filled(list, list.copy, list.extend),
    dict: _filled(dict, dict.copy, dict.update),
    set: _filled(set, set, set.update),
    bytearray: _filled(bytearray, bytearray.copy, bytearray.extend),
    deque: _filled(
        deque,
        lambda obj: deque(deque.__iter__(obj), obj.maxlen),
        lambda obj, plain: deque.__init__(obj, plain, plain.maxlen),
    ),
    OrderedDict: _filled(OrderedDict, lambda obj: OrderedDict(OrderedDict.items(obj)), _fill_ordered),
    defaultdict: _filled(defaultdict, lambda obj: defaultdict(obj.default_factory, dict.copy(obj)), _fill_default),
}


SHAPERS: Final[dict[type, Callable[[Any], Shape]]] = {}
"""What works out how instances of subclasses of a class are stored, where that has a way of its own."""


def shape_of(cls: type) -> Shape:
    """Work out how instances of a class are stored.

    Raises:
        EncodingError: instances hold state that Python code cannot reach, such as a lock's.
    """
    for base, shaper in SHAPERS.items():
        if issubclass(cls, base):
            return shaper(cls)
    if issubclass(cls, Enum):
        return _enum(cls)
    if is_model(cls):
        return _model(cls)
    root = root_of(cls)
    if root is object:
        return plain_shape(cls)
    if root in _BASES:
        return _extended(cls, root, _BASES[root])
    raise EncodingError(f"'{qualified(cls)}' cannot be registered: its instances keep their state inside of C code")


def root_of(cls: type) -> type | None:
    """Return the builtin class whose memory layout a class extends, or None when C code of its own adds to that."""
    if is_builtin(cls):
        return None
    root = cls
    while not is_builtin(root) and root not in _BASES:
        root = root.__base__ or object
    if root is object and not getattr(cls, "__abstractmethods__", None) and not hasattr(cls, "__del__"):
        try:
            object.__new__(cls)
        except TypeError:  # a class of an extension module, which has its own allocator
            return None
    return root


def is_model(cls: type) -> bool:
    """Tell whether a class is a pydantic model, without importing pydantic."""
    model = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return model is not None and issubclass(cls, model)


def is_data(cls: type) -> bool:
    """Tell whether a class declares data, so that its instances stand for their content alone."""
    return issubclass(cls, Enum) or is_dataclass(cls) or is_model(cls) or root_of(cls) in _BASES


def _enum(cls: type[Enum]) -> Shape:
    members = cls._member_map_

    def build(tag: str | int) -> Any:
        if type(tag) is str:
            if tag in members:
                return members[tag]
            raise UnknownTypeError(f"The enum '{qualified(cls)}' has no member '{tag}' any more; add it back.")
        if type(tag) is not int:
            raise TypeError(f"a member of an enum is a {type(tag).__name__}")
        # What Flag itself does with a combination of members; no override is consulted.
        return cls._value2member_map_.get(tag) or Flag._missing_.__func__(cls, tag)  # type: ignore[attr-defined]

    return Shape(_enum_parts, build)


def _enum_parts(obj: Any) -> tuple[Any]:
    name = obj._name_
    return (name if type(obj)._member_map_.get(name) is obj else obj._value_,)


def _slots(cls: type) -> dict[str, MemberDescriptorType]:
    return {
        name: member
        for base in reversed(cls.__mro__)
        if not is_builtin(base)
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    }


def _attributes_reader(cls: type) -> Callable[[Any], dict[str, Any]]:
    names, has_dict = tuple(_slots(cls)), bool(cls.__dictoffset__)
    if not names:
        return _dict_of if has_dict else lambda obj: {}

    def read(obj: Any) -> dict[str, Any]:
        attributes = dict(_dict_of(obj)) if has_dict else {}
        for name in names:
            try:
                attributes[name] = object.__getattribute__(obj, name)
            except AttributeError:  # a slot that was never set
                continue
        return attributes

    return read


def _dict_of(obj: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = obj.__dict__
    if "__orig_class__" in attributes:  # what typing notes on an instance of Box[int]; it says nothing about the value
        attributes = {name: value for name, value in attributes.items() if name != "__orig_class__"}
    return attributes


def _attributes_writer(cls: type, leaving: Collection[str] = ()) -> Callable[[Any, Any], None]:
    slots, has_dict = _slots(cls), bool(cls.__dictoffset__)
    missing = {name: default for name, default in _defaults(cls).items() if name not in leaving}

    def write(obj: Any, attributes: Any) -> None:
        if type(attributes) is not dict:
            raise TypeError("the attributes are no mapping")
        for name, default in missing.items():
            if name not in attributes:
                attributes[name] = default()
        if not slots:
            if has_dict:
                obj.__dict__.update(attributes)
            return
        for name, value in attributes.items():
            if name in slots:
                slots[name].__set__(obj, value)
            elif has_dict:
                obj.__dict__[name] = value

    return write


def plain_shape(cls: type, leaving: Collection[str] = ()) -> Shape:
    """Return how instances are stored by their attributes; those to leave out are not added when they are missing."""
    read, write = _attributes_reader(cls), _attributes_writer(cls, leaving)

    def build(attributes: Any) -> Any:
        obj: Any = object.__new__(cls)
        write(obj, attributes)
        return obj

    return Shape(lambda obj: (read(obj),), build)


def _extended(cls: type, root: type, base: _Base) -> Shape:
    read, write, make = _attributes_reader(cls), _attributes_writer(cls), base.make
    field_names: tuple[str, ...] = getattr(cls, "_fields", ()) if root is tuple else ()

    def build(attributes: Any, plain: Any) -> Any:
        if root is not type(plain):
            raise TypeError(f"a '{qualified(cls)}' was stored around a {type(plain).__name__}")
        obj = make(cls, _fit(cls, field_names, plain) if field_names else plain)
        write(obj, attributes)
        return obj

    return Shape(lambda obj: (read(obj), base.read(obj)), build)


def _fit(cls: Any, names: tuple[str, ...], items: Any) -> tuple[Any, ...]:
    """Add the defaults of fields that a named tuple has got since it was stored."""
    added = names[len(items) :]
    if len(items) > len(names) or any(name not in cls._field_defaults for name in added):
        raise UnknownTypeError(
            f"A stored '{qualified(cls)}' has {len(items)} fields, the class has {len(names)}; "
            f"give new fields defaults."
        )
    return (*items, *(cls._field_defaults[name] for name in added))


def _model(cls: Any) -> Shape:
    missing = _defaults(cls)

    def build(values: Any, fields_set: Any = None, extra: Any = None, private: Any = None) -> Any:
        if type(values) is not dict or type(fields_set) not in (list, NoneType):
            raise TypeError("the fields of a model have the wrong types")
        if any(type(part) not in (dict, NoneType) for part in (extra, private)):
            raise TypeError("the attributes of a model have the wrong types")
        given = set(values if fields_set is None else fields_set)
        for name, default in missing.items():
            if name not in values:
                values[name] = default()
        obj: Any = object.__new__(cls)
        object.__setattr__(obj, "__dict__", values)
        object.__setattr__(obj, "__pydantic_fields_set__", given)
        object.__setattr__(obj, "__pydantic_extra__", extra)
        object.__setattr__(obj, "__pydantic_private__", private)
        return obj

    return Shape(_model_parts, build)


def _model_parts(obj: Any) -> tuple[Any, ...]:
    values, given = obj.__dict__, obj.__pydantic_fields_set__
    extra, private = obj.__pydantic_extra__, obj.__pydantic_private__
    fields_set = None if given == values.keys() else sorted(given)
    if extra is None and private is None:
        return (values,) if fields_set is None else (values, fields_set)
    return (values, fields_set, extra, private)


_FACTORIES: Final = (list, dict, set, tuple, frozenset, str, int, float, bool)


def _defaults(cls: Any) -> dict[str, Callable[[], Any]]:
    """Return what fills fields that a class has got since an instance was stored; own factories are never called."""
    declared: list[tuple[str, Any, Any]]
    if is_model(cls):
        declared = [(name, field.default, field.default_factory) for name, field in cls.model_fields.items()]
    elif is_dataclass(cls):
        declared = [(field.name, field.default, field.default_factory) for field in fields(cls)]
    else:
        return {}
    unset = (MISSING, getattr(sys.modules.get("pydantic_core"), "PydanticUndefined", MISSING))
    found: dict[str, Callable[[], Any]] = {}
    for name, default, factory in declared:
        if any(factory is each for each in _FACTORIES):
            found[name] = factory
        elif not any(default is each for each in unset):
            found[name] = _copies(default)
    return found


def _copies(default: Any) -> Callable[[], Any]:
    return default.copy if type(default) in (list, dict, set) else lambda: default
