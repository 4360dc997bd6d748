"""NumPy arrays and scalars. NumPy is imported only to decode one; a program that uses none never loads it."""

from __future__ import annotations

import re
import sys
from math import prod
from typing import Any, Final

from twinstep.errors import EncodingError, UnknownTypeError
from twinstep.serde.kinds import FINDERS, Encoder, Kind, Parts

_PLAIN: Final = re.compile(r"[<>|=][?biufcmMSUV]\d+(\[\d*[A-Za-z]+\])?")


def _find(cls: type) -> Encoder | None:
    numpy = sys.modules.get("numpy")
    array, scalar = getattr(numpy, "ndarray", None), getattr(numpy, "generic", None)
    if scalar is None:
        return None
    if cls is array:
        return _array_parts
    return _scalar_parts if issubclass(cls, scalar) and cls.__module__ == "numpy" else None


def _array_parts(obj: Any) -> Parts:
    order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
    return [ARRAY.mark, _spec(obj.dtype), list(obj.shape), obj.tobytes(order), order]


def _scalar_parts(obj: Any) -> Parts:
    if isinstance(obj, str | bytes):  # a NumPy buffer would lose trailing NULs
        base: Any = str if isinstance(obj, str) else bytes
        return [SCALAR.mark, None, base.__getitem__(obj, slice(None))]
    return [SCALAR.mark, _spec(obj.dtype), obj.tobytes()]


def _spec(dtype: Any) -> Any:
    """Describe a dtype: its array-protocol code, or the fields of a packed structure."""
    if dtype.names is None:
        spec: Any = dtype.str if _PLAIN.fullmatch(dtype.str) else None
    else:
        spec = [[name, _spec(dtype[name].base), list(dtype[name].shape)] for name in dtype.names]
    if spec is None or _dtype(_numpy(), spec) != dtype:
        raise EncodingError(f"a NumPy value of dtype {dtype} cannot be stored; convert it with astype() first")
    return spec


def _dtype(numpy: Any, spec: Any) -> Any:
    if type(spec) is str:
        if not _PLAIN.fullmatch(spec):
            raise ValueError(f"{spec!r} is no dtype")
        return numpy.dtype(spec)
    fields = [_exact(list, field) for field in _exact(list, spec)]
    return numpy.dtype([(_exact(str, name), _dtype(numpy, each), _shape(shape)) for name, each, shape in fields])


def _shape(sizes: Any) -> tuple[int, ...]:
    return tuple(_exact(int, size) for size in _exact(list, sizes))


def _exact(cls: type, value: Any) -> Any:
    if type(value) is not cls:
        raise TypeError(f"a part is a {type(value).__name__}")
    return value


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise UnknownTypeError("A stored value is a NumPy array; install the package numpy.") from error
    return numpy


def _array(spec: Any, shape: list[int], data: bytes, order: str) -> Any:
    numpy = _numpy()
    dtype, sizes = _dtype(numpy, spec), _shape(shape)
    if prod(sizes) * dtype.itemsize != len(_exact(bytes, data)):
        raise ValueError("the shape of an array does not fit its data")
    return numpy.ndarray(sizes, dtype, data, order=_exact(str, order)).copy(order="K")


def _scalar(spec: Any, data: Any) -> Any:
    numpy = _numpy()
    if spec is None:
        return numpy.str_(data) if type(data) is str else numpy.bytes_(_exact(bytes, data))
    return _array(spec, [], data, "C")[()]


ARRAY: Final = Kind(42, "numpy.ndarray", _array)
SCALAR: Final = Kind(43, "numpy.generic", _scalar)
FINDERS.append(_find)
