"""Configurations of interventions: types, ranges and choices declared by the fields, checked, and described as JSON."""

import math
import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from lvlmscope.errors import InterventionError, ModelInputError, message
from lvlmscope.registry import close_match
from lvlmscope.runtime.protocol import MethodCard

__all__ = ["InterventionConfig", "Range", "check_parameters"]

_NOUNS = {float: "a number", int: "a whole number", type(None): "None", str: "a text", bool: "True or False"}
_PLURALS = {float: "numbers", int: "numbers", str: "texts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Bounds of a number, declared with its type: ``Annotated[float, Range(ge=0, le=1)]``.

    Attributes:
        ge: The number is greater than or equal to this.
        gt: The number is greater than this.
        le: The number is less than or equal to this.
        lt: The number is less than this.
        noun: What the number is, for messages; `"a number"` or `"a whole number"` when empty.

    >>> 0.5 in Range(gt=0, le=0.5), 0.0 in Range(gt=0, le=0.5)
    (True, False)
    """

    ge: int | float = -math.inf
    gt: int | float = -math.inf
    le: int | float = math.inf
    lt: int | float = math.inf
    noun: str = ""

    def __contains__(self, number: Any) -> bool:
        """Whether a finite number lies within the bounds; NaN and infinity never do."""
        finite = isinstance(number, Integral) or math.isfinite(number)
        return bool(finite and self.gt < number < self.lt and self.ge <= number <= self.le)

    def describe(self, noun: str) -> str:
        """The bounds in words.

        >>> Range(ge=0, lt=1).describe("a number"), Range(gt=0, le=0.5).describe("a number")
        ('a number from 0 to less than 1', 'a number above 0, up to 0.5')
        """
        start = f"from {self.ge:g}" if self.ge > -math.inf else f"above {self.gt:g}" if self.gt > -math.inf else ""
        joined = self.ge > -math.inf
        stop = ""
        if self.le < math.inf:
            stop = f"{'to' if joined else 'up to'} {self.le:g}"
        elif self.lt < math.inf:
            stop = f"{'to less than' if joined else 'below'} {self.lt:g}"
        bounds = (" " if joined else ", ").join(filter(None, (start, stop)))
        return f"{self.noun or noun} {bounds}" if bounds else f"{self.noun or noun}, finite"


class InterventionConfig:
    """Base of an intervention's dataclass: checks its fields as declared, and describes them.

    Declare numbers as `float` or `int`, with bounds as ``Annotated[float, Range(ge=0, le=1)]``, choices as `Literal`,
    layers as `LayerSpec`; unions of these, `None`, `str`, `bool`, `tuple[...]` and other classes are possible.
    Lists and ranges become tuples, so that the configuration cannot change and equals the one read from JSON.

    The subclass is decorated with ``@dataclass(frozen=True, slots=True, kw_only=True)`` and adds ``start``. A slotted
    dataclass is created anew by its decorator, so a base method is called by its class,
    ``InterventionConfig.describe(self)``, not by ``super()``.

    Attributes:
        reference: What the method is cited by: the paper, its equations, and whether it is our reading.
        card: What is the paper's and what is ours, cost, and search space; None for a method without one.
    """

    __slots__ = ()

    reference: ClassVar[str] = ""
    card: ClassVar[MethodCard | None] = None

    def __post_init__(self) -> None:
        """Check every field, then what `validate` requires.

        Raises:
            InterventionError: A value of another type than declared.
            ModelInputError: A value out of range, or not among the choices.
        """
        check_parameters(self)
        self.validate()

    def validate(self) -> None:
        """Checks of fields together, such as one threshold below another; the default requires nothing."""

    def describe(self) -> dict[str, Any]:
        """Name, reference and parameters (JSON values); a parameter that is an object is described by its text."""
        parameters = {each.name: _json_value(getattr(self, each.name)) for each in _fields(self)}
        return {"name": type(self).__name__, "reference": self.reference, "parameters": parameters}


def check_parameters(config: Any) -> None:
    """Refuses a value that its field's declaration does not allow; lists and ranges become tuples.

    Args:
        config: An instance of a frozen dataclass.

    Raises:
        InterventionError: A value of another type, or a field declared by a type that cannot be checked.
        ModelInputError: A value out of range, or not among the choices.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for field in _fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        kept = tuple(value) if isinstance(value, list | range) else value
        if _allows(hint, kept):
            object.__setattr__(config, field.name, kept)
            continue
        got, expected = f"{field.name}={value!r}"[:80], _described(hint)
        task = f"configure {type(config).__name__}"
        if _has_type(hint, kept):
            close = close_match(value, _choices(hint)) if isinstance(value, str) else ""
            fix = f"did you mean {close!r}" if close else f"choose {field.name} there"
            raise ModelInputError(message(got, expected, fix, task=task))
        got = f"{got} of type {type(value).__name__}"
        raise InterventionError(message(got, expected, f"change {field.name}", task=task))


def _fields(config: Any) -> tuple[Any, ...]:
    return fields(config)


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union; none for another type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()


def _range(hint: Any) -> tuple[Any, Range]:
    """The type without its annotation, and the range that is annotated."""
    if get_origin(hint) is not Annotated:
        return hint, Range()
    bare, *notes = get_args(hint)
    return bare, next((note for note in notes if isinstance(note, Range)), Range())


def _elements(hint: Any, count: int) -> tuple[Any, ...]:
    """The declared type of each element of a sequence: ``Sequence[X]``, ``tuple[X, ...]``, or one type for each."""
    declared = get_args(hint)
    fixed = get_origin(hint) is tuple and declared[-1:] != (...,)
    return declared if fixed else declared[:1] * count


def _choices(hint: Any) -> list[str]:
    """The words among which a field chooses."""
    found = get_args(hint) if get_origin(hint) is Literal else [w for each in _members(hint) for w in _choices(each)]
    return [each for each in found if isinstance(each, str)]


def _allows(hint: Any, value: Any) -> bool:
    """Whether a value has the declared type, lies in its range and is among its choices."""
    if members := _members(hint):
        return any(_allows(each, value) for each in members)
    bare, bounds = _range(hint)
    if not _has_type(bare, value):
        return False
    if bare in (float, int):
        return value in bounds
    if get_origin(bare) is Literal:
        return value in get_args(bare)
    if get_origin(bare) in (Sequence, tuple):
        return all(map(_allows, _elements(bare, len(value)), value))
    return True


def _has_type(hint: Any, value: Any) -> bool:
    if members := _members(hint):
        return any(_has_type(each, value) for each in members)
    bare, _ = _range(hint)
    origin = get_origin(bare)
    if bare in (float, int):  # a bool is an int for Python, but no number of heads
        return isinstance(value, Real if bare is float else Integral) and not isinstance(value, bool)
    if origin is Literal:
        return type(value) in set(map(type, get_args(bare)))
    if origin in (Sequence, tuple):
        hints = _elements(bare, len(value)) if isinstance(value, tuple) else ()
        return isinstance(value, tuple) and len(hints) == len(value) and all(map(_has_type, hints, value))
    if isinstance(bare, type) and origin is None:
        return bare is Any or isinstance(value, bare)
    expected = "numbers, str, bool, None, Literal, Sequence[...], tuple[...], unions of these, or a class"
    raise InterventionError(message(f"a field of type {hint}", expected, "declare it so", task="check parameters"))


def _described(hint: Any) -> str:
    if members := _members(hint):
        return " or ".join(dict.fromkeys(map(_described, members)))
    bare, bounds = _range(hint)
    if bare in (float, int):
        return bounds.describe(_NOUNS[bare])
    if get_origin(bare) is Literal:
        return ", ".join(map(repr, get_args(bare)))
    if get_origin(bare) in (Sequence, tuple):
        elements = get_args(bare)
        if get_origin(bare) is tuple and elements[-1:] != (...,):
            return f"{len(elements)} values: {', '.join(map(_described, elements))}"
        return f"a sequence of {_PLURALS.get(elements[0]) or _described(elements[0])}"
    return _NOUNS.get(bare) or str(getattr(bare, "__name__", bare))


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral | Real):  # numpy's numbers too
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, list | tuple | range):
        return [_json_value(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _json_value(each) for key, each in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
