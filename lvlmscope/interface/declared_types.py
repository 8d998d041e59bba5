"""What an annotation declares: the type, the range and the choices of a value."""

import math
import types
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lvlmscope.errors import ModelInputError, message

__all__ = ["Range", "allows", "choices", "describe_hint", "has_type", "members", "without_range"]

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


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union; none for another type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()


def without_range(hint: Any) -> tuple[Any, Range]:
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


def choices(hint: Any) -> list[str]:
    """The words among which a value is chosen.

    Returns:
        The texts of its `Literal`s.
    """
    found = get_args(hint) if get_origin(hint) is Literal else [w for each in members(hint) for w in choices(each)]
    return [each for each in found if isinstance(each, str)]


def allows(hint: Any, value: Any) -> bool:
    """Whether a value has the declared type, lies in its range and is among its choices.

    Args:
        value: Any value; a sequence as a tuple.

    Returns:
        Whether it has.
    """
    if union := members(hint):
        return any(allows(each, value) for each in union)
    bare, bounds = without_range(hint)
    if not has_type(bare, value):
        return False
    if bare in (float, int):
        return value in bounds
    if get_origin(bare) is Literal:
        return value in get_args(bare)
    if get_origin(bare) in (Sequence, tuple):
        return all(map(allows, _elements(bare, len(value)), value))
    return True


def has_type(hint: Any, value: Any) -> bool:
    """Whether a value has the declared type, whatever its range or the choices.

    Args:
        value: Any value; a sequence as a tuple.

    Returns:
        Whether it has.

    Raises:
        ModelInputError: An annotation that cannot be checked.
    """
    if union := members(hint):
        return any(has_type(each, value) for each in union)
    bare, _ = without_range(hint)
    origin = get_origin(bare)
    if bare in (float, int):  # a bool is an int for Python, but no number of heads
        return isinstance(value, Real if bare is float else Integral) and not isinstance(value, bool)
    if origin is Literal:
        return type(value) in set(map(type, get_args(bare)))
    if origin in (Sequence, tuple):
        hints = _elements(bare, len(value)) if isinstance(value, tuple) else ()
        return isinstance(value, tuple) and len(hints) == len(value) and all(map(has_type, hints, value))
    if isinstance(bare, type) and origin is None:
        return bare is Any or isinstance(value, bare)
    expected = "numbers, str, bool, None, Literal, Sequence[...], tuple[...], unions of these, or a class"
    raise ModelInputError(message(f"a field of type {hint}", expected, "declare it so", task="check parameters"))


def describe_hint(hint: Any) -> str:
    """An annotation in words, for messages.

    Returns:
        Such as "a number from 0 to 1 or None".
    """
    if union := members(hint):
        return " or ".join(dict.fromkeys(map(describe_hint, union)))
    bare, bounds = without_range(hint)
    if bare in (float, int):
        return bounds.describe(_NOUNS[bare])
    if get_origin(bare) is Literal:
        return ", ".join(map(repr, get_args(bare)))
    if get_origin(bare) in (Sequence, tuple):
        elements = get_args(bare)
        if get_origin(bare) is tuple and elements[-1:] != (...,):
            return f"{len(elements)} values: {', '.join(map(describe_hint, elements))}"
        return f"a sequence of {_PLURALS.get(elements[0]) or describe_hint(elements[0])}"
    return _NOUNS.get(bare) or str(getattr(bare, "__name__", bare))
