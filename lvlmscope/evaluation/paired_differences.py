"""Differences between two measurements of the same items: paired bootstrap intervals and McNemar's test."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np

from lvlmscope.evaluation.metrics.ranking import estimate, weight_blocks

__all__ = ["LEVEL", "Difference", "Ratios", "mcnemar_test", "paired_differences", "ratio_values"]

LEVEL: Final = 0.95  # of every interval of a difference
Ratios = Mapping[str, tuple[np.ndarray, np.ndarray]]  # by score: numerator and denominator of each item


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """After minus before, with the percentile interval of a paired bootstrap over images.

    Attributes:
        value: The difference.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Value and interval, three decimals."""
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def ratio_values(ratios: Ratios) -> dict[str, float]:
    """Every score: the sum of its numerators over the sum of its denominators; NaN where that is 0.

    Args:
        ratios: By score, numerators and denominators [item].

    >>> ratio_values({"accuracy": (np.array([1, 0, 1]), np.ones(3))})
    {'accuracy': 0.666...}
    """
    return {name: float(_shares(part, whole, np.ones((1, len(part))))[0]) for name, (part, whole) in ratios.items()}


def paired_differences(
    before: Ratios, after: Ratios, groups: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Difference]:
    """After minus before for every score, the same images drawn for both in each resample.

    Args:
        before: By score, numerators and denominators [item]; usually of the plain model.
        after: The same scores of the same items in the same order.
        groups: Number of each item's image, 0, 1, ...: all items of an image are drawn together. int64 [item]
        resamples: Number of draws.
        seed: Of the draws.

    Returns:
        By score, the difference with its 95 % interval; resamples in which a score is not defined are left out.
    """
    gaps: dict[str, list[np.ndarray]] = {name: [] for name in before}
    for weights in weight_blocks(groups, resamples=resamples, seed=seed):
        for name, found in gaps.items():
            found.append(_shares(*after[name], weights) - _shares(*before[name], weights))
    estimates = {name: estimate(np.concatenate(found), LEVEL) for name, found in gaps.items()}
    return {name: Difference(value=one.value, low=one.low, high=one.high) for name, one in estimates.items()}


def mcnemar_test(before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of the questions whose answers changed between right and wrong.

    Args:
        before: Whether each answer was right, bool [question].
        after: Whether it is, bool [question].

    Returns:
        Questions made right, questions made wrong, and the two-sided p value.

    >>> mcnemar_test(np.array([False] * 6), np.array([True] * 6))
    (6, 0, 0.03125)
    """
    made_right, made_wrong = int((after & ~before).sum()), int((before & ~after).sum())
    changed, fewer = made_right + made_wrong, min(made_right, made_wrong)
    tail = sum(comb(changed, k) for k in range(fewer + 1)) / 2**changed
    return made_right, made_wrong, min(1.0, 2 * tail)


def _shares(part: np.ndarray, whole: np.ndarray, weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        share: np.ndarray = (weights @ part) / (weights @ whole)
    return share
