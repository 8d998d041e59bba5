"""How well a replay's logits agree with those of the generation, and what may differ between two dtypes' forwards."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float

from lvlmscope.capture.token_statistics import step_blocks
from lvlmscope.decoding.generation_record import Generation
from lvlmscope.errors import ReplayError, message
from lvlmscope.models.families import Family

__all__ = ["Agreement", "compare_logits", "decoder_dtype"]

# Largest difference allowed between two ways of computing the same logits, as a share of the largest logit: some
# thousands of rounding steps of float32; bf16 and fp16 round at every layer.
_TOLERANCE: Final = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_TASK: Final = "replay the answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well the replay repeats what was generated.

    Attributes:
        difference: Largest absolute difference of logits.
        tolerance: What is allowed for the decoder's dtype and the size of the logits.
    """

    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance


def decoder_dtype(model: torch.nn.Module, family: Family) -> torch.dtype:
    """The dtype in which the decoder rounds: the coarsest of its weights; the vision tower may have another.

    Args:
        family: Its family's rules.

    Returns:
        One of float64, float32, float16 and bfloat16; the model's where all weights are quantised.
    """
    found = {weight.dtype for weight in family.decoder(model).parameters()} & _TOLERANCE.keys()
    own: torch.dtype = model.dtype  # type: ignore[assignment]
    return max(found, key=_TOLERANCE.__getitem__, default=own)


def compare_logits(
    generation: Generation, logits: Float[torch.Tensor, "batch step vocabulary"], dtype: torch.dtype
) -> Agreement:
    """The largest difference from the logits ``generate`` had, of every sample's own steps.

    Args:
        generation: With ``generate``'s logits.
        logits: Replayed ones ``[batch, step, vocabulary]``.
        dtype: The decoder's.

    Returns:
        Difference and tolerance.

    Raises:
        ReplayError: Logits are NaN.
    """
    compared = generation.logits.shape[1]  # of an answer given in advance the first step alone
    if not compared:  # later steps of such an answer
        return Agreement(difference=0.0, tolerance=_TOLERANCE.get(dtype, _TOLERANCE[torch.float32]))
    pair = logits[:, :compared], generation.logits
    running = torch.arange(compared) < torch.tensor(generation.steps).unsqueeze(1)
    gap, size = _extremes(*pair, running.to(logits.device))
    if not all(map(math.isfinite, (*gap, *size))):
        gap, size = _extremes_of_numbers(*pair, running.to(logits.device))
    tolerance = _TOLERANCE.get(dtype, _TOLERANCE[torch.float32]) * max(*size, 1.0)
    return Agreement(difference=max(gap), tolerance=tolerance)


def _extremes(
    logits: Float[torch.Tensor, "batch step vocabulary"],
    generated: Float[torch.Tensor, "batch step vocabulary"],
    running: Bool[torch.Tensor, "batch step"],
) -> tuple[list[float], list[float]]:
    """Each step's largest difference, and largest generated logit, read with one transfer."""
    gaps, sizes = [], []
    for part in step_blocks(logits):
        theirs = generated[:, part].to(logits.device).float()
        gaps.append((logits[:, part].float() - theirs).abs_().amax(-1))
        low, high = theirs.aminmax(dim=-1)
        sizes.append(torch.maximum(-low, high))
    gap, size = torch.stack([torch.cat(gaps, 1), torch.cat(sizes, 1)]).where(running, 0.0).amax(1).tolist()
    return gap, size


def _extremes_of_numbers(
    logits: Float[torch.Tensor, "batch step vocabulary"],
    generated: Float[torch.Tensor, "batch step vocabulary"],
    running: Bool[torch.Tensor, "batch step"],
) -> tuple[list[float], list[float]]:
    """As above where some logits are infinite, as a model may mask its vocabulary: equal infinities agree.

    Raises:
        ReplayError: Logits are NaN.
    """
    running = running.unsqueeze(-1)
    nans, gaps, sizes = [], [], []
    for part in step_blocks(logits):
        ours, theirs = logits[:, part].float(), generated[:, part].to(logits.device).float()
        own = running[:, part]
        nans.append(((ours.isnan() | theirs.isnan()) & own).any(-1).any(0))
        # Equal infinities differ by NaN
        gaps.append((ours - theirs).abs().masked_fill((ours == theirs) | ~own, 0.0).amax((0, 2)))
        sizes.append(theirs.abs().masked_fill(theirs.isinf() | ~own, 0.0).amax((0, 2)))
    nan, gap, size = torch.stack([torch.cat(nans).float(), torch.cat(gaps), torch.cat(sizes)]).tolist()
    if any(nan):
        got = f"logits that are NaN at step {nan.index(1.0)}"
        fix = "look for NaN or infinite weights and inputs; float16 overflows where bfloat16 does not"
        raise ReplayError(message(got, "numbers", fix, task=_TASK))
    return gap, size
