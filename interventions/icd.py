"""ICD: instruction contrastive decoding, logits of the question contrasted with those under a disturbance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import torch

from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import contrast, plausible_only
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["ICD"]

_CONFUSED: Final = "You are a confused object detector to provide a fuzzy overview or impression of the image. "


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class ICD(InterventionConfig):
    """Instruction contrastive decoding, arXiv 2403.18715.

    `softmax((1 + alpha) * logits(question) - alpha * logits(disturbance + question))` over the tokens whose probability
    is at least beta times that of the most probable one. The disturbance is a role that makes the model less certain
    of the image; it stands before the question, after the image and its marks (our reading for models without a
    Q-Former, whose instruction the paper disturbs). Words need the model's tokenizer, which `lvlmscope.load` provides.

    Attributes:
        disturbance: The words before the question, or their token ids.
        alpha: Strength of the contrast, 0 or more; 0 leaves all logits as they are.
        beta: Least probability of a token as a share of the largest, in [0, 1).
    """

    disturbance: str | Sequence[int] = _CONFUSED
    alpha: Annotated[float, Range(ge=0)] = 1.0
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.1

    reference: ClassVar[str] = "arXiv 2403.18715"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2403.18715",
        from_paper="the contrast, the plausibility constraint, the role of the disturbance",
        our_choices="the place of the words in the prompt, alpha and beta as in VCD",
        cost="a second sequence with the same image: about twice the time and the cache",
        search_space={"alpha": (0.1, 2.0), "beta": (0.05, 0.5)},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model."""
        del model_info
        return _ICDSession(self)


class _ICDSession(ImageSession):
    """Contrasts the logits with those after the disturbing instruction."""

    method = "ICD"

    def __init__(self, config: ICD) -> None:
        super().__init__()
        self._config = config

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs]:
        """The prompt with the words before its question; none without an image or a contrast."""
        seen = self._config.alpha > 0 and prompt.has_image
        return {"disturbed": prompt.with_words(self._config.disturbance)} if seen else {}

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The contrast, and -inf for tokens that are not plausible."""
        if not self.sees_image or self._config.alpha == 0:
            return None
        mixed = contrast(step.logits, step.branch("disturbed"), alpha=self._config.alpha)
        return plausible_only(mixed, step.logits, beta=self._config.beta)
