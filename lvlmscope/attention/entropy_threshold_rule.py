"""D-LEAF's rule without a model: layers whose image attention entropy is above a running threshold."""

from dataclasses import dataclass
from typing import Literal

import torch

from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.errors import ModelInputError, message, task

__all__ = ["EntropyRule", "RunningThreshold", "heads_to_edit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyRule:
    """Which layers D-LEAF flags, and which of their heads it edits. Our reading of arXiv 2509.07864.

    Attributes:
        threshold: Running `"min"`, `"max"` or `"mean"` of LIAE over the layers walked before.
        layers: Layers that are walked: ints, a band of depth (two floats), or None for all.
        heads: Heads of a flagged layer: those `"below_mean"` of IAF, `"all"` but the best, or the given number of
            those with the least image mass.
    """

    threshold: Literal["min", "max", "mean"] = "min"
    layers: LayerSpec = (0.0, 1.0)
    heads: Literal["below_mean", "all"] | int = "below_mean"

    @task("configure D-LEAF's rule")
    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            ModelInputError: A parameter outside its choices.
        """
        if self.threshold not in {"min", "max", "mean"}:
            got, expected = f"threshold={self.threshold!r}", "min, max or mean"
            raise ModelInputError(message(got, expected, "choose one of them"))
        counted = isinstance(self.heads, int) and not isinstance(self.heads, bool) and self.heads >= 1
        if self.heads not in {"below_mean", "all"} and not counted:
            got, expected = f"heads={self.heads!r}", "below_mean, all, or a number of heads from 1"
            raise ModelInputError(message(got, expected, "choose one of them"))


class RunningThreshold:
    """The threshold of a walk through layers: flags those whose entropy is above the layers walked before.

    Args:
        threshold: Running `"min"`, `"max"` or `"mean"`.

    >>> level = RunningThreshold("min")
    >>> [bool(level.flag(torch.tensor(entropy))) for entropy in (2.0, 3.0, 1.0, 1.5)]
    [False, True, False, True]
    """

    def __init__(self, threshold: str) -> None:
        self._threshold = threshold
        self._level: torch.Tensor | None = None
        self._walked = 0

    def flag(self, entropy: torch.Tensor) -> torch.Tensor:
        """Rows of the next layer that are above the level so far; then the level takes this layer in. NaN never flags.

        Args:
            entropy: LIAE of the layer, one number for each row.

        Returns:
            bool, of the same shape; all False for the first layer walked.
        """
        self._walked += 1
        if self._level is None:
            self._level = entropy
            return torch.zeros_like(entropy, dtype=torch.bool)
        level = self._level.to(entropy.device)  # layers may lie on several devices
        if self._threshold == "mean":
            self._level = level + (entropy - level) / self._walked
        else:
            self._level = (torch.fmin if self._threshold == "min" else torch.fmax)(level, entropy)
        return entropy > level


def heads_to_edit(focus: torch.Tensor, heads: str | int) -> torch.Tensor:
    """The heads to mend in a flagged layer; never the best one.

    Args:
        focus: Image mass of each head, ``[..., head]``.
        heads: `"below_mean"`, `"all"`, or a number of heads.

    Returns:
        bool ``[..., head]``.
    """
    best = torch.zeros_like(focus, dtype=torch.bool).scatter(-1, focus.argmax(-1, keepdim=True), value=True)
    if heads == "below_mean":
        weak = focus < focus.mean(-1, keepdim=True)
    elif heads == "all":
        weak = torch.ones_like(best)
    else:
        order = focus.argsort(stable=True, dim=-1).argsort(-1)
        weak = order < int(heads)
    return weak & ~best
