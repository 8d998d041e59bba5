"""Contrast of the logits of two sequences, and the adaptive plausibility constraint."""

from collections.abc import Callable, Mapping
from math import log

import torch
from jaxtyping import Float, Int

from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["ContrastSession", "contrast", "layer_of_each_row", "plausible_only"]


def contrast(
    logits: Float[torch.Tensor, "row vocabulary"], other: Float[torch.Tensor, "row vocabulary"], *, alpha: float
) -> Float[torch.Tensor, "row vocabulary"]:
    """`(1 + alpha) * logits - alpha * other`.

    Args:
        logits: Under the image.
        other: Under other inputs.
        alpha: Strength of the contrast.

    >>> contrast(torch.tensor([[2.0, 1.0]]), torch.tensor([[2.0, 0.0]]), alpha=1.0).tolist()
    [[2.0, 2.0]]
    """
    return (1 + alpha) * logits - alpha * other


def plausible_only(
    mixed: Float[torch.Tensor, "row vocabulary"], logits: Float[torch.Tensor, "row vocabulary"], *, beta: float
) -> Float[torch.Tensor, "row vocabulary"]:
    """Mixed logits, -inf for tokens whose probability is below a share of the largest.

    Args:
        mixed: Logits from which a token is chosen.
        logits: The model's own, whose probabilities decide.
        beta: The share, in [0, 1); 0 leaves every token.

    >>> plausible_only(torch.ones(1, 3), torch.tensor([[0.0, -1.0, -5.0]]), beta=0.1).tolist()
    [[1.0, 1.0, -inf]]
    """
    if not beta:
        return mixed
    return mixed.masked_fill(logits < logits.amax(-1, keepdim=True) + log(beta), float("-inf"))


def layer_of_each_row(
    values: Float[torch.Tensor, "layer row vocabulary"], index: Int[torch.Tensor, "row"]
) -> Float[torch.Tensor, "row vocabulary"]:
    """The values of one layer for each row.

    Args:
        values: Values of each layer.
        index: Which layer, for each row.

    >>> layer_of_each_row(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.tensor([1, 0])).tolist()
    [[3.0], [2.0]]
    """
    return values.gather(0, index[None, :, None].expand(1, *values.shape[1:]))[0]


class ContrastSession(ImageSession):
    """Contrasts the logits with those of one other prompt, among the plausible tokens."""

    def __init__(
        self, method: str, other: Callable[[PromptInputs], PromptInputs], *, alpha: float, beta: float
    ) -> None:
        """A session before its first forward.

        Args:
            method: Name of the intervention, for the warning.
            other: Makes the other prompt.
            alpha: Strength of the contrast; 0 leaves all logits as they are, and needs no other prompt.
            beta: As in `plausible_only`.
        """
        super().__init__()
        self.method = method
        self._other, self._alpha, self._beta = other, alpha, beta

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs | Callable[[], PromptInputs]]:
        """The other prompt; none without an image or a contrast."""
        return {"other": self._other(prompt)} if self._alpha > 0 and prompt.has_image else {}

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The contrast, and -inf for tokens that are not plausible."""
        if not self.sees_image or self._alpha == 0:
            return None
        mixed = contrast(step.logits, step.branch("other"), alpha=self._alpha)
        return plausible_only(mixed, step.logits, beta=self._beta)
