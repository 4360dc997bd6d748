"""What validates the values that are written to the keys of a pydantic model, one key at a time."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any

from twinstep.adapter import adapter
from twinstep.channels import BaseChannel, LastValue

Check = Callable[[Any], Any]
"""Turns a written value into one of its key's type, or raises."""


def checks_of(model: Any, channels: Mapping[str, BaseChannel[Any, Any]]) -> dict[str, Check]:
    """Return the checks of a model's keys; none when it is no pydantic model.

    Field validators run, except those that look at other fields, and except in models with validators of the whole:
    for these, one written value is not enough; the next node that reads the state runs them, or the end of the run
    (`end_check`). So it is with keys whose reducer takes anything else than values of the key's type.
    """
    fields: Any = getattr(model, "model_fields", None) or {}
    return {
        key: partial(_assigned, model, key) if _has_validators(model, key) else _by_type(fields[key])
        for key, channel in channels.items()
        if key in fields and _takes_its_type(channel)
    }


def end_check(model: Any, read: Callable[[Any], Any], name: str) -> Callable[[Any], None] | None:
    """Return what looks at the state that no node is going to read any more; None when no validator needs all of it.

    A state that lacks a required field is let pass: not every node writes, or reads, every key.
    """
    found = getattr(model, "__pydantic_decorators__", None)
    if found is None or not (found.model_validators or any(_looks_around(v) for v in found.field_validators.values())):
        return None
    required = [key for key, field in model.model_fields.items() if field.is_required()]

    def check(view: Any) -> None:
        if all(key in view for key in required):
            try:
                read(view)
            except Exception as error:
                error.add_note(f"In the state at the end of '{name}'")
                raise

    return check


def _looks_around(validator: Any) -> bool:
    return len(inspect.signature(validator.func).parameters) > 1


def _takes_its_type(channel: BaseChannel[Any, Any]) -> bool:
    return isinstance(channel, LastValue) or getattr(channel, "operator", None) in (operator.add, operator.or_)


def _by_type(field: Any) -> Check:
    typ: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    check: Check = adapter(typ).validate_python
    return check


def _has_validators(model: Any, key: str) -> bool:
    """Tell whether a field has validators, and they need nothing but its value."""
    found = model.__pydantic_decorators__
    own: Iterable[Any] = [v for v in found.field_validators.values() if key in v.info.fields or "*" in v.info.fields]
    if not own or found.model_validators or model.model_config.get("frozen"):
        return False
    return all(len(inspect.signature(each.func).parameters) == 1 for each in own)


def _assigned(model: Any, key: str, value: Any) -> Any:
    """Return a value as assigning it to a field of a model would make it."""
    instance = model.model_construct()
    model.__pydantic_validator__.validate_assignment(instance, key, value)
    return instance.__dict__[key]
