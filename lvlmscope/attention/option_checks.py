"""Options as they come: whole numbers of any library, and the refusal, by name, of what an option does not take."""

import inspect
from collections.abc import Iterator
from math import isfinite
from numbers import Integral, Real
from typing import Any

from lvlmscope.errors import ModelInputError, message

__all__ = ["each_of", "require_function", "require_kind", "require_number", "whole_number"]


def whole_number(value: Any) -> int | None:
    """A step, layer or head number as an int.

    Args:
        value: Anything.

    Returns:
        The int, also of numpy's integers and of 0-d arrays and tensors that hold a whole number; None for everything
        else, `True` and `False` too.

    Examples:
        >>> import torch
        >>> whole_number(torch.tensor(3)), whole_number(True), whole_number(1.0)
        (3, None, None)
    """
    bare: Any = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    return None if type(bare) is bool or not isinstance(bare, Integral) else int(bare)


def require_number(name: str, value: Any) -> None:
    """Refuse a value that is not a finite number.

    Args:
        value: What was given.

    Raises:
        ModelInputError: A text, a bool, None, NaN, an infinity, or something else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise _refused(name, value, "a number")


def require_kind(name: str, value: Any, kind: type | tuple[type, ...], expected: str) -> None:
    """Refuse what is of another class.

    Args:
        value: What was given.
        expected: What is accepted, in words.

    Raises:
        ModelInputError: It is no instance.
    """
    if not isinstance(value, kind):
        raise _refused(name, value, expected)


def require_function(name: str, value: Any, expected: str, *, alone: bool = True) -> None:
    """Refuse what cannot be called with one argument.

    Args:
        value: What was given.
        expected: What is accepted, in words.
        alone: Whether nothing else is handed to it; else its other arguments are not looked at.

    Raises:
        ModelInputError: It is no function, or one of other arguments.

    Examples:
        >>> require_function("signal", abs, "a function of a trace")
        >>> require_function("signal", lambda: 0, "a function of a trace")
        Traceback (most recent call last):
        ...
        lvlmscope.errors.ModelInputError: got signal=<lambda>(); expected: a function of a trace; change signal.
    """
    if not callable(value):
        raise _refused(name, value, expected)
    try:
        signature = inspect.signature(value)
    except ValueError:  # some built-in functions tell none
        return
    try:
        (signature.bind if alone else signature.bind_partial)(None)
    except TypeError as error:
        got = f"{name}={getattr(value, '__name__', type(value).__name__)}{signature}"[:120]
        raise ModelInputError(message(got, expected, f"change {name}")) from error


def each_of(name: str, given: Any, expected: str) -> Iterator[Any]:
    """The elements of what should hold several.

    Args:
        given: What was given.
        expected: What is accepted, in words.

    Returns:
        They, as they come.

    Raises:
        ModelInputError: It holds none.
    """
    try:
        return iter(given)
    except TypeError as error:
        raise _refused(name, given, expected) from error


def _refused(name: str, value: Any, expected: str) -> ModelInputError:
    given = " ".join(repr(value).split())
    return ModelInputError(message(f"{name}={given}"[:80], expected, f"change {name}"))
