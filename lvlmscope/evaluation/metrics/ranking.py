"""How well numbers rank the hallucinated above the true: AUROC and average precision, for many weightings at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np

from lvlmscope.interface.declared_types import Range

__all__ = ["Estimate", "Level", "Resamples"]
__all__ += ["auroc", "average_precision", "estimate", "resampled_weights", "weight_blocks"]

_BLOCK: Final = 20_000_000  # weights held at once: 160 MB

Resamples = Annotated[int, Range(ge=1)]  # draws of the bootstrap
Level = Annotated[float, Range(gt=0, lt=1)]  # share of the draws inside an interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its bootstrap interval.

    Attributes:
        value: The number.
        low: Lower end; NaN where it has none.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def auroc(values: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probability that a positive has the greater value than a negative, ties counted half, in [0, 1].

    Args:
        values: Finite numbers [item].
        positive: bool [item].
        weights: How often each item counts, [weighting, item].

    Returns:
        float64 [weighting]; NaN where a weighting has no positive or no negative.

    >>> auroc(np.array([1.0, 2.0, 3.0]), np.array([False, True, True]), np.ones((1, 3))).tolist()
    [1.0]
    """
    up, down = _by_value(values, positive, weights)
    below = down.cumsum(-1) - down / 2
    pairs = up.sum(-1) * down.sum(-1)
    with np.errstate(invalid="ignore"):
        area: np.ndarray = (up * below).sum(-1) / pairs
    return area


def average_precision(values: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean precision over the recall steps of a falling threshold, in [0, 1]; chance level is the share of positives.

    `AP = sum_n (R_n - R_(n-1)) P_n` over the distinct values, greatest first.

    Args:
        values: Finite numbers [item].
        positive: bool [item].
        weights: How often each item counts, [weighting, item].

    Returns:
        float64 [weighting]; NaN where a weighting has no positive.

    >>> average_precision(np.array([1.0, 2.0]), np.array([True, False]), np.ones((1, 2))).tolist()
    [0.5]
    """
    up, down = (part[:, ::-1] for part in _by_value(values, positive, weights))
    hits, named = up.cumsum(-1), (up + down).cumsum(-1)
    with np.errstate(invalid="ignore"):
        precision = np.where(named > 0, hits / named, 0.0)
        area: np.ndarray = (up * precision).sum(-1) / up.sum(-1)
    return area


def resampled_weights(groups: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """How often each item counts when whole groups are drawn with replacement; the first row counts each once.

    Args:
        groups: Group number of each item, 0..G-1 [item].
        resamples: Number of draws.
        seed: Of the draws.

    Returns:
        float64 [resamples + 1, item].
    """
    count = int(groups.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.vstack([np.ones((1, len(groups))), drawn[:, groups]]).astype(np.float64)


def weight_blocks(groups: np.ndarray, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """`resampled_weights` in blocks of at most 160 MB, so that the number of items is no matter.

    Args:
        groups: Group number of each item, 0..G-1 [item].
        resamples: Number of draws.
        seed: Of the draws; each block after the first has a seed of its own made of it.

    Yields:
        float64 [weighting, item]; the first row of the first block counts each item once.
    """
    size = max(1, _BLOCK // max(1, len(groups)))
    for number, start in enumerate(range(0, resamples, size)):
        drawn = min(size, resamples - start)
        own = seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        weights = resampled_weights(groups, resamples=drawn, seed=own)
        yield weights if number == 0 else weights[1:]


def estimate(numbers: np.ndarray, level: float) -> Estimate:
    """The first number, and the percentile interval of the others.

    Args:
        numbers: The value, then its resamples; NaN resamples are left out.
        level: Share of the resamples inside the interval.
    """
    drawn = numbers[1:][np.isfinite(numbers[1:])]
    value = float(numbers[0])
    if not len(drawn) or not np.isfinite(value):
        return Estimate(value=value, low=float("nan"), high=float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def _by_value(values: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the positives and of the negatives at each distinct value, ascending: two [weighting, value]."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    sorted_weights = weights[:, order]
    up = np.add.reduceat(np.where(positive[order], sorted_weights, 0.0), starts, axis=1)
    return up, np.add.reduceat(np.where(positive[order], 0.0, sorted_weights), starts, axis=1)
