"""CLVA: moves the image attention of deep layers towards the middle layers' and away from the initial layers'."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.layer_bands import DEEP, INITIAL, MIDDLE, LayerSpec
from lvlmscope.attention.sensitive_head_rule import HeadFraction, extreme_heads, gathered_distribution
from lvlmscope.errors import ModelInputError, message
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.key_positions import on_keys, on_positions
from lvlmscope.interventions.layers_with_attention import chosen_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.compiled_edits import row_edit
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session

__all__ = ["CLVA"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class CLVA(InterventionConfig):
    """Cross-layer visual anchors. Our reading of arXiv 2603.25088, of which figure captions were public.

    In one forward and for each row on its own: `Neg` is the mean image distribution of the heads with least image
    mass, over the initial layers; `Pos` that of the heads with most, over the middle layers; each sums to 1. In
    deep layers image keys get `a'_j = M [p_j + alpha Pos_j - beta Neg_j]_+ / sum_k [...]_+`: the image mass M and all
    other keys stay. Where the bracket is 0 on all keys the row stays as it was.

    Anchors are sums over absolute positions. A layer with a sliding window counts the image keys that it sees: they
    enter an anchor where it is collected, and share it out anew, to sum 1, where it is applied. A layer that sees none
    has no heads of most or least image mass and is not edited.

    Attributes:
        alpha: Weight of the visual anchor, 0 or more. alpha = beta = 0 is the untouched model, to the last bit.
        beta: Weight of the initial noise, 0 or more.
        initial: Layers of the noise anchor; ints, or a band of depth.
        middle: Layers of the visual anchor.
        deep: Layers that are edited.
        fraction: Share of the heads taken as those with most (least) image mass, in (0, 0.5]; at least one head.
        update: `"redistribute"` as above; `"logit"` adds `alpha Pos / max Pos - beta Neg / max Neg` to the image keys'
            scores, the row then sums to 1 by moving mass: scaled so, `alpha` is the change at an anchor's peak whatever
            the number of image keys; `"add"` adds `alpha Pos - beta Neg` to the weights, cut at 0, and renormalises the
            row.
        heads: `"all"` heads of a deep layer, or the `"sensitive"` ones with most image mass.
    """

    alpha: Annotated[float, Range(ge=0)] = 0.5
    beta: Annotated[float, Range(ge=0)] = 0.2
    initial: LayerSpec = INITIAL
    middle: LayerSpec = MIDDLE
    deep: LayerSpec = DEEP
    fraction: HeadFraction = 0.25
    update: Literal["redistribute", "logit", "add"] = "redistribute"
    heads: Literal["all", "sensitive"] = "all"

    reference: ClassVar[str] = "arXiv 2603.25088, our reading"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2603.25088",
        from_paper="anchors from the first and the middle layers; deep layers pulled to one and away from the other",
        our_choices="all formulas, bands and defaults: figure captions were public",
        cost="one sum over image keys a layer, and the values of edited heads once more",
        search_space={"alpha": (0.0, 4.0), "beta": (0.0, 2.0), "update": ["redistribute", "logit", "add"]}
        | {"heads": ["all", "sensitive"], "deep": [DEEP, (0.59, 1.0), (0.85, 1.0)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model.

        Raises:
            ModelInputError: Layers outside the model or without attention, or deep layers that do not all come after
                the anchors' layers.
        """
        initial, middle, deep = (
            chosen_layers(getattr(self, name), model_info, name=name) for name in ("initial", "middle", "deep")
        )
        if min(deep) <= max(*initial, *middle):
            got = f"deep {list(deep)} beside initial {list(initial)} and middle {list(middle)}"
            expected = "deep layers after all layers of the anchors"
            raise ModelInputError(message(got, expected, "choose other layers for this model", task="switch on CLVA"))
        return _CLVASession(self, initial, middle, deep)


