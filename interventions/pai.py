"""PAI: raises the attention scores of image keys, and contrasts the logits with those of the text alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import contrast, plausible_only
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.layers_with_attention import chosen_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["PAI"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class PAI(InterventionConfig):
    """Paying more attention to image, arXiv 2407.21771 eq. 3-5.

    In each predicting row the pre-softmax scores s of image keys become `s + alpha * |s|`; the row's softmax follows.
    The next token is chosen by `gamma * log p(image) - (gamma - 1) * log p(text alone)`, over the tokens whose
    probability is at least beta times that of the most probable one (the released code's constraint).

    Attributes:
        alpha: Gain of the image's scores, 0 or more; 0 leaves attention as it is.
        gamma: Strength of the correction by the text alone, 1 or more; 1 leaves the logits as they are, and needs no
            second sequence.
        beta: Least probability of a token as a share of the largest, in [0, 1).
        layers: Ints, or a band of depth; the default is layers 2-31 of 32.
    """

    alpha: Annotated[float, Range(ge=0)] = 0.2
    gamma: Annotated[float, Range(ge=1)] = 1.1
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.1
    layers: LayerSpec = (0.06, 1.0)

    reference: ClassVar[str] = "arXiv 2407.21771 eq. 3-5"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2407.21771",
        from_paper="the gain, the correction; alpha, gamma, layers and constraint of its released code and commands",
        our_choices="layers as depths, one beta",
        cost="a softmax a layer, and a second sequence without the image's tokens",
        search_space={"alpha": (0.05, 1.0), "gamma": (1.0, 2.0), "layers": [(0.06, 1.0), (0.0, 0.5), (0.5, 1.0)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it or without attention."""
        return _PAISession(self, chosen_layers(self.layers, model_info))


class _PAISession(ImageSession):
    """Raises the scores of image keys, and contrasts the logits with those of the text alone."""

    method = "PAI"

    def __init__(self, config: PAI, layers: tuple[int, ...]) -> None:
        super().__init__()
        self._config = config
        self.row_layers = frozenset(layers if config.alpha > 0 else ())

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Weights of the raised scores; None in a layer that sees no image."""
        if not self.sees_image:
            return None
        image = rows.image_keys.unsqueeze(-2) & (rows.weights > 0)
        gain = torch.where(image, self._config.alpha * rows.scores.abs(), 0.0)
        # A learned sink also takes weight; its score stays as it is
        # The softmax of raised scores, from the weights; the largest gain is taken off, or exp could overflow
        gain_most = gain.amax(-1, keepdim=True)
        raised = rows.weights * (gain - gain_most).exp()
        sink = (1 - rows.weights.sum(-1, keepdim=True)).clamp_min(0.0) * (-gain_most).exp()
        weights: torch.Tensor = raised / (raised.sum(-1, keepdim=True) + sink)
        return torch.where(gain_most > 0, weights, rows.weights)

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs]:
        """The prompt without its image; none where there is none, or no correction."""
        return {"text": prompt.without_image()} if self._config.gamma > 1 and prompt.has_image else {}

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The correction by the text alone, and -inf for tokens that are not plausible."""
        if not self.sees_image or self._config.gamma == 1:
            return None
        seen, unseen = step.logits.log_softmax(-1), step.branch("text").log_softmax(-1)
        return plausible_only(contrast(seen, unseen, alpha=self._config.gamma - 1), seen, beta=self._config.beta)
