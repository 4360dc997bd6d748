"""The type variables of graphs."""

from typing import Any

from typing_extensions import TypeVar

StateT = TypeVar("StateT", default=Any)
StateT_co = TypeVar("StateT_co", covariant=True)
StateT_contra = TypeVar("StateT_contra", contravariant=True)
ContextT = TypeVar("ContextT", default=None)
InputT = TypeVar("InputT", default=StateT)
OutputT = TypeVar("OutputT", default=StateT)
