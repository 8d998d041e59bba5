"""Findings on layers and heads: flags by D-LEAF's rule, drift to noise, heads by function."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from lvlmscope.attention.entropy_threshold_rule import EntropyRule
from lvlmscope.attention.layer_bands import DEEP, MIDDLE, resolve_layers
from lvlmscope.diagnostics import anchor_correlation, functional_heads, visual_attention_ratio
from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.trace import Trace

__all__ = ["Drift", "FlaggedHead", "FlaggedLayer", "HeadShares", "drift_of", "flags_of", "head_shares"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedLayer:
    """A layer that D-LEAF's rule flags.

    Attributes:
        layer: Its number.
        share: Share of the answer's tokens at which it is flagged.
        heads: Mean number of heads that would be edited where it is.
    """

    layer: int
    share: float
    heads: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedHead:
    """A head that D-LEAF's rule would edit.

    Attributes:
        layer: Its layer.
        head: Its number.
        share: Share of the answer's tokens at which it would be.
    """

    layer: int
    head: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShares:
    """Heads by function, at the last prompt token, thresholds by the trace's own ratios (arXiv 2510.10285).

    Attributes:
        perception: Share of all heads that perceive: early, much attention on the image.
        reasoning: Share of all heads that reason: late, hardly any.
        ratio: Mean share of attention on the image over all heads.
    """

    perception: float
    reasoning: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Pearson correlation of the layers' image maps with CLVA's anchors, mean over tokens and a band of layers.

    Attributes:
        r_neg_middle: With the initial noise, middle layers.
        r_neg_deep: With the initial noise, deep layers.
        r_pos_middle: With the visual anchor, middle layers.
        r_pos_deep: With the visual anchor, deep layers.
    """

    r_neg_middle: float
    r_neg_deep: float
    r_pos_middle: float
    r_pos_deep: float

    @property
    def towards_noise(self) -> bool:
        """Whether deep layers are more like the initial noise than middle ones, and less like the visual anchor."""
        return self.r_neg_deep > self.r_neg_middle and self.r_pos_deep < self.r_pos_middle


def flags_of(trace: Trace, rule: EntropyRule) -> tuple[tuple[FlaggedLayer, ...], tuple[FlaggedHead, ...]]:
    """Flagged layers, in order, and flagged heads, most often flagged first.

    Args:
        trace: A trace with image keys.
        rule: Whose threshold and choice of heads count.
    """
    flags = flagged_heads(trace, rule)
    values = flags.to_numpy() > 0  # [layer, head, step]
    numbers = flags["layer"].values.tolist()
    layers = tuple(
        FlaggedLayer(layer=number, share=float(at.any(0).mean()), heads=float(at.sum(0)[at.any(0)].mean()))
        for number, at in zip(numbers, values, strict=True)
        if at.any()
    )
    shares = values.mean(-1)
    heads = [
        FlaggedHead(layer=numbers[position], head=int(head), share=float(shares[position, head]))
        for position, head in np.argwhere(shares > 0)
    ]
    return layers, tuple(sorted(heads, key=lambda one: -one.share))


def head_shares(trace: Trace) -> HeadShares | None:
    """Heads by function; None where the trace's heads are too alike to be classed."""
    try:
        classes = functional_heads(trace).values
    except ModelInputError:
        return None
    ratio = float(visual_attention_ratio(trace).mean())
    shares = {name: float((classes == name).mean()) for name in ("perception", "reasoning")}
    return HeadShares(perception=shares["perception"], reasoning=shares["reasoning"], ratio=ratio)


def drift_of(trace: Trace) -> Drift | None:
    """Whether deep layers drift back to the first layers' noise; None where no layer can be compared."""
    means = anchor_correlation(trace).mean("step")
    depth = max(trace.layer_indices) + 1
    found: dict[str, float] = {}
    for name, band in (("middle", MIDDLE), ("deep", DEEP)):
        layers = [layer for layer in resolve_layers(band, depth) if layer in trace.layer_indices]
        for anchor in ("r_neg", "r_pos"):
            found[f"{anchor}_{name}"] = float(means.sel(anchor=anchor, layer=layers).mean())
    return Drift(**found) if all(isfinite(value) for value in found.values()) else None
