"""Perception and reasoning heads (arXiv 2510.10285): the rule that names them, presets, thresholds by share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.option_checks import require_kind, require_number
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import check_fields

__all__ = ["PRESETS", "HeadRule", "Preset", "head_ratio", "layer_at", "preset_named", "rule_by_share"]

_TASK = "class heads by function"
LayerNumber = Annotated[int, Range(ge=0, noun="a layer number")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRule:
    """Which heads perceive and which reason, by layer and by the head's visual attention ratio `S_v`.

    Perception: `l <= l_perc and S_v >= tau_perc`. Reasoning: `l >= l_reas and S_v <= tau_reas`. No head is both, as
    `tau_reas < tau_perc`; most are neither.

    Attributes:
        l_perc: Last layer that can hold perception heads.
        tau_perc: Least `S_v` of a perception head.
        l_reas: First layer that can hold reasoning heads.
        tau_reas: Greatest `S_v` of a reasoning head.
    """

    l_perc: LayerNumber
    tau_perc: float
    l_reas: LayerNumber
    tau_reas: float

    @task(_TASK)
    def __post_init__(self) -> None:
        """Check that the classes are apart.

        Raises:
            ModelInputError: `tau_reas` is not below `tau_perc`, or a layer is negative or no whole number.
        """
        check_fields(self, _TASK)
        if not self.tau_reas < self.tau_perc:
            got = f"tau_reas {self.tau_reas:.6g} and tau_perc {self.tau_perc:.6g}"
            raise ModelInputError(message(got, "tau_reas below tau_perc", "set them apart"))

    def masks(
        self, ratio: Float[torch.Tensor, "*shape"], layer: int | Int[torch.Tensor, "*#shape"]
    ) -> tuple[Bool[torch.Tensor, "*shape"], Bool[torch.Tensor, "*shape"]]:
        """The perception heads and the reasoning heads.

        Args:
            ratio: `S_v`, any shape: `[batch, row, head]` of one layer, or `[layer, head]`.
            layer: Layer number, or numbers that broadcast over `ratio` (`[layer, 1]`).

        Returns:
            Two bool tensors of the shape of `ratio`. NaN is neither.

        >>> rule = HeadRule(l_perc=1, tau_perc=0.3, l_reas=1, tau_reas=0.1)
        >>> perception, reasoning = rule.masks(torch.tensor([0.4, 0.2, 0.0]), 1)
        >>> perception.tolist(), reasoning.tolist()
        ([True, False, False], [False, False, True])
        """
        layers = torch.as_tensor(layer, device=ratio.device)
        return self.perception(ratio) & (layers <= self.l_perc), self.reasoning(ratio) & (layers >= self.l_reas)

    def perception(self, ratio: Float[torch.Tensor, "*shape"]) -> Bool[torch.Tensor, "*shape"]:
        """Heads that look enough for perception, in a layer that can hold such heads.

        Args:
            ratio: `S_v`, any shape.
        """
        return ratio >= self.tau_perc

    def reasoning(self, ratio: Float[torch.Tensor, "*shape"]) -> Bool[torch.Tensor, "*shape"]:
        """Heads that look little enough for reasoning, in a layer that can hold such heads.

        Args:
            ratio: `S_v`, any shape.
        """
        return ratio <= self.tau_reas


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The paper's setting for one model.

    Attributes:
        rule: Layers and thresholds.
        g_perc: Gain on the output of perception heads.
        g_reas: Gain on the output of reasoning heads.
    """

    rule: HeadRule
    g_perc: float
    g_reas: float


PRESETS = MappingProxyType(
    {
        "Kimi-VL-A3B-Thinking": Preset(
            rule=HeadRule(l_perc=10, tau_perc=0.27, l_reas=5, tau_reas=0.01), g_perc=1.20, g_reas=1.40
        ),
        "Ocean-R1-7B": Preset(
            rule=HeadRule(l_perc=7, tau_perc=0.22, l_reas=3, tau_reas=0.01), g_perc=1.16, g_reas=1.30
        ),
        "R1-Onevision-7B": Preset(
            rule=HeadRule(l_perc=7, tau_perc=0.30, l_reas=3, tau_reas=0.01), g_perc=1.20, g_reas=1.30
        ),
    }
)


@task(_TASK)
def preset_named(name: str) -> Preset:
    """The paper's setting for a model.

    Args:
        name: A key of `PRESETS`.

    Returns:
        The preset.

    Raises:
        ModelInputError: No such preset.
    """
    require_kind("preset", name, str, ", ".join(PRESETS))
    if name not in PRESETS:
        fix = "for other models choose heads by share"
        raise ModelInputError(message(f"preset {name!r}"[:80], ", ".join(PRESETS), fix))
    return PRESETS[name]


