"""Contrast of the logits of two sequences, and the adaptive plausibility constraint."""

from math import log

import torch
from jaxtyping import Float

__all__ = ["contrast", "plausible_only"]


def contrast(
    logits: Float[torch.Tensor, "row vocabulary"], other: Float[torch.Tensor, "row vocabulary"], *, alpha: float
) -> Float[torch.Tensor, "row vocabulary"]:
    """`(1 + alpha) * logits - alpha * other`.

    Args:
        logits: Under the image.
        other: Under other inputs.
        alpha: Strength of the contrast.

    >>> contrast(torch.tensor([[2.0, 1.0]]), torch.tensor([[2.0, 0.0]]), alpha=1.0).tolist()
    [[2.0, 2.0]]
    """
    return (1 + alpha) * logits - alpha * other


def plausible_only(
    mixed: Float[torch.Tensor, "row vocabulary"], logits: Float[torch.Tensor, "row vocabulary"], *, beta: float
) -> Float[torch.Tensor, "row vocabulary"]:
    """Mixed logits, -inf for tokens whose probability is below a share of the largest.

    Args:
        mixed: Logits from which a token is chosen.
        logits: The model's own, whose probabilities decide.
        beta: The share, in [0, 1); 0 leaves every token.

    >>> plausible_only(torch.ones(1, 3), torch.tensor([[0.0, -1.0, -5.0]]), beta=0.1).tolist()
    [[1.0, 1.0, -inf]]
    """
    if not beta:
        return mixed
    return mixed.masked_fill(logits < logits.amax(-1, keepdim=True) + log(beta), float("-inf"))
