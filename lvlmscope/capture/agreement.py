"""How well a replay's logits agree with those of the generation, and what may differ between two dtypes' forwards."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float

from lvlmscope.capture.generation import Generation
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
        model: The bare model.
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
    gaps, sizes = [], []
    for step in range(generation.logits.shape[1]):  # one at a time: whole vocabularies of all steps are large
        running = torch.tensor([step < count for count in generation.steps])
        ours, theirs = (each[running.to(each.device), step].float().cpu() for each in (logits, generation.logits))
        if bool(theirs.isnan().any()) or bool(ours.isnan().any()):
            got = f"logits that are NaN at step {step}"
            fix = "look for NaN or infinite weights and inputs; float16 overflows where bfloat16 does not"
            raise ReplayError(message(got, "numbers", fix, task=_TASK))
        gaps.append((ours - theirs).abs().masked_fill(ours == theirs, 0.0).max())  # equal infinities differ by NaN
        sizes.append(theirs.abs().masked_fill(theirs.isinf(), 0.0).max())
    scale = torch.stack(sizes).max().clamp(min=1.0).item()
    tolerance = _TOLERANCE.get(dtype, _TOLERANCE[torch.float32]) * scale
    return Agreement(difference=torch.stack(gaps).max().item(), tolerance=tolerance)
