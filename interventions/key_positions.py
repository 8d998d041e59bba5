"""Positions of the sequence on a layer's key axis: windows keep the last keys, static caches have spare ones."""

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.image_layout import after_last
from lvlmscope.runtime.protocol import ForwardInfo

__all__ = ["after_image", "crosses", "on_keys", "on_positions"]


def on_keys(values: torch.Tensor, keys: int) -> torch.Tensor:
    """From positions to a layer's keys: the last ones, or all and spare ones at the end.

    Args:
        values: `[..., position]`.
        keys: Length of the layer's key axis.

    Returns:
        `[..., key]`, 0 (False) on spare keys.

    >>> on_keys(torch.tensor([1, 2, 3]), 2).tolist(), on_keys(torch.tensor([1, 2, 3]), 4).tolist()
    ([2, 3], [1, 2, 3, 0])
    """
    spare = keys - values.shape[-1]
    return torch.nn.functional.pad(values, (0, spare)) if spare > 0 else values[..., -keys:]


def on_positions(values: torch.Tensor, positions: int) -> torch.Tensor:
    """From a layer's keys to positions; 0 at those outside a window.

    Args:
        values: `[..., key]`.
        positions: Length of the sequence so far, padding counted.

    Returns:
        `[..., position]`.

    >>> on_positions(torch.tensor([2, 3]), 3).tolist()
    [0, 2, 3]
    """
    missing = positions - values.shape[-1]
    return torch.nn.functional.pad(values, (missing, 0)) if missing > 0 else values[..., :positions]


def crosses(rows: AttentionRows) -> bool:
    """Whether the layer's keys are the image's alone, outside the sequence (cross-attention)."""
    return bool(rows.image_keys.all())


def after_image(forward: ForwardInfo) -> torch.Tensor:
    """Positions after the last image key, bool `[batch, position]`; none in a sample without an image."""
    image = forward.image_keys
    return after_last(image) & image.any(-1, keepdim=True)
