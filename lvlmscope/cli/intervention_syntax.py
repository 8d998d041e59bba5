"""Interventions named on the command line: `dleaf`, `dleaf:gamma=0.5,threshold=max`."""

import ast
import itertools
import re
from typing import Any, Final

from lvlmscope.errors import InterventionError, message
from lvlmscope.interventions.registry import make_intervention
from lvlmscope.runtime.protocol import Intervention

__all__ = ["expand_grid", "parse_intervention", "parse_stack"]

_PLUS: Final = re.compile(r"\+(?=[A-Za-z_])")  # not that of 1e+5
_OUTSIDE_BRACKETS: Final = re.compile(r",(?![^(\[]*[)\]])")  # a band of layers has a comma of its own


def parse_intervention(text: str) -> Intervention:
    """An intervention from its name and parameters.

    Args:
        text: Name in any letter case, then `:` and `key=value` pairs separated by commas; values are Python literals,
            or plain words.

    Returns:
        The intervention.

    Raises:
        InterventionError: No such intervention or parameter, the same parameter twice, or a value of another type.
        ModelInputError: A value out of range, or not among the choices.

    >>> parse_intervention("dleaf:gamma=0.5,threshold=max").threshold
    'max'
    >>> parse_intervention("dleaf:layers=(0.0,0.5),gamma=0.5").layers
    (0.0, 0.5)
    """
    name, _, options = text.partition(":")
    parameters: dict[str, Any] = {}
    for pair in _OUTSIDE_BRACKETS.split(options) if options.strip() else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value) or key in parameters:
            expected, fix = "NAME:key=value,key=value, each key once", "write it so, as in dleaf:gamma=0.5"
            raise InterventionError(message(f"{pair!r} in {text!r}", expected, fix, task=f"configure {name}"))
        parameters[key] = _value(value)
    return make_intervention(name.strip(), parameters)


def parse_stack(text: str) -> tuple[Intervention, ...]:
    """Interventions that act together, from their names and parameters joined by `+`.

    Args:
        text: As for `parse_intervention`, one or more, such as `dleaf:gamma=0.5+locore`.

    Returns:
        The interventions in the order in which they act.

    Raises:
        InterventionError: As for `parse_intervention`.
        ModelInputError: As for `parse_intervention`.

    >>> [type(each).__name__ for each in parse_stack("dleaf:gamma=0.5+locore")]
    ['DLEAF', 'LocoRE']
    """
    return tuple(map(parse_intervention, _PLUS.split(text)))


def expand_grid(text: str) -> list[str]:
    """Every setting of a grid: values separated by `|` are alternatives.

    Args:
        text: As for `parse_stack`, with alternatives such as `dleaf:gamma=0.1|0.3,threshold=min|max`.

    Returns:
        Texts for `parse_stack`, in order, the last parameter changing fastest.

    Raises:
        InterventionError: No alternatives, or an empty one.

    >>> expand_grid("dleaf:gamma=0.1|0.3+locore")
    ['dleaf:gamma=0.1+locore', 'dleaf:gamma=0.3+locore']
    """
    found = ["+".join(stack) for stack in itertools.product(*map(_settings, _PLUS.split(text)))]
    if len(found) < 2:
        got, fix = f"{text!r} without alternatives", "write NAME:key=value|value, or use --intervention"
        raise InterventionError(message(got, "values separated by |", fix, task="expand a grid"))
    return found


def _settings(text: str) -> list[str]:
    name, _, options = text.partition(":")
    pairs = []
    for pair in _OUTSIDE_BRACKETS.split(options) if options.strip() else ():
        key, _, values = pair.partition("=")
        if not all(value.strip() for value in values.split("|")):
            got, fix = f"{pair!r} with an empty value", "write a value on each side of |"
            raise InterventionError(message(got, "key=value|value", fix, task="expand a grid"))
        pairs.append([f"{key.strip()}={value.strip()}" for value in values.split("|")])
    return [f"{name}:{','.join(chosen)}" if chosen else name for chosen in itertools.product(*pairs)]


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
