"""M3ID: adds what the image makes more probable than the text alone, more so the longer the answer is."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1
from typing import Annotated, ClassVar

import torch

from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import contrast
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["M3ID"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class M3ID(InterventionConfig):
    """Multi-modal mutual information decoding, arXiv 2403.14003 (our reading of Alg. 1).

    `l_c + (1 - gamma_t) / gamma_t * (l_c - l_u)` with the log-probabilities l_c of the prompt with its image and l_u of
    its text alone, `gamma_t = exp(-lambda * t)`, t = 1 for the answer's first token. It acts where
    the model is uncertain: where the largest probability under l_c is below `threshold`.

    Attributes:
        decay: lambda, 0 or more; 0 leaves all logits as they are.
        threshold: Least probability of the most probable token at which nothing is changed, in [0, 1].
    """

    decay: Annotated[float, Range(ge=0, le=1)] = 0.02
    threshold: Annotated[float, Range(ge=0, le=1)] = 0.9

    reference: ClassVar[str] = "arXiv 2403.14003 Alg. 1"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2403.14003",
        from_paper="the correction of the log-probabilities, its growth with the answer, the condition on the model",
        our_choices="t counts from 1, the threshold, no training (the paper's M3ID+DPO is another method)",
        cost="a second sequence without the image's tokens: less than twice the time and the cache",
        search_space={"decay": (0.005, 0.2), "threshold": (0.3, 1.0)},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model."""
        del model_info
        return _M3IDSession(self)


class _M3IDSession(ImageSession):
    """Contrasts the logits with those of the text alone."""

    method = "M3ID"

    def __init__(self, config: M3ID) -> None:
        super().__init__()
        self._config = config

    @property
    def _acts(self) -> bool:
        return self._config.decay > 0 and self._config.threshold > 0

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs]:
        """The prompt without its image; none where there is none."""
        return {"text": prompt.without_image()} if self._acts and prompt.has_image else {}

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The correction, in rows where the model is uncertain."""
        if not self.sees_image or not self._acts:
            return None
        seen, unseen = step.logits.log_softmax(-1), step.branch("text").log_softmax(-1)
        uncertain = seen.amax(-1, keepdim=True).exp() < self._config.threshold
        mixed = contrast(seen, unseen, alpha=expm1(self._config.decay * (step.step + 1)))
        return mixed.where(uncertain, step.logits)
