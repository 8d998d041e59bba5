"""DoLa: logits of the last layer contrasted with those of an earlier layer, chosen for each token."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float

from lvlmscope.attention.layer_bands import LayerSpec, resolve_layers
from lvlmscope.errors import InterventionError, message
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import layer_of_each_row, plausible_only
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["DoLa"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class DoLa(InterventionConfig):
    """Decoding by contrasting layers, arXiv 2309.03883 eq. 2-6.

    `log p_N - log p_M` over the tokens whose probability under the last layer N is at least beta times that of the
    most probable one. M is the candidate layer whose distribution is farthest from p_N, by Jensen-Shannon divergence.
    An earlier layer's distribution is what the model's final norm and output matrix make of its state; the state is
    normed first (the released code's implementation leaves the norm out for some models).

    It does not depend on the image, and acts without one too. transformers' own `generate(dola_layers=...)` cannot be
    used together with it.

    Attributes:
        layers: Candidates: ints, or a band of depth, of which every second layer is taken; the default is the first
            half, as the paper has it for long answers. The last layer is none.
        beta: Least probability of a token as a share of the largest, in [0, 1).
        strength: Factor on `log p_M`, 0 or more; 1 is the paper's, 0 leaves all logits as they are (our option).
    """

    layers: LayerSpec = (0.0, 0.5)
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.1
    strength: Annotated[float, Range(ge=0)] = 1.0

    reference: ClassVar[str] = "arXiv 2309.03883 eq. 2-6"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2309.03883",
        from_paper="the contrast, the choice of the layer, the plausibility constraint, beta",
        our_choices="the final norm before the output matrix, the strength, bands of depth as candidates",
        cost="the output matrix once for each candidate layer",
        search_space={"strength": (0.1, 1.0), "beta": (0.05, 0.5), "layers": [(0.0, 0.5), (0.5, 0.97)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model.

        Raises:
            ModelInputError: Layers outside the model.
            InterventionError: No candidate before the last layer.
        """
        named = resolve_layers(self.layers, model_info.num_layers)
        banded = self.layers is None or any(isinstance(each, float) for each in self.layers)
        candidates = tuple(layer for layer in named if layer < model_info.num_layers - 1)[:: 2 if banded else 1]
        if not candidates:
            got, fix = f"layers={self.layers!r}", "name layers before it"
            expected = f"a layer before the last, {model_info.num_layers - 1}"
            raise InterventionError(message(got, expected, fix, task="switch on DoLa"))
        return _DoLaSession(self, candidates)


class _DoLaSession(Session):
    """Mixes the logits of two layers."""

    def __init__(self, config: DoLa, candidates: tuple[int, ...]) -> None:
        self._config = config
        self.early_layers = candidates if config.strength > 0 else ()

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The contrast with the candidate that is farthest, and -inf for tokens that are not plausible."""
        if self._config.strength == 0:
            return None
        last = step.logits.log_softmax(-1)
        early = torch.stack([step.early(layer).log_softmax(-1) for layer in self.early_layers])
        farthest = jensen_shannon(early, last).argmax(0)
        chosen = layer_of_each_row(early, farthest)
        return plausible_only(last - self._config.strength * chosen, last, beta=self._config.beta)


def jensen_shannon(
    early: Float[torch.Tensor, "layer row vocabulary"], last: Float[torch.Tensor, "row vocabulary"]
) -> Float[torch.Tensor, "layer row"]:
    """Jensen-Shannon divergence between each layer's distribution and the last layer's, in nats, in [0, ln 2].

    Args:
        early: Log-probabilities of each layer.
        last: Log-probabilities of the last layer.

    Returns:
        One divergence for each layer and row.
    """
    p, q = early.exp(), last.exp()
    middle = torch.special.entr((p + q) / 2).sum(-1)
    found: torch.Tensor = middle - (torch.special.entr(p).sum(-1) + torch.special.entr(q).sum(-1)) / 2
    return found
