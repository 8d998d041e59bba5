"""Shell completion of intervention names; `lvlmscope --install-completion` switches it on."""

from importlib.metadata import entry_points

import lvlmscope

__all__ = ["complete_intervention"]


def complete_intervention(incomplete: str) -> list[str]:
    """Names of interventions, found without torch, so that Tab answers at once.

    Args:
        incomplete: What has been typed of the name.

    Returns:
        Names in lower case.

    >>> complete_intervention("dl")
    ['dleaf']
    """
    served = lvlmscope._HOMES.items()  # noqa: SLF001 - the package's own table
    classes = [name for name, home in served if home == "lvlmscope.interventions" and name[0].isupper()]
    # Placebo takes an intervention, and --placebo switches it on; Directions are what Steering takes
    own = [name for name in classes if name not in ("Placebo", "Directions")]
    others = [point.name for point in entry_points(group="lvlmscope.interventions")]
    return sorted({name.lower() for name in [*own, *others] if name.lower().startswith(incomplete.lower())})
