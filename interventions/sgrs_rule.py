"""SGRS's acceptance rule for scored candidates of a batch, without a model; nothing is read from the device."""

from dataclasses import dataclass

import torch

__all__ = ["AcceptedScores", "Choice", "choose"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The decision about one token of each sample, ``[batch]`` each.

    Attributes:
        index: The chosen candidate, int64.
        score: Its score, NaN where none is known.
        threshold: tau, the least score that is accepted.
        rejections: Candidates that were proposed and rejected, int64.
        fallback: Whether all proposals were rejected and the highest score was taken, bool.
        changed: Whether it is another than the first proposal, bool.
    """

    index: torch.Tensor
    score: torch.Tensor
    threshold: torch.Tensor
    rejections: torch.Tensor
    fallback: torch.Tensor
    changed: torch.Tensor


class AcceptedScores:
    """The last W accepted scores of each sample.

    Args:
        window: W.
        like: A score of each sample ``[batch]``, for type and device.

    >>> history = AcceptedScores(2, torch.zeros(1))
    >>> for score in (0.1, 0.2, 0.4): history.add(torch.tensor([score]))
    >>> round(history.threshold(0.5).item(), 6)
    0.15
    """

    def __init__(self, window: int, like: torch.Tensor) -> None:
        self._scores = like.new_full((len(like), window), float("nan"))

    def threshold(self, alpha: float) -> torch.Tensor:
        """tau: the mean accepted score of each sample times alpha, 0 without any, ``[batch]``."""
        mean: torch.Tensor = self._scores.nanmean(-1)
        return alpha * mean.nan_to_num(0.0)

    def add(self, score: torch.Tensor) -> None:
        """Append a score of each sample ``[batch]``; NaN is none."""
        moved = torch.cat([self._scores[:, 1:], score.unsqueeze(-1)], -1)
        self._scores = torch.where(score.isnan().unsqueeze(-1), self._scores, moved)


def choose(
    scores: torch.Tensor, order: torch.Tensor, possible: torch.Tensor, threshold: torch.Tensor, *, attempts: int
) -> Choice:
    """The first of up to R proposals whose score reaches tau.

    Args:
        scores: Score of each candidate ``[batch, candidate]``; NaN where none is known, which accepts the first
            proposal.
        order: Candidates in the order in which they are proposed, those that are possible first, int64.
        possible: Number of possible candidates, 1 or more, int64 ``[batch]``.
        threshold: tau ``[batch]``.
        attempts: R, number of proposals.

    Returns:
        The choice; the highest score of all possible candidates when no proposal is accepted.

    >>> scores, order = torch.tensor([[0.1, 0.3, 0.5]]), torch.tensor([[0, 1, 2]])
    >>> choose(scores, order, torch.tensor([3]), torch.tensor([0.25]), attempts=3).index.tolist()
    [1]
    """
    proposed = scores.gather(-1, order)
    rank = torch.arange(order.shape[-1], device=order.device)
    is_open = rank < possible.unsqueeze(-1)
    passes = (proposed >= threshold.unsqueeze(-1)) & is_open & (rank < attempts)
    accepted, known = passes.any(-1), ~proposed[:, 0].isnan()
    best = proposed.nan_to_num(nan=float("-inf")).masked_fill(~is_open, float("-inf")).argmax(-1)
    place = torch.where(accepted, passes.int().argmax(-1), best) * known
    chosen = place.unsqueeze(-1)
    return Choice(
        index=order.gather(-1, chosen).squeeze(-1),
        score=proposed.gather(-1, chosen).squeeze(-1),
        threshold=threshold,
        rejections=torch.where(accepted, place, possible.clamp_max(attempts)) * known,
        fallback=known & ~accepted,
        changed=place > 0,
    )
