"""ICD: instruction contrastive decoding, logits of the question contrasted with those under a disturbance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import ContrastSession
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session

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
        words = self.disturbance
        return ContrastSession("ICD", lambda prompt: prompt.with_words(words), alpha=self.alpha, beta=self.beta)
