"""DeCo: adds the logits of the earlier layer that gives a candidate of the last layer the largest probability."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.layer_bands import LayerSpec, resolve_layers
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import layer_of_each_row
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["DeCo"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class DeCo(InterventionConfig):
    """Dynamic correction decoding, arXiv 2410.11779.

    The candidates are the most probable tokens of the last layer, `k` at most, whose probabilities add up to
    `top_p`. The layer that gives one of them the largest probability, p, is the anchor; the candidates' logits become
    `logits + alpha * p * logits(anchor)`, all others -inf. An earlier layer's logits are what the model's final norm
    and output matrix make of its state.

    Attributes:
        alpha: Strength of the correction, 0 or more; 0 leaves all logits as they are.
        top_p: Probability that the candidates have together, in (0, 1].
        k: Candidates at most.
        layers: Layers among which the anchor is chosen: ints, or a band of depth; the default is layers 20-28 of 32.
    """

    alpha: Annotated[float, Range(ge=0)] = 0.6
    top_p: Annotated[float, Range(gt=0, le=1)] = 0.9
    k: Annotated[int, Range(ge=1)] = 20
    layers: LayerSpec = (0.64, 0.91)

    reference: ClassVar[str] = "arXiv 2410.11779"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2410.11779",
        from_paper="the candidates, the anchor layer, the correction; layers 20-28 as they are called with",
        our_choices="layers as depths, the final norm before the output matrix; alpha, top_p and k",
        cost="the output matrix once for each layer of the band",
        search_space={"alpha": (0.1, 1.0), "layers": [(0.4, 0.7), (0.64, 0.91), (0.8, 0.97)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it."""
        return _DeCoSession(self, resolve_layers(self.layers, model_info.num_layers))


class _DeCoSession(Session):
    """Mixes the logits of the last layer and of the anchor."""

    def __init__(self, config: DeCo, layers: tuple[int, ...]) -> None:
        self._config = config
        self.early_layers = layers if config.alpha > 0 else ()

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The corrected logits of the candidates."""
        if self._config.alpha == 0:
            return None
        candidates = most_probable(step.logits, top_p=self._config.top_p, k=self._config.k)
        early = torch.stack([step.early(layer) for layer in self.early_layers])
        largest, anchor = early.softmax(-1).masked_fill(~candidates, 0.0).amax(-1).max(0)
        chosen = layer_of_each_row(early, anchor)
        mixed = step.logits + self._config.alpha * largest.unsqueeze(-1) * chosen
        return mixed.masked_fill(~candidates, float("-inf"))


def most_probable(
    logits: Float[torch.Tensor, "row vocabulary"], *, top_p: float, k: int
) -> Bool[torch.Tensor, "row vocabulary"]:
    """The most probable tokens, until their probabilities add up to a share; at least one and at most k.

    Args:
        logits: Of one step.
        top_p: The share.
        k: Tokens at most.

    >>> most_probable(torch.tensor([[2.0, 1.0, 0.0]]), top_p=0.7, k=3).tolist()
    [[True, True, False]]
    """
    top, tokens = logits.softmax(-1).topk(min(k, logits.shape[-1]), -1)
    inside = top.cumsum(-1) - top < top_p
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, inside)
