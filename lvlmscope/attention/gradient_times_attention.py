"""Gradient times attention, `|a * d loss / d a|`: one formula for the saliency diagnostics, SGRS and the explorer."""

from typing import Final

import torch
from jaxtyping import Float

from lvlmscope.attention.attention_rows import at_least_float32

__all__ = ["NORM_FLOOR", "head_saliency", "normalised_rows"]

NORM_FLOOR: Final = 1e-9  # of the row norm, as in the released code of arXiv 2601.20279


def head_saliency(
    weights: Float[torch.Tensor, "*#lead head key"], gradient: Float[torch.Tensor, "*#lead head key"]
) -> Float[torch.Tensor, "*lead head key"]:
    """Saliency of each key in each head, in the unit of the loss.

    Args:
        weights: Attention ``[..., head, key]``.
        gradient: Slope of the loss by the attention, ``[..., head, key]``, broadcastable over the leading axes.

    Returns:
        ``|weights * gradient|`` in float32 or float64; the mean over heads is `.mean(-2)`.
    """
    return (at_least_float32(weights) * at_least_float32(gradient)).abs()


def normalised_rows(saliency: Float[torch.Tensor, "*lead key"]) -> Float[torch.Tensor, "*lead key"]:
    """Each row divided by its L2 norm over keys, which counts as `NORM_FLOOR` where it is less.

    Args:
        saliency: Rows ``[..., key]``.

    Returns:
        Rows of norm 1, or less where the norm was below the floor.

    >>> normalised_rows(torch.tensor([3.0, 4.0])).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    normalised: torch.Tensor = saliency / saliency.norm(dim=-1, keepdim=True).clamp_min(NORM_FLOOR)
    return normalised
