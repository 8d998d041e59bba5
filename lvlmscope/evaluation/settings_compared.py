"""What each setting of a grid changed, as labelled arrays for a figure: differences with intervals, and time."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.comparison import Evaluation
from lvlmscope.evaluation.paired_differences import LEVEL, Difference
from lvlmscope.evaluation.result_tables import score_title
from lvlmscope.interface.parameter_checks import checked

__all__ = ["setting_differences"]

_MAIN: Final = {
    "chair": ("chair_i", "chair_s", "recall", "mean_words"),
    "pope": ("accuracy", "f1", "yes_rate"),
    "mme": ("acc", "acc_plus", "score"),
    "amber": ("chair", "cover", "hal", "accuracy", "f1"),
}
_AGAINST: Final = {"plain": "plain", "length_matched": "plain, cut to as many mentions"}


@checked
@task("put settings side by side")
def setting_differences(result: Evaluation, *, scores: Sequence[str] | None = None) -> xr.Dataset:
    """Each intervention minus the plain row, and minus the plain captions cut to its number of mentions.

    Args:
        result: An evaluation with interventions.
        scores: Names of scores; None for the main ones of its metric.

    Returns:
        Variables `difference`, `low` and `high` with dims (against, setting, score), NaN where two rows were not
        compared; `latency` with dim (setting), milliseconds for each token; attribute `plain_latency`, NaN where
        nothing was generated. For `lvlmscope.plot.ablation`.

    Raises:
        EvaluationError: No intervention, or a score that the evaluation does not have.
    """
    require_kind("result", result, Evaluation, "an Evaluation, as evaluate and load_run give it")
    settings = [row for row in result.rows if row.role == "intervention"]
    if not settings:
        got = f"{result!r} without interventions"
        raise EvaluationError(message(got, "an evaluation of one or more", "pass interventions to evaluate"))
    known = list(dict.fromkeys(name for one in result.comparisons for name in one.differences))
    if lacking := [name for name in scores or () if name not in known]:
        raise EvaluationError(message(", ".join(lacking), ", ".join(known), "choose among these"))
    chosen = list(scores or [name for name in _MAIN[result.metric] if name in known])
    roles = {row.label: row.role for row in result.rows}
    against = [role for role in _AGAINST if role == "plain" or role in roles.values()]
    gaps: dict[tuple[str, str], Mapping[str, Difference]] = {
        (roles[one.against], one.row): one.differences for one in result.comparisons
    }
    unknown = Difference(value=float("nan"), low=float("nan"), high=float("nan"))
    cells = [
        [[gaps.get((role, row.label), {}).get(name, unknown) for name in chosen] for row in settings]
        for role in against
    ]
    parts = {
        part: (
            ("against", "setting", "score"),
            np.array([[[getattr(gap, name) for gap in row] for row in rows] for rows in cells]),
        )
        for part, name in (("difference", "value"), ("low", "low"), ("high", "high"))
    }
    latency = ("setting", np.array([row.milliseconds_per_token for row in settings]), {"units": "ms"})
    return xr.Dataset(
        {**parts, "latency": latency},
        coords={
            "against": [_AGAINST[role] for role in against],
            "setting": [row.label for row in settings],
            "score": [score_title(name) for name in chosen],
        },
        attrs={"plain_latency": result.rows[0].milliseconds_per_token, "level": LEVEL, "data": result.name},
    )
