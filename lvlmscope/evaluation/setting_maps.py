"""Two parameters of an intervention against each other: what each pair of values changes, for each kind of item."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.comparison import Evaluation, Row
from lvlmscope.evaluation.datasets.items import image_groups
from lvlmscope.evaluation.item_counts import ratios
from lvlmscope.evaluation.metrics.ranking import Resamples
from lvlmscope.evaluation.paired_differences import LEVEL, paired_differences
from lvlmscope.evaluation.result_tables import score_title
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked

__all__ = ["setting_map"]

ALL = "all"


@checked
@task("map settings")
def setting_map(
    result: Evaluation,
    score: str,
    *,
    axes: Sequence[str] | None = None,
    by_kind: bool = False,
    resamples: Resamples = 2000,
    seed: Annotated[int, Range(ge=0)] = 0,
) -> xr.Dataset:
    """What each pair of values of two parameters changes in a score, such as the two layer boundaries of HeadRescaling.

    Head rescaling (arXiv 2510.10285) finds boundaries that differ from task to task; with `by_kind` there is a map for
    each kind of item (MME's subtasks, splits, types of questions).

    Args:
        result: An evaluation of a grid, such as `--grid 'head_rescaling:l_perc=1|3|5,l_reas=2|4|6'`.
        score: Name of a score.
        axes: The two parameters, rows first; None for the two that differ between the settings.
        by_kind: One map for each kind of item beside that of all.
        resamples: Draws of the bootstrap, which pairs settings with the plain model over images.
        seed: Of the draws.

    Returns:
        Variables `difference`, `low` and `high` with dims (kind, first parameter, second parameter), NaN where the grid
        has no such setting or the score is not defined. For `lvlmscope.plot.setting_map`, one kind at a time.

    Raises:
        EvaluationError: A score that the evaluation does not have, no two parameters that differ, or two settings of
            the same values.
    """
    require_kind("result", result, Evaluation, "an Evaluation, as evaluate and load_run give it")
    rows = [row for row in result.rows if row.role == "intervention"]
    settings = [_parameters(row) for row in rows]
    chosen = _axes(settings, axes)
    placed: dict[tuple[Any, ...], Row] = {}
    for row, setting in zip(rows, settings, strict=True):
        if (place := tuple(setting[name] for name in chosen)) in placed:
            got = f"{placed[place].label!r} and {row.label!r} with the same {' and '.join(chosen)}"
            raise EvaluationError(message(got, "one setting for each pair", "evaluate the others apart"))
        placed[place] = row
    values = [sorted({place[axis] for place in placed}, key=_order) for axis in (0, 1)]
    known = ratios(result.rows[0].counts, result.metric)
    if score not in known:
        raise EvaluationError(message(f"score={score!r}", ", ".join(known), "choose among these"))
    kinds = np.array([item.kind for item in result.items])
    named = [ALL, *dict.fromkeys(kinds.tolist())] if by_kind else [ALL]
    draws = {"resamples": resamples, "seed": seed}
    cells = np.full((3, len(named), len(values[0]), len(values[1])), np.nan)
    for number, kind in enumerate(named):
        kept = None if number == 0 else kinds == kind
        for place, row in placed.items():
            where = (values[0].index(place[0]), values[1].index(place[1]))
            cells[:, number, where[0], where[1]] = _gap(result, row, score, kept, draws)
    dims = ("kind", *chosen)
    coords = {"kind": named, **{name: [_label(one) for one in own] for name, own in zip(chosen, values, strict=True)}}
    parts = {part: (dims, own) for part, own in zip(("difference", "low", "high"), cells, strict=True)}
    attrs = {"score": score_title(score), "data": result.name, "level": LEVEL}
    return xr.Dataset(parts, coords=coords, attrs=attrs)


def _parameters(row: Row) -> dict[str, Any]:
    """Every parameter of a stack, by its name, in a stack of several with the intervention's."""
    several = len(row.interventions) > 1
    return {
        f"{one['name']}.{name}" if several else name: tuple(value) if isinstance(value, list) else value
        for one in row.interventions
        for name, value in one["parameters"].items()
    }


def _axes(settings: Sequence[Mapping[str, Any]], given: Sequence[str] | None) -> tuple[str, str]:
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    differing = [name for name in names if len({repr(setting.get(name)) for setting in settings}) > 1]
    chosen = tuple(differing if given is None else given)
    everywhere = all(name in setting for setting in settings for name in chosen)
    if len(chosen) != 2 or chosen[0] == chosen[1] or not everywhere:
        got = (
            f"axes={tuple(given)}" if given is not None else f"parameters that differ: {', '.join(differing) or 'none'}"
        )
        expected = f"two of the parameters that every setting has{': ' + ', '.join(names) if names else ''}"
        raise EvaluationError(message(got[:200], expected[:300], "name two by axes=, or evaluate a grid of two"))
    return chosen[0], chosen[1]


def _order(value: Any) -> tuple[bool, Any]:
    """Numbers by size, then all else by its text."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return (False, value) if plain else (True, str(value))


def _label(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _gap(
    result: Evaluation, row: Row, score: str, kept: np.ndarray | None, draws: dict[str, int]
) -> tuple[float, float, float]:
    """A setting minus the plain row in one score, on the chosen items."""
    groups = image_groups(result.items)
    before, after = (ratios(one.counts, result.metric, kept) for one in (result.rows[0], row))
    if score not in before or score not in after:
        return np.nan, np.nan, np.nan
    own = np.unique(groups if kept is None else groups[kept], return_inverse=True)[1]
    found = paired_differences({score: before[score]}, {score: after[score]}, own, **draws)[score]
    return found.value, found.low, found.high