@row_edit(by_span=False)
def _pulled(
    rows: AttentionRows, pull: torch.Tensor, *, update: str, sensitive: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Edited weights of a deep layer, and its image mass; of a share of sensitive heads, or of all."""
    edited, chosen = _updated(rows, pull, update)
    if sensitive is not None:
        chosen = chosen & extreme_heads(rows.image_mass, sensitive, most=True)
    return torch.where(chosen.unsqueeze(-1), edited, rows.weights), rows.image_mass


class _CLVASession(ImageSession):
    """Computes the anchors of every row in each forward, and edits the deep layers with them."""

    method = "CLVA"
    has_compiled_edit = True

    def __init__(self, config: CLVA, initial: tuple[int, ...], middle: tuple[int, ...], deep: tuple[int, ...]) -> None:
        super().__init__()
        self._config = config
        self._initial, self._middle, self._deep = initial, middle, deep
        self._noise, self._anchor = _PositionSum(0), _PositionSum(0)
        self.row_layers = frozenset({*initial, *middle, *deep} if config.alpha or config.beta else ())
        self._pulls: dict[tuple[bool, int, torch.device], torch.Tensor] = {}

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Clear the anchors."""
        super().begin_forward(forward)
        self._pulls = {}
        positions = forward.image_keys.shape[1]
        self._noise, self._anchor = _PositionSum(positions), _PositionSum(positions)

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Collect anchors in initial and middle layers; edit deep ones."""
        config = self._config
        if not self.sees_image or (config.alpha == 0 and config.beta == 0):
            return None
        if rows.layer in self._initial:
            self._noise.add(gathered_distribution(rows, config.fraction, most=False), crosses=self.crosses(rows))
        if rows.layer in self._middle:
            self._anchor.add(gathered_distribution(rows, config.fraction, most=True), crosses=self.crosses(rows))
        if rows.layer not in self._deep:
            return None
        sensitive = config.fraction if config.heads == "sensitive" else None
        options: dict[str, Any] = {"update": config.update, "sensitive": sensitive}
        pull = self._pull_on(rows).unsqueeze(-2)
        edited: torch.Tensor
        edited, level = _pulled(rows, pull, compiled=self.compiled, **options)
        self.sums.add("mass", rows.layer, level, above=0.0)
        return edited

    def _pull_on(self, rows: AttentionRows) -> torch.Tensor:
        """`alpha Pos - beta Neg` on the keys of a layer; shared by deep layers that see every key."""
        crossing = self.crosses(rows)
        key = crossing, rows.weights.shape[-1], rows.weights.device
        if rows.sees_all_keys and key in self._pulls:
            return self._pulls[key]
        anchor, noise = (each.share(rows, crosses=crossing) for each in (self._anchor, self._noise))
        if self._config.update == "logit":
            anchor, noise = _peaking_at_one(anchor), _peaking_at_one(noise)
        pull = self._pulls[key] = torch.sub(self._config.alpha * anchor, noise, alpha=self._config.beta)
        self.sums.add("pull", rows.own_layer, pull.abs().amax(-1), above=0.0)
        return pull

    def no_effect_reason(self) -> str | None:
        """Why no row was edited."""
        if not self.sees_image or (self._config.alpha == 0 and self._config.beta == 0):
            return None
        if not self.sums.total("mass"):
            return f"in its deep layers ({_numbers(self._deep)}) no predicting row attends to an image key"
        if not self.sums.total("pull"):
            where = f"initial ({_numbers(self._initial)}) and middle ({_numbers(self._middle)}) layers"
            return f"the {where} gave no anchor: no head there attends to the image, or the anchors are equal"
        return "the anchors left the rows of the deep layers as they were"


def _numbers(layers: tuple[int, ...]) -> str:
    return ", ".join(str(layer) for layer in layers)


class _PositionSum:
    """A sum over layers of image distributions ``[batch, row, position]``, whatever keys each layer holds.

    Layers with a window keep the last keys, a static cache has spare ones at the end, and layers that cross to the
    image have its keys alone: their sum is kept apart.
    """

    def __init__(self, positions: int) -> None:
        """An empty sum.

        Args:
            positions: Length of the sequence so far, padding counted.
        """
        self._positions = positions
        self._sums: dict[bool, torch.Tensor] = {}

    def add(self, distribution: torch.Tensor, *, crosses: bool) -> None:
        """Add a layer's ``[batch, row, key]``."""
        placed = distribution if crosses else on_positions(distribution, self._positions)
        total = self._sums.get(crosses)
        self._sums[crosses] = placed if total is None else total.to(placed.device) + placed

    def share(self, rows: AttentionRows, *, crosses: bool) -> torch.Tensor:
        """The sum on the image keys that a layer sees, divided by its total there; all 0 where that is 0."""
        if crosses not in self._sums:
            return torch.zeros_like(rows.weights[..., 0, :])
        total = self._sums[crosses].to(rows.weights.device)
        anchor = total if crosses else on_keys(total, rows.weights.shape[-1])
        if not rows.sees_all_keys and rows.visible_keys is not None:
            anchor = anchor.masked_fill(~rows.visible_keys, 0.0)
        return (anchor / anchor.sum(-1, keepdim=True)).nan_to_num()


def _peaking_at_one(anchor: torch.Tensor) -> torch.Tensor:
    """An anchor divided by its greatest value; all 0 stays."""
    peak = anchor.amax(-1, keepdim=True)
    return torch.where(peak > 0, anchor / peak, 0.0)


def _updated(rows: AttentionRows, pull: torch.Tensor, update: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Edited weights, and the heads that have some: without image mass, or with a bracket of 0 on all keys, none."""
    if update == "redistribute" and rows.image_span is not None:
        first, end = rows.image_span
        weights = rows.weights
        look, level = weights[..., first:end], rows.image_mass.unsqueeze(-1)
        bracket = (look / level + pull[..., first:end]).clamp_min(0)
        whole = bracket.sum(-1, keepdim=True)
        moved = bracket * (level / whole)
        return torch.cat([weights[..., :first], moved, weights[..., end:]], -1), (whole > 0).squeeze(-1)
    edited = _updated_by_mask(rows, pull, update)
    return edited, (rows.image_mass > 0) & torch.isfinite(edited).all(-1)


def _updated_by_mask(rows: AttentionRows, pull: torch.Tensor, update: str) -> torch.Tensor:
    """Edited weights; NaN where the bracket is 0 on all keys: the caller keeps such a row."""
    image = rows.image_keys.unsqueeze(-2)
    if update == "redistribute":
        bracket = torch.where(image, (rows.image_distribution + pull).clamp_min(0), 0.0)
        share = bracket / bracket.sum(-1, keepdim=True)
        return torch.where(image, rows.image_mass.unsqueeze(-1) * share, rows.weights)
    if update == "logit":
        moved = rows.weights * torch.where(image, pull, 0.0).exp()
    else:
        moved = torch.where(image & (rows.weights > 0), (rows.weights + pull).clamp_min(0), rows.weights)
    return moved * (rows.weights.sum(-1, keepdim=True) / moved.sum(-1, keepdim=True))
