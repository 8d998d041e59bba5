"""D-LEAF's rule without a model: layers whose image attention entropy is above a running threshold."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import torch

from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import check_fields

__all__ = ["FLAG_MARGIN", "EntropyRule", "RunningThreshold", "heads_to_edit"]

FLAG_MARGIN: Final = 1e-4  # nats: equal entropies differ by rounding, 1e-6 in float32's sums and more by kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyRule:
    """Which layers D-LEAF flags, and which of their heads it edits. Our reading of arXiv 2509.07864.

    A layer is flagged where its LIAE is more than `FLAG_MARGIN`, 1e-4 nats, above the threshold.

    Attributes:
        threshold: Running `"min"`, `"max"` or `"mean"` of LIAE over the layers walked before.
        layers: Layers that are walked: ints, a band of depth (two floats), or None for all.
        heads: Heads of a flagged layer: those `"below_mean"` of IAF, `"all"` but the best, or the given number of
            those with the least image mass.
    """

    threshold: Literal["min", "max", "mean"] = "min"
    layers: LayerSpec = (0.0, 1.0)
    heads: Literal["below_mean", "all"] | Annotated[int, Range(ge=1, noun="a number of heads")] = "below_mean"

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            ModelInputError: A parameter of another type, or outside its choices or range.
        """
        check_fields(self, "configure D-LEAF's rule")


class RunningThreshold:
    """The threshold of a walk through layers: flags those whose entropy is above the layers walked before.

    "Above" is by more than `FLAG_MARGIN`. A row whose entropy is NaN, as it sees no image key in the layer, is not
    flagged there, does not change its threshold, and does not count in a mean.

    Args:
        threshold: Running `"min"`, `"max"` or `"mean"`.

    >>> level = RunningThreshold("min")
    >>> [bool(level.flag(torch.tensor(entropy))) for entropy in (2.0, 3.0, 1.0, 1.5)]
    [False, True, False, True]
    """

    def __init__(self, threshold: str) -> None:
        self._threshold = threshold
        self._level: torch.Tensor | None = None
        self._walked: torch.Tensor | None = None

    @property
    def begins(self) -> bool:
        """Whether no layer has been walked yet: the next one is not flagged in any row."""
        return self._level is None

    def on(self, device: torch.device) -> torch.Tensor:
        """The level so far, one number for each row; NaN where no layer has been walked.

        Args:
            device: Where it is needed.
        """
        return torch.tensor(float("nan"), device=device) if self._level is None else self._level.to(device)

    def flag(self, entropy: torch.Tensor) -> torch.Tensor:
        """Rows of the next layer that are above the level so far; then the level takes this layer in.

        Args:
            entropy: LIAE of the layer, one number for each row.

        Returns:
            bool, of the same shape; all False for the first layer that a row sees the image in.
        """
        if self._level is None:
            self._level = entropy
            self._walked = (~entropy.isnan()).long() if self._threshold == "mean" else None
            return torch.zeros_like(entropy, dtype=torch.bool)
        level = self.on(entropy.device)  # layers on several devices
        if self._walked is not None:
            known, walked = ~entropy.isnan(), self._walked.to(entropy.device)
            self._walked = walked + known
            started = torch.where(walked > 0, level, 0.0)
            moved = started + (entropy - started) / self._walked.clamp_min(1)
            self._level = torch.where(known, moved, level)
        else:
            self._level = (torch.fmin if self._threshold == "min" else torch.fmax)(level, entropy)
        return entropy > level + FLAG_MARGIN  # NaN on either side gives False


def heads_to_edit(focus: torch.Tensor, heads: str | int) -> torch.Tensor:
    """The heads to edit in a flagged layer; never the best one.

    Args:
        focus: Image mass of each head, ``[..., head]``.
        heads: `"below_mean"`, `"all"`, or a number of heads.

    Returns:
        bool ``[..., head]``.
    """
    if heads == "below_mean":  # of equal heads the mean may be rounded above them all
        return focus < torch.minimum(focus.mean(-1, keepdim=True), focus.amax(-1, keepdim=True))
    best = torch.zeros_like(focus, dtype=torch.bool).scatter(-1, focus.argmax(-1, keepdim=True), value=True)
    if heads == "all":
        weak = torch.ones_like(best)
    else:
        order = focus.argsort(stable=True, dim=-1).argsort(-1)
        weak = order < int(heads)
    return weak & ~best
