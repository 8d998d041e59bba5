"""A word's attention: the mean over the steps that wrote it, then over heads and layers."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from lvlmscope.traces.word_values import defined_mean

__all__ = ["mean_over_heads", "mean_over_steps"]


def mean_over_steps(at_step: Callable[[int], torch.Tensor], steps: Sequence[int]) -> np.ndarray:
    """The mean of an amount over a word's steps, float32 ``[layer, head, key]``; undefined where one step is.

    Args:
        at_step: The amount at one step ``[layer, head, key]``: one step at a time is read, not the whole trace.
        steps: The steps of the word, at least one.
    """
    total = at_step(steps[0]).float()
    for step in steps[1:]:
        total = total + at_step(step).float()
    mean: np.ndarray = (total / len(steps)).numpy()
    return mean


def mean_over_heads(
    amount: np.ndarray, *, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> np.ndarray:
    """The mean over heads, then over layers ``[key]``; undefined values are left out.

    Args:
        amount: ``[layer, head, key]``.
        layers: Positions on the layer axis; None for all.
        heads: Query head numbers; None for all.

    Examples:
        >>> mean_over_heads(np.array([[[0.5], [np.nan]], [[0.1], [0.3]]])).round(6).tolist()
        [0.35]
        >>> mean_over_heads(np.array([[[0.5], [0.7]], [[0.1], [0.3]]]), layers=[0], heads=[1]).tolist()
        [0.7]
    """
    chosen = amount if layers is None else amount[list(layers)]
    chosen = chosen if heads is None else chosen[:, list(heads)]
    return defined_mean(defined_mean(chosen, 1), 0)
