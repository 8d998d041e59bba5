"""VCD: visual contrastive decoding, logits under the image contrasted with those under a noised image."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float

from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import ContrastSession
from lvlmscope.interventions.registry import intervention
from lvlmscope.interventions.repeatable_noise import mixed, normal
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session

__all__ = ["VCD", "noised"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class VCD(InterventionConfig):
    """Visual contrastive decoding, arXiv 2311.16922 eq. 2-4.

    `softmax((1 + alpha) * logits(image) - alpha * logits(noised image))` over the tokens whose probability under the
    image is at least beta times that of the most probable one. The image is noised by the forward process of diffusion,
    `sqrt(a_T) x + sqrt(1 - a_T) e`, with the released code's sigmoid schedule of 1,000 steps, on the pixels that the
    processor has normalised. The noise follows from the seed: one field, the same for every image, so that
    batches, single samples and replays agree (our choice; the paper draws it).

    Attributes:
        alpha: Strength of the contrast, 0 or more; 0 leaves all logits as they are.
        beta: Least probability of a token as a share of the largest, in [0, 1).
        T: Step of the schedule, from 0 to 999 as the released code counts them.
        seed: Of the noise.
    """

    alpha: Annotated[float, Range(ge=0)] = 1.0
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.1
    T: Annotated[int, Range(ge=0, le=999)] = 500
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
        noise = partial(noised, step=self.T, seed=self.seed)
        return ContrastSession("VCD", lambda prompt: prompt.with_pixels(noise), alpha=self.alpha, beta=self.beta)


def noised(pixels: Float[torch.Tensor, "image *pixel"], *, step: int, seed: int) -> Float[torch.Tensor, "image *pixel"]:
    """Images at a step of the forward process of diffusion, `sqrt(a) x + sqrt(1 - a) e`.

    Args:
        pixels: Normalised pixel values; the noise is the same for each entry of the first axis.
        step: Step of the schedule, from 0 to 999.
        seed: Of the noise.

    Returns:
        Noised pixel values of the same shape.
    """
    betas = torch.linspace(-6, 6, 1000).sigmoid() * (0.5e-2 - 1e-5) + 1e-5
    kept = float((1 - betas).cumprod(0)[step])
    field = normal(mixed(seed, torch.arange(pixels[0].numel()))).reshape(pixels.shape[1:])
    found: torch.Tensor = kept**0.5 * pixels + (1 - kept) ** 0.5 * field.to(pixels.device)
    return found
