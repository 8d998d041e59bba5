"""A digest that tells one model's weights from another's."""

import hashlib
from collections.abc import Sequence
from typing import Final

import torch

__all__ = ["weights_digest"]

_SAMPLED: Final = 32  # values of each layer's first weight that enter the digest


def weights_digest(layers: Sequence[torch.nn.Module]) -> str:
    """SHA-256 of the names and shapes of every decoder layer's weights, and of the first values of its first one.

    Args:
        layers: Decoder layers in order.

    Returns:
        64 hexadecimal digits; the same on every device. Weights that lie elsewhere ("meta") count by their shape.
    """
    found = hashlib.sha256()
    for layer in layers:
        for name, weight in layer.named_parameters():
            found.update(f"{name} {tuple(weight.shape)}".encode())
        first = next(layer.parameters(), None)
        if first is not None and first.device.type != "meta":
            found.update(first.detach().flatten()[:_SAMPLED].float().cpu().numpy().tobytes())
    return found.hexdigest()
