"""Layers that attend where the tap cannot see them, or more than once."""

from collections.abc import Collection
from typing import Any

import torch

from lvlmscope.errors import UnsupportedModelError, message

__all__ = ["refuse_hidden_layers", "refuse_second_call"]


def refuse_hidden_layers(model: torch.nn.Module, cache: Any, seen: Collection[int]) -> None:
    """Refuse a model with a layer that keeps keys but showed no rows; one without keys has no attention at all.

    Args:
        cache: The cache after a forward; without one nothing is known of the layers.
        seen: Numbers of the layers that called the tap.

    Raises:
        UnsupportedModelError: A layer attends out of sight.
    """
    keys = [getattr(layer, "keys", None) for layer in getattr(cache, "layers", None) or ()]
    kept = [number for number, held in enumerate(keys) if isinstance(held, torch.Tensor) and held.numel()]
    if hidden := [number for number in kept if number not in seen]:
        got = f"{type(model).__name__}, whose layers {hidden} attend without the attention registry"
        fix = "load the model without that kernel (fused or quantised attention), or register a Family"
        raise UnsupportedModelError(message(got, "layers on the attention registry", fix, task="read attention"))


def refuse_second_call(module: torch.nn.Module, layer: int) -> None:
    """Refuse a layer that attends twice in a forward: it has no single row per position.

    Args:
        module: Its attention.
        layer: Its number.

    Raises:
        UnsupportedModelError: Always.
    """
    got = f"{type(module).__name__}, which calls its attention function twice in layer {layer}"
    fix = "register a Family whose make_tap reads one of them"
    raise UnsupportedModelError(message(got, "one attention call per layer", fix, task="read attention"))
