"""Interventions as a form shows them: a switch each, and controls by the declared types and ranges of parameters."""

import ast
import inspect
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from lvlmscope.errors import InterventionError, ModelInputError, message
from lvlmscope.interface.declared_types import Range, describe_hint, members, without_range
from lvlmscope.interventions.registry import intervention_names, make_intervention
from lvlmscope.risk.recommendations import Recommendation
from lvlmscope.runtime.protocol import Intervention

__all__ = ["intervention_controls", "made_stack", "proposal_controls"]

_ABOUT: Final = ("paper", "cost")  # of a method's card
_MOST: Final = 16  # interventions that act together


def intervention_controls() -> list[dict[str, Any]]:
    """Every intervention that can be made from its defaults alone, as JSON values.

    Returns:
        `name`, `about` and `parameters` of each; a parameter has its `name`, `control` ("number", "select", "switch" or
        "text"), `value`, what is `expected` in words, and as far as they apply `choices`, `whole`, `low` and `high`.

    >>> [each["name"] for each in intervention_controls()][:2]
    ['AGLA', 'CLVA']
    """
    found = []
    for name in intervention_names():
        with suppress(InterventionError):  # a parameter without a default, or another package's and broken
            made = make_intervention(name, {})
            card = getattr(made, "card", None)
            about = "; ".join(text for part in _ABOUT if (text := getattr(card, part, "")))
            found.append({"name": name, "about": about, "parameters": _parameters(made)})
    return found


def proposal_controls(proposals: Iterable[Recommendation]) -> list[dict[str, Any]]:
    """What a diagnosis proposes, as values of the same controls.

    Args:
        proposals: `Diagnosis.interventions`.

    Returns:
        `name`, `reason` and `values` by parameter, in their order.
    """
    return [
        {
            "name": type(each.intervention).__name__,
            "reason": each.reason,
            "values": {one["name"]: one["value"] for one in _parameters(each.intervention)},
        }
        for each in proposals
    ]


def made_stack(stack: Any) -> tuple[Intervention, ...]:
    """The interventions that a form asks for; each checks its own parameters.

    Args:
        stack: `name` and `values` of each, in the order in which they act.

    Returns:
        The interventions.

    Raises:
        InterventionError: No such intervention or parameter, or a value of another type.
        ModelInputError: A value out of range, not among the choices, or something else than such a list.

    >>> made_stack([{"name": "DLEAF", "values": {"gamma": 0.5, "layers": "(0.0, 0.5)"}}])[0].layers
    (0.0, 0.5)
    """
    listed = isinstance(stack, list) and all(
        isinstance(each, Mapping) and isinstance(each.get("name"), str) and isinstance(each.get("values", {}), Mapping)
        for each in stack
    )
    if not listed or not 0 < len(stack) <= _MOST:
        got = f"{len(stack)} interventions" if listed else type(stack).__name__
        expected = f"1 to {_MOST} interventions with name and values"
        raise ModelInputError(message(got, expected, "switch some on", task="try an intervention"))
    return tuple(_made(each["name"], each.get("values", {})) for each in stack)


def _made(name: str, values: Mapping[str, Any]) -> Intervention:
    controls = {each["name"]: each["control"] for each in _parameters(make_intervention(name, {}))}
    read = {key: _read(value) if controls.get(key) == "text" else value for key, value in values.items()}
    return make_intervention(name, read)


def _read(text: Any) -> Any:
    """A Python literal, or else the text itself."""
    if isinstance(text, str):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return ast.literal_eval(text.strip())
    return text


def _parameters(made: Intervention) -> list[dict[str, Any]]:
    kind: Any = type(made)
    hints = get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
    names = [each.name for each in fields(kind)] if is_dataclass(kind) else list(inspect.signature(kind).parameters)
    space = getattr(getattr(kind, "card", None), "search_space", None) or {}
    return [_control(name, hints.get(name, Any), getattr(made, name, None), space.get(name)) for name in names]


def _control(name: str, hint: Any, value: Any, space: Any) -> dict[str, Any]:
    bare, bounds = without_range(hint)
    found: dict[str, Any] = {"name": name, "expected": describe_hint(hint)}
    if bare is bool:
        return found | {"control": "switch", "value": value}
    if bare in (float, int):
        return found | {"control": "number", "value": value, "whole": bare is int} | _slider(bounds, value, space)
    if choices := _choices(bare):
        return found | {"control": "select", "value": value, "choices": choices}
    return found | {"control": "text", "value": value if isinstance(value, str) else repr(value)}


def _choices(hint: Any) -> list[Any]:
    """All values of a `Literal`, or of one beside None; none where other values are possible."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    parts = [[None] if each is type(None) else _choices(each) for each in members(hint)]
    return [value for part in parts for value in part] if all(parts) and len(parts) > 1 else []


def _slider(bounds: Range, value: int | float, space: Any) -> dict[str, int | float]:
    """Where a slider ends: the declared bounds, or else what the method's tuning searches, if that has two ends."""
    low, high = max(bounds.ge, bounds.gt), min(bounds.le, bounds.lt)
    if isinstance(space, tuple) and len(space) == 2:
        low = low if math.isfinite(low) else min(space[0], value)
        high = high if math.isfinite(high) else max(space[1], value)
    return {"low": low, "high": high} if math.isfinite(low) and math.isfinite(high) else {}
