"""Options as they come: whole numbers of any library, and the refusal, by name, of what an option does not take."""

from math import isfinite
from numbers import Integral, Real
from typing import Any

from lvlmscope.errors import ModelInputError, message

__all__ = ["require_kind", "require_number", "whole_number"]


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
    """Refuse what is no finite number.

    Args:
        value: What was given.

    Raises:
        ModelInputError: A text, a bool, None, NaN, an infinity, or something else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise _refused(name, value, "a number")


def require_kind(name: str, value: Any, kind: type, expected: str) -> None:
    """Refuse what is of another class.

    Args:
        value: What was given.
        expected: What is accepted, in words.

    Raises:
        ModelInputError: It is no instance.
    """
    if not isinstance(value, kind):
        raise _refused(name, value, expected)


def _refused(name: str, value: Any, expected: str) -> ModelInputError:
    given = " ".join(repr(value).split())
    return ModelInputError(message(f"{name}={given}"[:80], expected, f"change {name}"))
