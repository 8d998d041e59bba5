"""Sensitive heads and the image distributions gathered from them: what CLVA edits with and its diagnostic measures."""

from functools import reduce
from typing import Annotated, Final

import torch
from jaxtyping import Bool, Float, Int

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.interface.declared_types import Range

__all__ = ["HeadFraction", "extreme_heads", "gathered_distribution"]

_VALUES: Final = 2**20  # of rows that are gathered at a time
HeadFraction = Annotated[float, Range(gt=0, le=0.5)]  # of the heads at either end: more would overlap


def extreme_heads(
    mass: Float[torch.Tensor, "*lead head"], fraction: float, *, most: bool
) -> Bool[torch.Tensor, "*lead head"]:
    """The heads of each row with the most (least) image mass.

    Args:
        mass: Image mass `[..., head]`.
        fraction: Share of the heads, rounded down, at least one.
        most: Whether those that look most (sensitive), or least.

    Returns:
        bool `[..., head]`; a head of unknown mass (NaN) is never one, and in a row where no head has any (the image
        is outside the layer's window) none is.

    >>> extreme_heads(torch.tensor([0.1, 0.4, 0.2, 0.3]), 0.25, most=True).tolist()
    [False, True, False, False]
    """
    indices = _extreme_indices(mass, fraction, most=most)
    sees = (mass > 0).any(-1, keepdim=True)
    return torch.zeros_like(mass, dtype=torch.bool).scatter(-1, indices, value=True) & ~mass.isnan() & sees


def _extreme_indices(
    mass: Float[torch.Tensor, "*lead head"], fraction: float, *, most: bool
) -> Int[torch.Tensor, "*lead count"]:
    """Indices of the heads with the most (least) image mass; unknown mass comes last."""
    count = max(1, int(mass.shape[-1] * fraction))
    return mass.nan_to_num(-1.0 if most else 2.0).topk(count, -1, largest=most).indices


def gathered_distribution(rows: AttentionRows, fraction: float, *, most: bool) -> Float[torch.Tensor, "*lead key"]:
    """Sum of those heads' image distributions; a head without one adds nothing.

    Args:
        rows: Rows `[..., head, key]`.
        fraction: As in `extreme_heads`.
        most: As in `extreme_heads`.

    Returns:
        `[..., key]`, 0 outside the image.
    """
    mass = rows.image_mass
    indices = _extreme_indices(mass, fraction, most=most)
    first, end = rows.image_span or (0, rows.weights.shape[-1])
    looks = rows.image_weights if rows.image_span is None else rows.weights[..., first:end]
    # All heads of a decoded token at once, of a whole answer only some: together they would be a copy of its rows
    size = max(1, _VALUES // max(1, looks[..., 0, :].numel()))
    parts = (_summed(looks, mass, each) for each in indices.split(size, -1))
    return torch.nn.functional.pad(reduce(torch.Tensor.add_, parts), (first, rows.weights.shape[-1] - end))


def _summed(
    looks: Float[torch.Tensor, "*lead head image"],
    mass: Float[torch.Tensor, "*lead head"],
    indices: Int[torch.Tensor, "*lead count"],
) -> Float[torch.Tensor, "*lead image"]:
    chosen = looks.gather(-2, indices.unsqueeze(-1).expand(*indices.shape, looks.shape[-1]))
    # Without mass, or of unknown mass, a head has no distribution: NaN
    return (chosen / mass.gather(-1, indices).unsqueeze(-1)).nan_to_num().sum(-2)
