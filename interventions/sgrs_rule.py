"""SGRS's acceptance rule for scored candidates, without a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Choice", "choose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The decision about one token.

    Attributes:
        index: The chosen candidate.
        score: Its score, None where none is known.
        threshold: tau, the least score that is accepted.
        rejections: Candidates that were proposed and rejected.
        fallback: Whether all proposals were rejected and the highest score was taken.
        changed: Whether it is another than the first proposal.
    """

    index: int
    score: float | None
    threshold: float
    rejections: int
    fallback: bool
    changed: bool


def choose(
    scores: Sequence[float], proposals: Sequence[int], history: Sequence[float], *, alpha: float, attempts: int
) -> Choice:
    """The first of up to R proposals whose score reaches alpha times the mean of the history.

    Args:
        scores: Score of each candidate; NaN where none is known, which accepts the first proposal.
        proposals: Possible candidates in the order in which they are proposed.
        history: The last accepted scores; none gives the threshold 0.
        alpha: tau as a share of their mean.
        attempts: R, number of proposals.

    Returns:
        The choice; the highest score of all possible candidates when no proposal is accepted.

    >>> choose([0.1, 0.3, 0.5], [0, 1, 2], [0.5], alpha=0.5, attempts=3).index
    1
    """
    tau = alpha * math.fsum(history) / len(history) if history else 0.0
    first = proposals[0]
    if math.isnan(scores[first]):
        return Choice(index=first, score=None, threshold=tau, rejections=0, fallback=False, changed=False)
    for tried, index in enumerate(proposals[:attempts]):
        if scores[index] >= tau:
            return Choice(
                index=index, score=scores[index], threshold=tau, rejections=tried, fallback=False, changed=tried > 0
            )
    best = max(proposals, key=lambda index: scores[index])
    rejected = min(attempts, len(proposals))
    return Choice(
        index=best, score=scores[best], threshold=tau, rejections=rejected, fallback=True, changed=best != first
    )
