"""How many images an effect of a given size needs, from the paired answers of a run that was made."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import NormalDist
from typing import Annotated

import numpy as np

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.comparison import Evaluation, Row
from lvlmscope.evaluation.datasets.items import image_groups
from lvlmscope.evaluation.item_counts import ratios
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked

__all__ = ["SampleSize", "sample_sizes"]

Share = Annotated[float, Range(gt=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSize:
    """What it takes to see a difference between two rows of a run in one score.

    Attributes:
        row: Label of the row.
        against: Label of the row that it is compared with.
        score: The score.
        difference: Row minus the other in this run, in the score's unit.
        deviation: Standard deviation of one image's share in the difference, times the square root of the images: the
            standard error of the difference is `deviation / sqrt(images)`.
        images: Images of this run.
        detectable: Smallest effect that this many images show with the power asked for; None where the images
            do not scatter: nothing can be told then.
        needed: Images that the effect asked for needs; None when no effect was named, or without scatter.
    """

    row: str
    against: str
    score: str
    difference: float
    deviation: float
    images: int
    detectable: float | None
    needed: int | None


@checked
@task("estimate how many images are needed")
def sample_sizes(
    run: Evaluation,
    score: str,
    *,
    effect: Annotated[float, Range(gt=0)] | None = None,
    power: Share = 0.8,
    alpha: Share = 0.05,
) -> list[SampleSize]:
    """For each comparison of a run, the smallest effect that its images show and the images that an effect needs.

    `needed = ((z_{1 - alpha/2} + z_{power}) deviation / effect)^2`, the usual formula for a two-sided test of a paired
    difference. A score is a ratio of sums, `R = sum n_i / sum d_i`; the share of image `i` in a difference is that of
    its linearisation, `(n_i - R d_i) / mean(d)` of one row minus that of the other, summed over the items of an image.
    The answers of a run on some hundred images of the data, by the same model, are enough to plan the whole one.

    Args:
        run: With at least two rows, from `evaluate`, `score_answers` or `load_run`.
        score: A score of its metric.
        effect: The difference to be seen, in the score's unit (0.02 is two points of CHAIR_I); None for the detectable
            effect alone.
        power: Probability of seeing an effect of that size.
        alpha: Level of the two-sided test.

    Returns:
        One for each comparison of the run that has the score, in order.

    Raises:
        EvaluationError: A score or a comparison that the run does not have, or fewer than two images.

    Reference:
        Linearised variance of a ratio: W. G. Cochran, Sampling Techniques, 3rd ed., section 6.4.
    """
    require_kind("run", run, Evaluation, "an Evaluation, as evaluate and load_run give it")
    pairs = [(one.row, one.against) for one in run.comparisons if score in one.differences]
    if not pairs:
        known = sorted({name for one in run.comparisons for name in one.differences})
        got = f"the score {score!r} of {run!r}"
        raise EvaluationError(message(got, ", ".join(known) or "a run with two rows or more", "choose another"))
    if int(image_groups(run.items).max()) < 1:
        raise EvaluationError(message("a run on one image", "two or more", "evaluate on more images"))
    quantiles = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    return [_sized(run, pair, score, quantiles=quantiles, effect=effect) for pair in pairs]


def _sized(run: Evaluation, pair: Sequence[str], score: str, *, quantiles: float, effect: float | None) -> SampleSize:
    row, against = map(run.row, pair)
    (after, shares), (before, subtracted) = (_linearised(one, run, score) for one in (row, against))
    groups = image_groups(run.items)
    images = int(groups.max()) + 1
    per_image = np.bincount(groups, weights=shares - subtracted) * images / len(groups)
    deviation = float(per_image.std(ddof=1))
    needed = None if effect is None or not deviation else ceil((quantiles * deviation / effect) ** 2)
    return SampleSize(
        row=row.label,
        against=against.label,
        score=score,
        difference=after - before,
        deviation=deviation,
        images=images,
        detectable=quantiles * deviation / images**0.5 if deviation else None,
        needed=needed,
    )


def _linearised(row: Row, run: Evaluation, score: str) -> tuple[float, np.ndarray]:
    """A row's score, and each item's share in its error, float64 [item]."""
    part, whole = ratios(row.counts, run.metric)[score]
    value = part.sum() / whole.sum()
    return float(value), (part - value * whole) / whole.mean()
