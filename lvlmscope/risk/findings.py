"""Findings on layers and heads: flags by D-LEAF's rule, drift to noise, heads by function."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch

from lvlmscope.attention.entropy_threshold_rule import EntropyRule
from lvlmscope.attention.functional_head_rule import head_ratio, rule_by_share
from lvlmscope.attention.layer_bands import DEEP, MIDDLE
from lvlmscope.diagnostics import anchor_correlation
from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.requirements import chosen_layers
from lvlmscope.traces.shared_rows import computed_once
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
    """Heads by the rule of arXiv 2510.10285 at some words; thresholds by the whole answer's own ratios are ours.

    Over the whole answer each class has 3.2 % of the heads, as the thresholds are chosen so; at some words it has more
    or less.

    Attributes:
        perception: Share of all heads that perceive there: early, much attention on the image.
        reasoning: Share of all heads that reason there: late, hardly any.
        ratio: Mean share of attention on the image there over all heads.
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


def head_shares(trace: Trace, steps: Sequence[int]) -> HeadShares | None:
    """Heads by function at some steps; None where the trace's heads are too alike to be classed.

    Args:
        trace: A trace with image keys.
        steps: First steps of the words.
    """
    rows = trace.rows()
    ratio = head_ratio(rows)
    try:
        rule = rule_by_share(ratio.flatten(0, 1), trace.layer_indices * trace.num_steps)
    except ModelInputError:
        return None
    chosen = list(steps)
    masks = rule.masks(ratio[chosen], torch.tensor(trace.layer_indices).unsqueeze(-1))
    perception, reasoning = (float(mask.float().mean()) for mask in masks)
    return HeadShares(perception=perception, reasoning=reasoning, ratio=float(rows.image_mass[chosen].mean()))


def drift_of(trace: Trace) -> Drift | None:
    """Whether deep layers drift back to the first layers' noise; None where no layer can be compared."""
    means = computed_once(anchor_correlation, trace).mean("step")
    found: dict[str, float] = {}
    for name, band in (("middle", MIDDLE), ("deep", DEEP)):
        places = chosen_layers(trace, band)
        for anchor in ("r_neg", "r_pos"):
            found[f"{anchor}_{name}"] = float(means.sel(anchor=anchor).isel(layer=places).mean())
    return Drift(**found) if all(isfinite(value) for value in found.values()) else None
