"""Remedies named on the command line: `dleaf`, `dleaf:gamma=0.5,threshold=max`."""

import ast
from typing import Any

from lvlmscope import interventions
from lvlmscope.errors import ModelInputError, message
from lvlmscope.sessions import Intervention

__all__ = ["parse_remedy"]


def parse_remedy(text: str) -> Intervention:
    """A remedy from its name and parameters.

    Args:
        text: Name in any letter case, then `:` and `key=value` pairs separated by commas; values are Python literals,
            or plain words.

    Returns:
        The remedy.

    Raises:
        ModelInputError: No such remedy or parameter, or a value outside its range.

    >>> parse_remedy("dleaf:gamma=0.5,threshold=max").threshold
    'max'
    """
    name, _, options = text.partition(":")
    known = {each.lower(): getattr(interventions, each) for each in interventions.__all__}
    if name.lower() not in known:
        possible = ", ".join(sorted(known))
        raise ModelInputError(message("switch on a remedy", repr(name), possible, "choose one of them"))
    pairs = [pair.partition("=") for pair in options.split(",") if pair]
    parameters = {key.strip(): _value(value.strip()) for key, _, value in pairs}
    unknown = sorted(set(parameters) - set(known[name.lower()].__dataclass_fields__))
    if unknown:
        possible = ", ".join(known[name.lower()].__dataclass_fields__)
        raise ModelInputError(message(f"configure {name}", f"{', '.join(unknown)}", possible, "choose among these"))
    remedy: Intervention = known[name.lower()](**parameters)
    return remedy


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
