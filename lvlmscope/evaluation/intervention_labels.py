"""Labels of interventions and stacks: what stands in the tables of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from lvlmscope.errors import EvaluationError, InterventionError, message
from lvlmscope.interventions.placebo import Placebo
from lvlmscope.runtime.attachment import stack_of
from lvlmscope.runtime.protocol import Intervention

__all__ = ["Stack", "intervention_label", "labelled_stacks"]

Stack = tuple[Intervention, ...]


def labelled_stacks(given: Any, *, reserved: str) -> dict[str, Stack]:
    """Stacks by label.

    Args:
        given: An intervention, a sequence of interventions and stacks, or a mapping from labels to these.
        reserved: A label that is taken.

    Returns:
        Stacks in order.

    Raises:
        EvaluationError: Two of one label, or the reserved one.
        InterventionError: Something that is no intervention.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = [(str(label), _stack(stack)) for label, stack in given.items()]
    else:
        stacks = [_stack(each) for each in stack_of(given)] if isinstance(given, Sequence) else [_stack(given)]
        pairs = [("+".join(map(intervention_label, stack)), stack) for stack in stacks]
    found: dict[str, Stack] = {}
    for label, stack in pairs:
        if label in found or label == reserved or not stack:
            got = f"{len(stack)} interventions with the label {label!r}"
            fix = "pass a mapping {'label': intervention}, each label once"
            raise EvaluationError(message(got, f"one or more, under labels that differ and are not {reserved!r}", fix))
        found[label] = stack
    return found


def _stack(given: Any) -> Stack:
    found: tuple[Any, ...] = stack_of(given)
    for one in found:
        if not isinstance(one, Intervention):
            got = " ".join(repr(one).split())[:80]
            raise InterventionError(message(got, "an intervention", "pass such as lv.DLEAF()"))
    return found


def intervention_label(intervention: Intervention) -> str:
    """Its name with the parameters that are not the default ones.

    >>> from lvlmscope.interventions import DLEAF
    >>> intervention_label(DLEAF(gamma=0.5)), intervention_label(DLEAF())
    ('DLEAF(gamma=0.5)', 'DLEAF')
    """
    if isinstance(intervention, Placebo):
        return f"placebo of {intervention_label(intervention.intervention)}"
    description = intervention.describe()
    fields = getattr(type(intervention), "__dataclass_fields__", {})
    changed = [
        f"{name}={value}"
        for name, value in description.get("parameters", {}).items()
        if name not in fields or getattr(intervention, name) != fields[name].default
    ]
    name = str(description.get("name", type(intervention).__name__))
    return f"{name}({', '.join(changed)})" if changed else name