def head_ratio(rows: AttentionRows) -> Float[torch.Tensor, "*lead head"]:
    """`S_v` of each head: its image mass, NaN in a row of a layer that does not see the image.

    There every head's mass is 0, whatever the head does: it has neither function, in signal and intervention alike.

    Args:
        rows: Rows `[..., head, key]`.
    """
    most = rows.image_mass.amax(-1, keepdim=True)
    return rows.image_mass.masked_fill(most <= 0, float("nan"))


@task(_TASK)
def rule_by_share(
    ratio: Float[torch.Tensor, "layer head"],
    layers: Sequence[int],
    *,
    share: float = 0.064,
    perception_until: float = 0.26,
    reasoning_from: float = 0.11,
) -> HeadRule:
    """A rule for any model: boundaries by relative depth, thresholds by the model's own `S_v`.

    Half of the share goes to each class: `tau_perc` is the k-th greatest `S_v` up to `l_perc`, `tau_reas` the k-th
    smallest from `l_reas` on, `k = max(1, round(share / 2 * number of heads))`; ties at a threshold are all in. The
    paper's best share is 0.064 of the heads, and it degrades at 0.18; halves of it are our choice.

    Args:
        ratio: `S_v`, `[layer, head]`; NaN for heads without. Of several rows, the layers of one after another's.
        layers: Decoder layer number of each entry of its layer axis.
        share: Share of all heads to select, in (0, 1].
        perception_until: Depth up to which heads may perceive: that of the n-th of the N layers given, which are those
            with attention, is `n / (N - 1)`; 0.26 is layer 7 of 28, as in two presets.
        reasoning_from: Depth from which heads may reason; 0.11 is layer 3 of 28.

    Returns:
        The rule.

    Raises:
        ModelInputError: A share or depth outside its range, no numbers, or heads so alike that the classes meet.

    >>> rule_by_share(torch.tensor([[0.75, 0.5], [0.25, 0.125]]), (0, 1))
    HeadRule(l_perc=0, tau_perc=0.75, l_reas=1, tau_reas=0.125)
    """
    depths = {"perception_until": perception_until, "reasoning_from": reasoning_from}
    for name, value in ({"share": share} | depths).items():
        require_number(name, value)
    if not 0 < share <= 1 or not (0 <= perception_until <= 1 and 0 <= reasoning_from <= 1):
        got = f"share {share}, perception_until {perception_until}, reasoning_from {reasoning_from}"
        raise ModelInputError(message(got, "a share in (0, 1] and depths in [0, 1]", "change them"))
    numbered = sorted(set(layers))
    l_perc, l_reas = layer_at(perception_until, numbered, up=False), layer_at(reasoning_from, numbered, up=True)
    numbers = torch.as_tensor(layers, device=ratio.device)
    early, late = (half[half.isfinite()] for half in (ratio[numbers <= l_perc], ratio[numbers >= l_reas]))
    count = max(1, round(share / 2 * ratio.numel()))
    if min(early.numel(), late.numel()) == 0:
        got = f"no visual attention ratio up to layer {l_perc} or from layer {l_reas}"
        raise ModelInputError(message(got, "heads that see the image on both sides", "move the depths"))
    highest = float(early.topk(min(count, early.numel())).values[-1])
    lowest = float(late.topk(min(count, late.numel()), largest=False).values[-1])
    if not lowest < highest:
        got = f"heads too alike: tau_reas {lowest:.6g} and tau_perc {highest:.6g} for a share of {share}"
        raise ModelInputError(message(got, "tau_reas below tau_perc", "lower the share or move the depths"))
    return HeadRule(l_perc=l_perc, tau_perc=highest, l_reas=l_reas, tau_reas=lowest)


def layer_at(depth: float, layers: Sequence[int], *, up: bool) -> int:
    """The layer at a depth.

    Args:
        depth: In [0, 1], from the first of the layers to the last.
        layers: Ascending numbers of the layers with attention.
        up: Between two layers the later one, instead of the earlier one.

    Returns:
        Its number.

    >>> layer_at(3 / 27, range(28), up=True), layer_at(0.4, [1, 3, 5], up=False)
    (3, 1)
    """
    place = depth * (len(layers) - 1)
    # A hair of slack: 3 / 27 of depth is to mean layer 3, whatever the rounding
    return layers[math.ceil(place - 1e-9) if up else math.floor(place + 1e-9)]
