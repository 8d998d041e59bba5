"""Which interventions can be switched on together."""

import warnings
from collections.abc import Sequence
from typing import Any

from lvlmscope.errors import InterventionError, message
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.protocol import Intervention

__all__ = ["refuse_two_choosers", "require_interventions", "warn_of_uncompiled"]


def require_interventions(interventions: Sequence[Any]) -> None:
    """Refuse an object that is not an intervention, and an intervention given twice.

    Args:
        interventions: The objects given.

    Raises:
        InterventionError: Either.
    """
    for number, intervention in enumerate(interventions):
        if isinstance(intervention, type) or not isinstance(intervention, Intervention):
            got = f"{intervention!r}"[:80]
            fix = "pass an instance such as lv.DLEAF()"
            raise InterventionError(message(got, "objects with start and describe", fix))
        if intervention in interventions[:number]:  # in one list it is a slip; a block within a block is not
            got = f"{intervention!r} twice"
            expected, fix = "every intervention once, or again with other parameters", "leave one out"
            raise InterventionError(message(got, expected, fix))


def refuse_two_choosers(
    others: Sequence[ActiveIntervention], active: Sequence[ActiveIntervention], thread: int | None
) -> None:
    """Refuse a second intervention that chooses every token.

    Args:
        others: Those that are on.
        active: Those that are to be switched on.
        thread: The thread that they are for; None for all.

    Raises:
        InterventionError: There would be two.
    """
    together = [each for each in others if thread is None or each.thread in (None, thread)]
    choosing = [each.name for each in (*together, *active) if each.session.chooses_tokens]
    if len(choosing) > 1:
        got = f"{' and '.join(choosing)}, which each choose every token"
        fix = "leave one out, or take the other off first"
        raise InterventionError(message(got, "one that chooses tokens", fix, task="switch on interventions together"))


def warn_of_uncompiled(active: Sequence[ActiveIntervention]) -> None:
    """Warn of interventions that were to be compiled and run uncompiled.

    Args:
        active: Those that were switched on.
    """
    for each in active:
        if each.compiled and not each.session.has_compiled_edit:
            warnings.warn(f"{each.name} has no edit of rows that can be compiled; it runs as it is.", stacklevel=5)
