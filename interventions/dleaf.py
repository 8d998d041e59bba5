"""D-LEAF: in layers of high image attention entropy, heads are interpolated towards the most focused head."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.entropy_threshold_rule import FLAG_MARGIN, EntropyRule, RunningThreshold, heads_to_edit
from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.layers_with_attention import chosen_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.compiled_edits import row_edit
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session

__all__ = ["DLEAF"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class DLEAF(InterventionConfig):
    """Dynamic layer-wise entropy and attention fusion. Our reading of arXiv 2509.07864; its code is not public.

    The layers are walked in order, for each predicting row on its own. A layer whose image attention entropy LIAE is
    above the threshold set by the layers before it, by more than 1e-4 nats, is *flagged*: in it, heads with less image
    mass than the mean head get `a'[h] = gamma * a[h*] + (1 - gamma) * a[h]` over the whole row, with `h*` the head of
    most image mass (IAF); each head keeps its own values. The first walked layer is never flagged. A layer that sees no
    image key, as its window lies past the image, is not flagged and does not change the threshold.

    The threshold rule decides more than the strength: with `"min"` and unrelated entropies about 28 of 32 layers are
    flagged, with `"max"` about 3. The report gives the shares.

    Attributes:
        gamma: Strength of the interpolation, in [0, 1]; 0 is the untouched model, to the last bit.
        layers: Layers that are walked: ints, a band of depth (two floats), or None for all.
        threshold: Running `"min"`, `"max"` or `"mean"` of LIAE over the layers walked before.
        heads: Which heads of a flagged layer are edited: those `"below_mean"` of IAF, `"all"` but the best, or the
            given number of those with least image mass.
    """

    gamma: Annotated[float, Range(ge=0, le=1)] = 0.9
    layers: LayerSpec = (0.0, 1.0)
    threshold: Literal["min", "max", "mean"] = "min"
    heads: Literal["below_mean", "all"] | Annotated[int, Range(ge=1, noun="a number of heads")] = "below_mean"

    reference: ClassVar[str] = "arXiv 2509.07864, our reading"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2509.07864",
        from_paper="layers found by image entropy, heads edited by interpolation towards the most focused one",
        our_choices="formulas, threshold rule, which heads, defaults: the code is not public",
        cost="one entropy a layer, and the values of edited heads once more",
        search_space={"gamma": (0.02, 1.0), "threshold": ["min", "max", "mean"], "heads": ["below_mean", "all", 1, 2]}
        | {"layers": [(0.0, 1.0), (0.0, 0.5), (0.3, 0.8), (0.5, 1.0)]},
    )

    def validate(self) -> None:
        """The rule accepts its part of the parameters."""
        _ = self.rule

    @property
    def rule(self) -> EntropyRule:
        """The rule by itself, as `flagged_heads` and `diagnose` take it."""
        return EntropyRule(threshold=self.threshold, layers=self.layers, heads=self.heads)

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it or without attention."""
        return _DLEAFSession(self, chosen_layers(self.layers, model_info))


def _interpolated(rows: AttentionRows, chosen: torch.Tensor, gamma: float) -> torch.Tensor:
    """Weights with the chosen heads moved towards the head of most image mass."""
    weights = rows.weights
    best = rows.image_mass.argmax(-1)[..., None, None].expand(*weights.shape[:2], 1, weights.shape[-1])
    return torch.where(chosen.unsqueeze(-1), torch.lerp(weights, weights.gather(-2, best), gamma), weights)


@row_edit(by_span=True)
def _interpolated_above(
    rows: AttentionRows, level: torch.Tensor, *, gamma: float, heads: str | int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Edited weights, image mass and LIAE of a layer, given the threshold of the layers before it."""
    entropy = rows.layer_image_entropy
    flagged = entropy > level + FLAG_MARGIN
    chosen = heads_to_edit(rows.image_mass, heads) & flagged.unsqueeze(-1)
    return _interpolated(rows, chosen, gamma), rows.image_mass, entropy


class _DLEAFSession(ImageSession):
    """Walks through the layers of one forward with a running threshold for each row."""

    method = "DLEAF"
    has_compiled_edit = True

    def __init__(self, config: DLEAF, layers: tuple[int, ...]) -> None:
        super().__init__()
        self._config = config
        self._layers = layers
        self._level = RunningThreshold(config.threshold)
        self.row_layers = frozenset(layers)
        self._pairs = 0
        self._compiled_layers: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Reset the threshold."""
        super().begin_forward(forward)
        self._level = RunningThreshold(self._config.threshold)

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Compare the layer's entropy with the threshold; edit the rows it is flagged in."""
        layer = rows.layer
        if layer not in self._layers or not self.sees_image:
            return None
        begins, gamma, heads = self._level.begins, self._config.gamma, self._config.heads
        edited: torch.Tensor | None = None
        if self.compiled and gamma and not begins:
            level = self._level.on(rows.weights.device)
            edited, mass, entropy = _interpolated_above(rows, level, compiled=True, gamma=gamma, heads=heads)
        else:
            mass, entropy = rows.image_mass, rows.layer_image_entropy
        flagged = self._level.flag(entropy)
        self._pairs += entropy.numel()
        self.sums.add("seeing", layer, entropy, above=-1.0)  # NaN where the row sees no image key
        if begins:
            return None
        self.sums.add("flagged", layer, flagged)
        if edited is not None:
            self._compiled_layers.append((layer, mass, flagged))
            return edited
        chosen = heads_to_edit(mass, heads) & flagged.unsqueeze(-1)
        self.sums.add("edited", layer, chosen)
        return _interpolated(rows, chosen, gamma) if gamma else None

    def end_forward(self, logits: torch.Tensor) -> None:
        """Add up what the layers gave; which heads a compiled edit took is found here, for all layers of a shape."""
        groups: dict[tuple[object, ...], list[tuple[int, torch.Tensor, torch.Tensor]]] = {}
        for layer, mass, flagged in self._compiled_layers:
            groups.setdefault((mass.shape, mass.device), []).append((layer, mass, flagged))
        for group in groups.values():
            layers, masses, flags = zip(*group, strict=True)
            chosen = heads_to_edit(torch.stack(masses), self._config.heads) & torch.stack(flags).unsqueeze(-1)
            self.sums.add_layers("edited", layers, chosen)
        self._compiled_layers = []
        super().end_forward(logits)

    def no_effect_reason(self) -> str | None:
        """Why no row was edited."""
        if not self.sees_image or self._config.gamma == 0:
            return None
        if self.sums.total("flagged"):
            return "the heads to edit had their most focused head's attention already"
        if not self.sums.total("seeing"):
            walked = ", ".join(str(layer) for layer in self._layers)
            return f"in the layers it walks ({walked}) no predicting row attends to an image key"
        above = f"more than {FLAG_MARGIN:g} nats above the {self._config.threshold}"
        return f"no layer's image entropy was {above} of the layers before it"

    def report(self) -> dict[str, Any]:
        """Share of (row, layer) pairs flagged, heads edited in each, and the rows flagged in each layer."""
        flagged_in = self.sums.by_layer("flagged")
        flagged = sum(flagged_in.values())
        return super().report() | {
            "flagged_share": flagged / self._pairs if self._pairs else 0.0,
            "flagged_rows_per_layer": {str(layer): n for layer, n in flagged_in.items() if n},
            "edited_heads_per_flagged_row": self.sums.total("edited") / flagged if flagged else 0.0,
        }
