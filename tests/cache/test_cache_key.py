"""Keys: equal calls share one, different ones never do."""

import functools
import logging
import operator
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twinstep.cache.key import default_cache_key, function_identity
from twinstep.errors import EncodingError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (((), {"a": 1, "b": 2}), ((), {"b": 2, "a": 1})),
        ((({"a": {"x": 1, "y": 2}},), {}), (({"a": {"y": 2, "x": 1}},), {})),
        ((({"x", "y", "z"},), {}), (({"z", "y", "x"},), {})),
    ],
)
def test_order_does_not_matter(one: Any, other: Any) -> None:
    assert default_cache_key(*one[0], **one[1]) == default_cache_key(*other[0], **other[1])


def test_different_arguments_have_different_keys() -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((1,), {}),
        ((1.0,), {}),
        ((True,), {}),
        (("1",), {}),
        ((b"1",), {}),
        ((None,), {}),
        (([1],), {}),
        (((1,),), {}),
        (({1},), {}),
        (({"x": 1},), {}),
        ((), {"x": 1}),
        ((1, 2), {}),
        (([1, 2],), {}),
        ((2, 1), {}),
    ]
    assert len({default_cache_key(*args, **kwargs) for args, kwargs in calls}) == len(calls)


@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [((1, {"x": [threading.Lock()]}), {}, "args"), ((), {"conn": threading.Lock()}, "kwargs")],
)
def test_what_cannot_be_encoded_asks_for_a_key_func(args: Any, kwargs: Any, place: str) -> None:
    with pytest.raises(EncodingError, match=rf"(?s){place}.*key_func"):
        default_cache_key(*args, **kwargs)


class Service:
    def __init__(self, url: str) -> None:
        self.url = url

    def fetch(self, n: int) -> str:
        return f"{self.url}/{n}"

    def __call__(self, n: int) -> str:
        return self.fetch(n)


class Slotted(Service):
    __slots__ = ("__token",)

    def __init__(self, token: str) -> None:
        super().__init__("same")
        self.__token = token


class Meters(int):
    """A number with its own type."""


def nothing(x: int) -> int:
    return x


def closure(captured: Any) -> Callable[[int], Any]:
    return lambda x: (captured, x)


def default(value: Any) -> Callable[..., Any]:
    def call(x: int, value: Any = value) -> Any:
        return value, x

    return call


def keyword_default(value: Any) -> Callable[..., Any]:
    def call(x: int, *, value: Any = value) -> Any:
        return value, x

    return call


def wrapped(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(nothing)
    def call(*args: Any) -> Any:
        return inner(*args)

    return call


def local_class(value: Any) -> type:
    class Local:
        def __init__(self, x: int) -> None:
            super().__init__()
            self.x = value, x

    return Local


def recursive(step: int) -> Callable[[int], int]:
    def down(x: int) -> int:
        return x if x <= 0 else down(x - step)

    return down


def add_one(x: int) -> int:
    return x + 1


def add_two(x: int) -> int:
    return x + 2


PAIRS: dict[str, tuple[Callable[[Any], Callable[..., Any]], Any, Any]] = {
    "closure over text": (closure, "one", "two"),
    "closure over types": (closure, 1, True),
    "closure over a number type": (closure, Meters(1), Meters(2)),
    "closure over functions": (closure, add_one, add_two),
    "closure over a list of functions": (closure, [add_one], [add_two]),
    "closure over a dict of functions": (closure, {"f": add_one}, {"f": add_two}),
    "closure over a set of functions": (closure, {add_one, nothing}, {add_two, nothing}),
    "closure over closures": (lambda x: closure(closure(x)), "one", "two"),
    "closure over objects": (lambda x: closure(Service(x)), "one", "two"),
    "closure over objects in objects": (lambda x: closure(Service(Service(x))), "one", "two"),  # type: ignore[arg-type]
    "closure over classes": (closure, Service, Slotted),
    "closure over local classes": (lambda x: closure(local_class(x)), "one", "two"),
    "closure over modules": (closure, functools, operator),
    "default": (default, "one", "two"),
    "keyword default": (keyword_default, "one", "two"),
    "decorator": (wrapped, add_one, add_two),
    "bound method": (lambda x: Service(x).fetch, "one", "two"),
    "private slot": (lambda x: Slotted(x).fetch, "one", "two"),
    "callable object": (Service, "one", "two"),
    "partial": (lambda x: functools.partial(operator.add, x), 1, 2),
    "partial keywords": (lambda x: functools.partial(default(0), value=x), 1, 2),
    "partial of functions": (lambda x: functools.partial(x, 1), add_one, add_two),
    "builtin method": (lambda x: x.upper, "one", "two"),
    "lru_cache": (lambda x: functools.lru_cache(closure(x)), "one", "two"),
    "recursive closure": (recursive, 1, 2),
    "local class": (local_class, "one", "two"),
}


@pytest.mark.parametrize(("make", "one", "two"), PAIRS.values(), ids=PAIRS)
def test_w12_functions_of_one_factory_do_not_share_an_identity(
    make: Callable[[Any], Callable[..., Any]], one: Any, two: Any
) -> None:
    assert function_identity(make(one)) == function_identity(make(one))
    assert function_identity(make(one)) != function_identity(make(two))


def test_code_counts() -> None:
    lambdas: list[Callable[..., Any]] = [
        lambda a, b: a - b,
        lambda b, a: b - a,
        lambda a, b: a + b,
        lambda a, b: a - b - 1,
        lambda a, b: a.x - b,
        lambda a, b: [a - b for _ in (1,)],
        lambda a, b: [a - b for _ in (2,)],
    ]
    assert len(set(map(function_identity, lambdas))) == len(lambdas)
    assert function_identity(add_one) != function_identity(add_two)


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (add_one, "add_one"),
        (Service("u").fetch, "Service.fetch"),
        (Service("u"), "Service"),
        (functools.partial(functools.partial(add_one)), "add_one"),
        (Service, "Service"),
    ],
)
def test_an_identity_begins_with_module_and_name(func: Callable[..., Any], name: str) -> None:
    assert function_identity(func).startswith(f"{__name__}.{name}:")


@pytest.mark.parametrize("opaque", [threading.Lock, object, lambda: logging.getLogger("x"), lambda: iter([1])])
def test_what_has_no_content_counts_by_its_type(opaque: Callable[[], Any]) -> None:
    assert function_identity(closure(opaque())) == function_identity(closure(opaque()))
    assert function_identity(closure(opaque())) != function_identity(closure(1j))


def test_a_name_that_is_bound_later_is_no_error() -> None:
    def early() -> int:
        return late

    identity = function_identity(early)
    late = 1
    assert identity != function_identity(early)
    assert early() == late


SCRIPT = """
import sys, threading
from twinstep.cache.key import default_cache_key, function_identity
class Client:
    def __init__(self): self.lock, self.tags = threading.Lock(), {"x", "y", len}
def make(*captured):
    def call(x): return x in {"a", "b", "c"}, captured
    return call
print(function_identity(make(Client(), {"p", "q"}, len, sys)), default_cache_key({"k", "l", "m"}, n={"b": 1, "a": 2}))
"""


def test_keys_are_the_same_in_every_process() -> None:
    path = os.pathsep.join([str(Path(__file__).parents[2] / "src"), *sys.path])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(outputs) == 1
