"""What the parameters of an intervention are drawn from while it is tuned, checked before the first trial."""

import math
from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

from lvlmscope.errors import EvaluationError, message
from lvlmscope.runtime.protocol import Intervention

__all__ = ["require_space"]


def require_space(kind: type[Intervention], where: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Refuses what cannot be tried.

    Args:
        kind: The intervention's class.
        where: By parameter, `(low, high)` of two numbers or a list of choices.
        fixed: Parameters that have one value.

    Raises:
        EvaluationError: A parameter that the method lacks, that is both varied and fixed, or without any value; or a
            range without a value.
    """
    known = {name: each.default for name, each in signature(kind).parameters.items()}
    for name in (*where, *fixed):
        if name not in known:
            got, fix = f"parameter {name!r} of {kind.__name__}", "correct the name"
            raise EvaluationError(message(got, ", ".join(known), fix))
    if both := sorted(where.keys() & fixed.keys()):
        got, fix = f"{', '.join(both)} in space= and fixed=", "leave one out"
        raise EvaluationError(message(got, "every parameter in one of them", fix))
    lacking = [name for name, default in known.items() if default is Parameter.empty and name not in {*where, *fixed}]
    if lacking:
        got, fix = f"no {', '.join(lacking)} for {kind.__name__}", "pass them in fixed="
        raise EvaluationError(message(got, "a value for each parameter without a default", fix))
    for name, choices in where.items():
        pair = isinstance(choices, tuple) and len(choices) == 2
        if not (_is_range(choices) if pair else isinstance(choices, list | tuple) and choices):
            got = f"space={{{name!r}: {choices!r:.60}}}"
            expected = "(low, high) of two finite numbers, or a list of choices"
            raise EvaluationError(message(got, expected, "correct it"))


def _is_range(choices: tuple[Any, Any]) -> bool:
    """Whether a pair is two finite numbers, the first not above the second."""
    return all(isinstance(end, int | float) and math.isfinite(end) for end in choices) and bool(
        choices[0] <= choices[1]
    )
