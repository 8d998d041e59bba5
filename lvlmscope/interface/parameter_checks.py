"""Parameters as their annotations declare them: types, ranges and choices, checked before a function runs."""

import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from lvlmscope.errors import ModelInputError, message
from lvlmscope.registry import close_match

__all__ = [
    "Range",
    "allows",
    "check_fields",
    "checkable_hints",
    "checked",
    "choices",
    "describe_hint",
    "has_type",
    "is_checked",
]

_MARK = "_lvlmscope_checked"
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
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


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Refuses arguments that the function's annotations do not allow, before anything of it runs.

    Checked are numbers (``Annotated[int, Range(ge=1)]`` with bounds), `bool`, `str`, `None`, `Literal`, sequences of
    these, and unions of them; other annotations are left to the function. Whole numbers may be numpy's, 0-d tensors or
    0-d labelled arrays, and become `int`; a `bool` is no number. A misspelt option gets the close name.

    Args:
        function: A public function.

    Returns:
        The function, with its signature.

    Raises:
        ModelInputError: When called with a value of another type, out of range, or not among the choices: the message
            names the parameter.
        TypeError: A missing argument, or one of an unknown name.

    >>> @checked
    ... def repeat(text: str, times: Annotated[int, Range(ge=1)] = 1) -> str:
    ...     return text * times
    >>> repeat("ab", times=0)
    Traceback (most recent call last):
    ...
    lvlmscope.errors.ModelInputError: call repeat: got times=0; expected: a whole number from 1; change times.
    """
    signature = inspect.signature(function)
    hints: dict[str, Any] = {}

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if not hints:
            hints.update(checkable_hints(function))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise _misspelt(function.__name__, signature, kwargs, error) from None
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = _required(hints[name], name, value, f"call {function.__name__}")
        return function(*bound.args, **bound.kwargs)

    vars(call)[_MARK] = True
    return call


def check_fields(options: Any, task: str) -> None:
    """Refuses field values of a dataclass that its annotations do not allow, by the rules of `checked`.

    Args:
        options: An instance, in its `__post_init__`.
        task: What is being done, for the message.

    Raises:
        ModelInputError: A value of another type, out of range, or not among the choices.
    """
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        if _is_checkable(hint):
            _required(hint, name, getattr(options, name), task)


def is_checked(function: Callable[..., Any]) -> bool:
    """Whether a function's arguments are checked by `checked`.

    Args:
        function: Any function.

    Returns:
        Whether they are.
    """
    return _MARK in vars(function)


def checkable_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function that `checked` checks.

    Args:
        function: A function, checked or not.

    Returns:
        By parameter. Left out are those of other kinds, and those that name types imported for type checkers only.
    """
    bare = inspect.unwrap(function)
    found, names = {}, vars(inspect.getmodule(bare) or types)
    for name, parameter in inspect.signature(bare).parameters.items():
        hint = parameter.annotation
        if isinstance(hint, str):
            try:
                hint = eval(hint, {**names})  # noqa: S307 - our own annotations
            except NameError:
                continue
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and _is_checkable(hint):
            found[name] = hint
    return found


def _is_checkable(hint: Any) -> bool:
    if members := _members(hint):
        return all(map(_is_checkable, members))
    bare, _ = _range(hint)
    if bare in (float, int, bool, str, None, type(None)) or get_origin(bare) is Literal:
        return True
    if get_origin(bare) in (Sequence, tuple):
        return all(_is_checkable(each) for each in get_args(bare) if each is not ...)
    return False


def _required(hint: Any, name: str, value: Any, task: str) -> Any:
    kept = _plain_number(value, hint)
    as_tuple = tuple(kept) if isinstance(kept, list | range) else kept
    if allows(hint, as_tuple):
        return kept
    got = f"{name}={value!r}"[:80] + ("" if has_type(hint, as_tuple) else f" of type {type(value).__name__}")
    close = close_match(value, choices(hint)) if isinstance(value, str) else ""
    fix = f"did you mean {close!r}" if close else f"change {name}"
    raise ModelInputError(message(got, describe_hint(hint), fix, task=task))


def _plain_number(value: Any, hint: Any) -> Any:
    """A whole number of numpy, torch or xarray as `int`, and a 0-d number as `float`, where the hint is one."""
    if isinstance(value, bool | int | float | str) or value is None or isinstance(value, Sequence | Mapping):
        return value
    bares = [_range(each)[0] for each in (_members(hint) or (hint,))]
    kind = str(getattr(value, "dtype", ""))
    if getattr(value, "ndim", 0) or "bool" in kind:
        return value
    if int in bares and "int" in kind:
        return int(value)
    return float(value) if float in bares and ("float" in kind or "int" in kind) else value


def _misspelt(function: str, signature: inspect.Signature, given: Mapping[str, Any], error: TypeError) -> TypeError:
    """Python's own error, with the close name of an unknown argument."""
    unknown = [name for name in given if name not in signature.parameters]
    close = close_match(unknown[0], signature.parameters) if unknown else ""
    return TypeError(f"{function}(): {error}" + (f"; did you mean {close!r}?" if close else ""))


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


def choices(hint: Any) -> list[str]:
    """The words among which a value is chosen.

    Args:
        hint: An annotation.

    Returns:
        The texts of its `Literal`s.
    """
    found = get_args(hint) if get_origin(hint) is Literal else [w for each in _members(hint) for w in choices(each)]
    return [each for each in found if isinstance(each, str)]


def allows(hint: Any, value: Any) -> bool:
    """Whether a value has the declared type, lies in its range and is among its choices.

    Args:
        hint: An annotation.
        value: Any value; a sequence as a tuple.

    Returns:
        Whether it has.
    """
    if members := _members(hint):
        return any(allows(each, value) for each in members)
    bare, bounds = _range(hint)
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
        hint: An annotation.
        value: Any value; a sequence as a tuple.

    Returns:
        Whether it has.

    Raises:
        ModelInputError: An annotation that cannot be checked.
    """
    if members := _members(hint):
        return any(has_type(each, value) for each in members)
    bare, _ = _range(hint)
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

    Args:
        hint: An annotation.

    Returns:
        Such as "a number from 0 to 1 or None".
    """
    if members := _members(hint):
        return " or ".join(dict.fromkeys(map(describe_hint, members)))
    bare, bounds = _range(hint)
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
