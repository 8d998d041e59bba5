"""Interventions named on the command line: `dleaf`, `dleaf:gamma=0.5,threshold=max`."""

import ast
import re
from inspect import signature
from typing import Any, Final

from lvlmscope.errors import ModelInputError, message
from lvlmscope.interventions.registry import intervention_class
from lvlmscope.runtime.protocol import Intervention

__all__ = ["parse_intervention"]

_OUTSIDE_BRACKETS: Final = re.compile(r",(?![^(\[]*[)\]])")  # a band of layers has a comma of its own


def parse_intervention(text: str) -> Intervention:
    """An intervention from its name and parameters.

    Args:
        text: Name in any letter case, then `:` and `key=value` pairs separated by commas; values are Python literals,
            or plain words.

    Returns:
        The intervention.

    Raises:
        InterventionError: No such intervention.
        ModelInputError: No such parameter, or a value outside its range.
        InterventionError: A value of another type.

    >>> parse_intervention("dleaf:gamma=0.5,threshold=max").threshold
    'max'
    >>> parse_intervention("dleaf:layers=(0.0,0.5),gamma=0.5").layers
    (0.0, 0.5)
    """
    name, _, options = text.partition(":")
    chosen = intervention_class(name)
    parameters = {
        key.strip(): _value(value.strip()) for key, _, value in map(_halves, _OUTSIDE_BRACKETS.split(options))
    }
    parameters.pop("", None)
    known = signature(chosen).parameters
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        expected = ", ".join(known)
        raise ModelInputError(
            message(f"{', '.join(unknown)}", expected, "choose among these", task=f"configure {name}")
        )
    return chosen(**parameters)


def _halves(pair: str) -> tuple[str, str, str]:
    return pair.partition("=")


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
