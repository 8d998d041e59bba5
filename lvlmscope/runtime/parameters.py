"""Configurations of interventions: types, ranges and choices declared by the fields, checked, and described as JSON."""

import math
import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from lvlmscope.errors import InterventionError, ModelInputError, message
from lvlmscope.runtime.protocol import MethodCard

__all__ = ["InterventionConfig", "Range", "check_parameters"]

_NOUNS = {float: "a number", int: "a whole number", type(None): "None", str: "a text", bool: "True or False"}


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

    ge: float = -math.inf
    gt: float = -math.inf
    le: float = math.inf
    lt: float = math.inf
    noun: str = ""

    def __contains__(self, number: float) -> bool:
        """Whether a finite number lies within the bounds; NaN and infinity never do."""
        return math.isfinite(number) and self.gt < number < self.lt and self.ge <= number <= self.le

    def describe(self, noun: str) -> str:
        """The bounds in words.

        >>> Range(ge=0, lt=1).describe("a number"), Range(gt=0, le=0.5).describe("a number")
        ('a number from 0 to less than 1', 'a number above 0, up to 0.5')
        """
        parts = [self.noun or noun]
        if math.isfinite(self.gt):
            parts.append(f"above {self.gt:g},")
        elif math.isfinite(self.ge):
            parts.append(f"from {self.ge:g}")
        between = "to" if math.isfinite(self.ge) else "up to"
        if math.isfinite(self.lt):
            parts.append(f"{'to less than' if math.isfinite(self.ge) else 'below'} {self.lt:g}")
        elif math.isfinite(self.le):
            parts.append(f"{between} {self.le:g}")
        return " ".join(parts).rstrip(",")


class InterventionConfig:
    """Base of an intervention's dataclass: checks its fields as declared, and describes them.

    Declare numbers as `float` or `int`, with bounds as ``Annotated[float, Range(ge=0, le=1)]``, choices as `Literal`,
    layers as `LayerSpec`; unions of these, `None`, `str`, `bool`, `tuple[...]` and other classes are possible.
    Lists and ranges become tuples, so that the configuration cannot change and equals the one read from JSON.

    The subclass is decorated with ``@dataclass(frozen=True, slots=True, kw_only=True)`` and adds ``start``. A slotted
    dataclass is created anew by its decorator, so call a base method by its class, ``InterventionConfig.describe(self)``,
    not by ``super()``.

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
        value, declared = getattr(config, field.name), _members(hints[field.name])
        if isinstance(value, list | range):
            value = tuple(value)
            object.__setattr__(config, field.name, value)
        if any(_allows(hint, value) for hint in declared):
            continue
        got = f"{field.name}={value!r}"[:80]
        expected = " or ".join(dict.fromkeys(map(_described, declared)))
        task = f"configure {type(config).__name__}"
        if any(_has_type(hint, value) for hint in declared):
            raise ModelInputError(message(got, expected, f"choose {field.name} there", task=task))
        got = f"{got} of type {type(value).__name__}"
        raise InterventionError(message(got, expected, f"change {field.name}", task=task))


def _fields(config: Any) -> tuple[Any, ...]:
    return fields(config)


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, else the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _range(hint: Any) -> tuple[Any, Range]:
    """The type without its annotation, and the range that is annotated."""
    if get_origin(hint) is not Annotated:
        return hint, Range()
    bare, *notes = get_args(hint)
    return bare, next((note for note in notes if isinstance(note, Range)), Range())


def _allows(hint: Any, value: Any) -> bool:
    """Whether a value has the type, lies in its range and is among its choices."""
    if not _has_type(hint, value):
        return False
    bare, bounds = _range(hint)
    if bare in (float, int):
        return value in bounds
    if get_origin(bare) is Literal:
        return value in get_args(bare)
    if get_origin(bare) in (Sequence, tuple):
        return all(_allows(hint, each) for hint, each in zip(_elements(bare, value), value, strict=True))
    return True


def _has_type(hint: Any, value: Any) -> bool:
    bare, _ = _range(hint)
    if bare in (float, int):  # a bool is an int for Python, and no number of heads
        return isinstance(value, Real if bare is float else Integral) and not isinstance(value, bool)
    if bare in (None, type(None), Any):
        return value is None or bare is Any
    origin = get_origin(bare)
    if origin is Literal:
        return type(value) in set(map(type, get_args(bare)))
    if origin in (Sequence, tuple):
        hints = _elements(bare, value) if isinstance(value, tuple) else ()
        return len(hints) == len(value) and all(map(_has_type, hints, value)) if isinstance(value, tuple) else False
    if isinstance(bare, type) and origin is None:
        return isinstance(value, bare)
    expected = "numbers, str, bool, None, Literal, Sequence, tuple, or a class"
    raise InterventionError(message(f"a field of type {hint}", expected, "declare it by these", task="check parameters"))


def _elements(hint: Any, value: tuple[Any, ...]) -> tuple[Any, ...]:
    """The declared type of each element of a sequence; as many as declared where the tuple has a fixed length."""
    declared = get_args(hint)
    if get_origin(hint) is tuple and declared[-1:] != (...,):
        return declared
    return declared[:1] * len(value)


def _described(hint: Any) -> str:
    bare, bounds = _range(hint)
    if bare in (float, int):
        return bounds.describe(_NOUNS[bare])
    if get_origin(bare) is Literal:
        return ", ".join(map(repr, get_args(bare)))
    if get_origin(bare) is tuple and get_args(bare)[-1:] != (...,):
        return f"({', '.join(map(_described, get_args(bare)))})"
    if get_origin(bare) in (Sequence, tuple):
        return "a sequence of numbers" if set(get_args(bare)) & {int, float} else f"a sequence of {get_args(bare)[0]}"
    return _NOUNS.get(bare) or getattr(bare, "__name__", str(bare))


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
