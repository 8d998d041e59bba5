"""An intervention's parameters checked against the types that its class declares."""

import types
from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lvlmscope.errors import InterventionError, message

__all__ = ["check_types"]

_NAMES = {float: "a number", int: "a whole number", type(None): "None"}


def check_types(intervention: Any) -> None:
    """Refuse a parameter of another type than its field's; ranges are the intervention's own to check.

    Args:
        intervention: A dataclass. Fields of other types than numbers, words and layers are passed over.

    Raises:
        InterventionError: A value of another type, with the field's name.
    """
    hints = get_type_hints(type(intervention))
    for field in fields(intervention):
        value, wanted = getattr(intervention, field.name), _members(hints[field.name])
        if not any(_fits(value, each) for each in wanted):
            received = f"{field.name}={value!r}"[:80] + f" of type {type(value).__name__}"
            possible = " or ".join(dict.fromkeys(map(_named, wanted)))
            asked, todo = f"configure {type(intervention).__name__}", f"change {field.name}"
            raise InterventionError(message(asked, received, possible, todo))


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    if hint in (float, int):
        return isinstance(value, Real if hint is float else Integral) and not isinstance(value, bool)
    if hint is type(None):
        return value is None
    origin = get_origin(hint)
    if origin is Literal:  # which words are possible, and which numbers beside them, the intervention's own check tells
        return value is None or isinstance(value, str | Real)
    if origin is Sequence:
        wanted = get_args(hint)[0]
        return isinstance(value, list | tuple | range) and all(_fits(each, wanted) for each in value)
    return True


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(map(repr, get_args(hint)))
    return "a sequence of numbers" if get_origin(hint) is Sequence else _NAMES.get(hint, str(hint))
