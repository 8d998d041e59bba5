"""VCD: visual contrastive decoding, logits under the image contrasted with those under a noised image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float

from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import contrast, plausible_only
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.registry import intervention
from lvlmscope.interventions.repeatable_noise import mixed, normal
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["VCD", "noised"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class VCD(InterventionConfig):
    """Visual contrastive decoding, arXiv 2311.16922 eq. 2-4.

    `softmax((1 + alpha) * logits(image) - alpha * logits(noised image))` over the tokens whose probability under the
    image is at least beta times that of the most probable one. The image is noised by the forward process of diffusion
    after T of 1,000 steps, `sqrt(a_T) x + sqrt(1 - a_T) e`, with the released code's sigmoid schedule, on the pixels
    that the processor has normalised. The noise follows from the seed: one field, the same for every image, so that
    batches, single samples and replays agree (our choice; the paper draws it).

    Attributes:
        alpha: Strength of the contrast, 0 or more; 0 leaves all logits as they are.
        beta: Least probability of a token as a share of the largest, in [0, 1).
        T: Steps of noise, from 1 to 1,000.
        seed: Of the noise.
    """

    alpha: Annotated[float, Range(ge=0)] = 1.0
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.1
    T: Annotated[int, Range(ge=1, le=1000)] = 500
    seed: Annotated[int, Range(ge=0)] = 0

    reference: ClassVar[str] = "arXiv 2311.16922 eq. 2-4"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2311.16922",
        from_paper="the contrast, the plausibility constraint, alpha, beta; noise schedule and T of its code",
        our_choices="the noise follows from a seed and is the same for every image",
        cost="a second sequence with an image of its own: about twice the time and the cache",
        search_space={"alpha": (0.1, 2.0), "beta": (0.05, 0.5), "T": (100, 999)},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model."""
        del model_info
        return _VCDSession(self)


class _VCDSession(ImageSession):
    """Contrasts the logits with those of a noised image."""

    method = "VCD"

    def __init__(self, config: VCD) -> None:
        super().__init__()
        self._config = config

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs]:
        """The prompt about a noised image; none without an image or a contrast."""
        seen = self._config.alpha > 0 and prompt.has_image
        return {"noised": prompt.with_pixels(self._noised)} if seen else {}

    def _noised(self, pixels: torch.Tensor) -> torch.Tensor:
        return noised(pixels, steps=self._config.T, seed=self._config.seed)

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The contrast, and -inf for tokens that are not plausible under the image."""
        if not self.sees_image or self._config.alpha == 0:
            return None
        mixed_logits = contrast(step.logits, step.branch("noised"), alpha=self._config.alpha)
        return plausible_only(mixed_logits, step.logits, beta=self._config.beta)


def noised(
    pixels: Float[torch.Tensor, "image *pixel"], *, steps: int, seed: int
) -> Float[torch.Tensor, "image *pixel"]:
    """Images after some steps of the forward process of diffusion, `sqrt(a) x + sqrt(1 - a) e`.

    Args:
        pixels: Normalised pixel values; the noise is the same for each entry of the first axis.
        steps: Steps of noise, from 1 to 1,000.
        seed: Of the noise.

    Returns:
        Noised pixel values of the same shape.
    """
    betas = torch.linspace(-6, 6, 1000).sigmoid() * (0.5e-2 - 1e-5) + 1e-5
    kept = float((1 - betas).cumprod(0)[steps - 1])
    field = normal(mixed(seed, torch.arange(pixels[0].numel()))).reshape(pixels.shape[1:])
    found: torch.Tensor = kept**0.5 * pixels + (1 - kept) ** 0.5 * field.to(pixels.device)
    return found
