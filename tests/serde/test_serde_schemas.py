"""The types that a program's annotations name can be stored without further ado."""

# mypy: disable-error-code="valid-type, name-defined, misc, operator"
# The classes are made at run time, which is the point of these tests and beyond a type checker.

import operator
import subprocess
import sys
from abc import ABC
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, Required, TypedDict, TypeVar, Union

import pytest
from pydantic import BaseModel

from twinstep.errors import EncodingError
from twinstep.serde import Serializer, register_schema_types

serde = Serializer()


def classes() -> Any:
    """Make a fresh set of classes, none of which is registered."""

    class Ns:
        class Leaf(Enum):
            A = 1

        @dataclass
        class Data:
            leaf: Any = None

        class Model(BaseModel):
            a: int = 0

        class Pair(NamedTuple):
            a: int = 0

        class Text(str):
            pass

        class Fault(Exception):
            pass

    return Ns


def storable(*values: Any) -> bool:
    try:
        return [type(each) for each in serde.loads(serde.dumps(list(values)))] == [type(each) for each in values]
    except EncodingError:
        return False


T = TypeVar("T")


@pytest.mark.parametrize(
    "annotate",
    [
        lambda c: c,
        lambda c: list[c],
        lambda c: dict[str, Sequence[c]],
        lambda c: c | None,
        lambda c: Optional[Union[int, c]],  # noqa: UP007, UP045
        lambda c: Annotated[list[c], operator.add],
        lambda c: Callable[[int, c], str],
        lambda c: Callable[..., c],
        lambda c: type[c],
        lambda c: NewType("Alias", c),
        lambda c: TypeVar("Bound", bound=c),
        lambda c: TypeVar("Either", int, c),
        lambda c: TypedDict("State", {"a": Required[c]}),
        lambda c: TypedDict("State", {"a": Annotated[tuple[c, ...], "note"]}, total=False),
    ],
)
@pytest.mark.parametrize("name", ["Leaf", "Data", "Model", "Pair", "Text"])
def test_named_class_is_registered(annotate: Callable[[Any], Any], name: str) -> None:
    cls = getattr(classes(), name)
    value = cls.A if name == "Leaf" else cls()
    cls.__qualname__ += repr(annotate)  # so that no other case has registered the name
    assert not storable(value)
    register_schema_types(annotate(cls))
    assert storable(value)


def test_fields_signatures_literals_and_subclasses_are_followed() -> None:
    ns = classes()

    @dataclass
    class Outer:
        inner: "dict[str, list[ns.Data]]"  # cannot be resolved: ns is a local name
        model: ns.Model
        many: list[ns.Pair] = field(default_factory=list)

    def node(state: Outer, *, config: int = 0) -> Literal[ns.Leaf.A, "x"]:
        raise NotImplementedError

    class Sub(ns.Model):
        b: list[ns.Data]

    class SubSub(Sub):
        pass

    register_schema_types(partial(node, config=1))
    assert storable(Outer({}, ns.Model()), ns.Pair(), ns.Leaf.A, SubSub(b=[ns.Data()]))
    assert not storable(ns.Text())


def test_base_class_of_a_field_brings_its_known_subclasses() -> None:
    class Shape(ABC):  # noqa: B024
        pass

    @dataclass
    class Circle(Shape):
        r: int

    class State(TypedDict):
        shapes: list[Shape]

    register_schema_types(State)
    assert storable(Circle(1))


def test_generic_classes_and_methods_are_followed() -> None:
    ns = classes()

    @dataclass
    class Box(Generic[T]):
        item: T

    class Holder(BaseModel, Generic[T]):
        item: T

    class Tool:
        def run(self, box: Box[ns.Data]) -> None: ...

        def __call__(self, box: Holder[ns.Model]) -> None: ...

    register_schema_types(Tool().run)
    assert storable(Box(ns.Data()), ns.Data())
    register_schema_types(Tool())
    assert storable(Holder[ns.Model](item=ns.Model()))


def test_names_of_an_enclosing_function_are_found() -> None:
    ns = classes()
    Data = ns.Data

    def node(state: "Data") -> "Missing":  # noqa: F821
        return Data()

    register_schema_types(node)
    assert storable(ns.Data())


def test_resolvable_fields_are_found_beside_others() -> None:
    class Half(TypedDict):
        lost: "Nowhere"  # noqa: F821
        found: "HTTPStatus"

    register_schema_types(Half)
    assert storable(HTTPStatus.OK)


@pytest.mark.parametrize(
    "odd",
    [
        *(None, 5, "text", "not a name", [], (), ..., Any, object(), int, Counter, type, BaseModel, Enum, Exception),
        *(lambda: 0, print, operator.add, sys, T, Literal[1], Callable, Generic, TypedDict, NamedTuple, dict[str, Any]),
    ],
    ids=lambda odd: getattr(odd, "__name__", type(odd).__name__),
)
def test_odd_schemas_are_let_pass(odd: Any) -> None:
    register_schema_types(odd)
    assert serde.loads(serde.dumps(Counter("a"))) == Counter("a")


def test_common_bases_do_not_bring_all_their_subclasses() -> None:
    class Apart(BaseModel):
        pass

    register_schema_types(dict[str, BaseModel | Enum | Exception])
    assert not storable(Apart())


def test_annotations_that_raise_are_let_pass() -> None:
    class Meta(type):
        def __subclasses__(cls) -> Any:
            raise RuntimeError

        def __getattr__(cls, name: str) -> Any:
            raise RuntimeError

    class Wild(metaclass=Meta):
        __annotations__ = {"a": "1/0"}

    register_schema_types(Wild)
    register_schema_types(list[Wild])


def test_pydantic_is_not_imported() -> None:
    code = (
        "import sys, dataclasses; from twinstep.serde import register_schema_types, Serializer\n"
        "@dataclasses.dataclass\nclass A:\n    a: 'list[int]'\n"
        "register_schema_types(A); s = Serializer(); assert s.loads(s.dumps(A([1]))) == A([1])\n"
        "assert not {'pydantic', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
