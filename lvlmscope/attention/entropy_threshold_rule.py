"""D-LEAF's rule without a model: layers whose image attention entropy is above a running threshold."""

import torch

__all__ = ["Walk", "weak_heads"]


class Walk:
    """The threshold of a walk through layers: flags those whose entropy is above the layers walked before.

    Args:
        threshold: Running `"min"`, `"max"` or `"mean"`.

    >>> walk = Walk("min")
    >>> [bool(walk.flag(torch.tensor(entropy))) for entropy in (2.0, 3.0, 1.0, 1.5)]
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


def weak_heads(focus: torch.Tensor, heads: str | int) -> torch.Tensor:
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
